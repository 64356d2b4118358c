import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import DIMS

import mrl_edge
from mrl_edge.encoder import load_nested, softmax
from mrl_edge.errors import UsageError

ODD_TEXTS = ["", " ", "a", "word " * 3000, "日本語 текст 🎉 \u200b", "a\x00b", "lone \ud800 surrogate", "é" * 700]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_odd_texts_get_unit_vectors_of_the_dimension(bundle, precision):
    encoder = mrl_edge.load(bundle, dim=64, precision=precision, threads=1)
    vectors = encoder.encode(ODD_TEXTS)
    assert vectors.shape == (len(ODD_TEXTS), 64)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.encode([]).shape == (0, 64)


def test_rows_come_back_in_the_order_of_the_texts_whatever_their_batches(bundle, dev):
    encoder = mrl_edge.load(bundle, dim=128, precision="fp32")
    texts = [*dev["query"][:40], *ODD_TEXTS]
    one_by_one = np.concatenate([encoder.encode([text]) for text in texts])
    for batch_size in (1, 7, 32):
        np.testing.assert_allclose(encoder.encode(texts, batch_size=batch_size), one_by_one, atol=1e-5)


def test_every_dimension_is_the_normalised_prefix_of_the_full_one(bundle, dev):
    texts = dev["query"][:16]
    full = mrl_edge.load(bundle, precision="fp32").encode(texts)
    nested = load_nested(bundle, "fp32").encode(texts)
    for dim in DIMS:
        prefix = full[:, :dim] / np.linalg.norm(full[:, :dim], axis=1, keepdims=True)
        np.testing.assert_allclose(mrl_edge.load(bundle, dim, "fp32").encode(texts), prefix, atol=2e-6)
        np.testing.assert_allclose(nested[dim], prefix, atol=2e-6)


def test_classes_are_the_same_from_one_dimension_and_from_all(bundle, dev):
    texts = dev["text"][:8]
    nested = load_nested(bundle, "fp32").classify(texts)
    for dim in DIMS:
        encoder = mrl_edge.load(bundle, dim, "fp32")
        probabilities = encoder.classify(texts)
        assert probabilities.shape == (8, len(encoder.classes))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(probabilities, nested[dim], atol=1e-5)


def test_softmax_survives_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0, -1000.0]], np.float32)), [[0.5, 0.5, 0]], atol=1e-6)


def test_one_text_instead_of_a_list_is_refused(bundle):
    with pytest.raises(UsageError, match="list"):
        mrl_edge.load(bundle, 64).encode("a text")
    with pytest.raises(UsageError, match="text 1 is no string but NoneType"):
        mrl_edge.load(bundle, 64).encode(["a", None])


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"dim": 65}, "8, 16, 32, 64, 128, 384"),
        ({"precision": "int3"}, "fp32 at depth 6, int8 at depth 6"),
        ({"depth": 5}, "fp32 at depth 6"),
    ],
)
def test_what_a_bundle_does_not_hold_is_answered_with_what_it_holds(bundle, wanted, named):
    with pytest.raises(UsageError, match=named):
        mrl_edge.load(bundle, **wanted)


def test_an_unknown_prompt_is_refused_and_a_role_without_one_is_free(bundle):
    encoder = mrl_edge.load(bundle, 64, "fp32")
    np.testing.assert_array_equal(encoder.encode(["word"], "query"), encoder.encode(["word"]))
    with pytest.raises(UsageError, match="no prompt 'clustering'"):
        encoder.encode(["word"], "clustering")


def test_the_runtime_loads_no_heavy_package(indexed):
    program = f"""
import sys, mrl_edge
from mrl_edge.search import Search
import mrl_edge.bench.child, mrl_edge.bench.prepare, mrl_edge.bench.sweep, mrl_edge.bench.pick, mrl_edge.bench.narrowing
mrl_edge.load({str(indexed)!r}, 64, "int8", threads=1).classify(["a text"])
Search({str(indexed)!r}, 64)("a text", k=1)
heavy = {{"torch", "transformers", "onnx", "optimum", "datasets", "pandas", "pyarrow", "scipy", "sklearn", "plotly"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_number_of_threads_it_is_onnxruntimes_own(tiny_bundle):
    program = f"""
import json
import onnxruntime, psutil
import mrl_edge
bundle = {str(tiny_bundle)!r}
there = psutil.Process().num_threads
counts = [there()]
one = mrl_edge.load(bundle, 8, "fp32", threads=1)
counts.append(there())
default = mrl_edge.load(bundle, 8, "fp32")
counts.append(there())
plain = onnxruntime.InferenceSession(bundle + "/fp32/d8.onnx", providers=["CPUExecutionProvider"])
counts.append(there())
texts = ["ba one words", "da two"]
print(json.dumps([counts, float(abs(one.encode(texts) - default.encode(texts)).max())]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    counts, apart = json.loads(done.stdout)
    with_one, with_default, with_onnxruntimes = np.diff(counts)
    assert with_one == 0
    assert with_default == with_onnxruntimes
    assert apart < 1e-5


def test_the_command_line_starts_without_loading_a_stage():
    program = """
import sys
import mrl_edge.cli
print(sorted({"numpy", "onnxruntime", "tokenizers", "torch", "annoy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
