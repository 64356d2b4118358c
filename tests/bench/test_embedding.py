"""What a preparation embeds, beside the encoder's own answers: texts once, each under the prompt of what it is."""

import numpy as np
import pytest
from conftest import mrl_edge_here
from mrl_edge.bench import jobs
from mrl_edge.bench.embedding import encode_documents, encode_singly
from mrl_edge.bench.prepare import embed
from train.encoders import sentence_transformer, tiny_bert
from train.untrained import untrained_model

from mrl_edge.encoder import load_nested
from mrl_edge.metrics import knn_top1

TEXTS = [f"{a} {b} words" for a in ("ba", "da", "ga", "la") for b in ("one", "two", "ba")]
LABELS = [text.split()[1] for text in TEXTS]
DIMS = (8, 16, 32)


@pytest.fixture(scope="module")
def encoder(tiny_bundle):
    return load_nested(tiny_bundle, "int8", threads=1)


def test_texts_that_come_twice_have_what_one_text_a_call_gives(encoder):
    texts = [*TEXTS, TEXTS[3], TEXTS[0]]
    embeddings, probabilities = encode_singly(encoder, texts, "text")
    for found, expected in (
        (embeddings, encoder.encode(texts, "text", batch_size=1)),
        (probabilities, encoder.classify(texts, batch_size=1)),
    ):
        assert found.keys() == expected.keys() == set(encoder.dims)
        for dim in encoder.dims:
            np.testing.assert_array_equal(found[dim], expected[dim])


def test_documents_come_back_in_their_order(tiny_bundle):
    encoder = load_nested(tiny_bundle, "fp32", threads=1)
    expected = encoder.encode(TEXTS, "document", batch_size=1)[encoder.dims[-1]]
    np.testing.assert_allclose(encode_documents(encoder, TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("prompts", [{}, {"query": "find "}])
def test_a_query_is_embedded_as_one_and_a_labelled_text_as_such(prompts, tmp_path):
    source = sentence_transformer(tmp_path / "st", tiny_bert(tmp_path / "bert"), "mean", prompts=prompts)
    model = untrained_model(tmp_path / "model", source, (2,), dims=DIMS)
    mrl_edge_here("export", model, "--out", tmp_path / "bundle", "--precision", "fp32")
    task = jobs.Task(TEXTS, [], [], TEXTS, LABELS)
    jobs.write(tmp_path / "task.json", task)
    done = embed(
        jobs.EmbedJob(
            bundle=str(tmp_path / "bundle"), precision="fp32", depth=2, dims=DIMS, exact_dims=(),
            task=str(tmp_path / "task.json"), reference=None, documents="all", there=None, work=str(tmp_path / "work"),
        )
    )  # fmt: skip
    encoder = load_nested(tmp_path / "bundle", "fp32", threads=1)
    queries = np.fromfile(done.query_vectors, dtype=np.float32).reshape(len(TEXTS), -1)
    np.testing.assert_array_equal(queries, encoder.encode(TEXTS, "query", batch_size=1)[32])
    texts = encoder.encode(TEXTS, "text", batch_size=1)
    assert {row.dim: row.quality.knn_top1 for row in done.configurations} == {
        dim: knn_top1(texts[dim], LABELS) for dim in DIMS
    }
    assert np.array_equal(queries, texts[32]) == (not prompts)
