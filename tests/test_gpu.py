"""On a real GPU: vectors, clocks that wait for it, its memory. `make test-gpu`; without one skipped, and why."""

import time

import numpy as np
import pytest
from conftest import TINY_DIMS, mrl_edge_here
from mrl_edge.bench.results import read_results

import mrl_edge
from mrl_edge.encoder import load_nested
from mrl_edge.errors import UnsupportedError
from mrl_edge.providers import PROVIDERS

pytestmark = pytest.mark.gpu
WORDS = ("abc", "a cab", "bed and bag", "naïve", "de f", "gag")
TEXTS = [f"{WORDS[i % 6]} {WORDS[i // 6 % 6]} {WORDS[i // 36 % 6]}" for i in range(4096)]
LEAST_COSINE = {"fp32": 0.99999, "fp16": 0.999, "int8": 0.99}


@pytest.fixture(scope="module")
def halves(tiny_export):
    """The tiny bundle's model in fp32, fp16 and int8, with classes to score."""
    return tiny_export("gpu-bundle", "fp32,fp16,int8")


@pytest.fixture(params=["cuda", "tensorrt"])
def provider(request, halves):
    """A provider that starts here."""
    try:
        mrl_edge.load(halves, precision="fp32", provider=request.param)
    except UnsupportedError as error:
        pytest.skip(str(error))
    return request.param


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_vectors_are_the_processors_within_the_precisions_tolerance(halves, provider, precision):
    texts = TEXTS[:64]
    there, here = (
        load_nested(halves, precision, provider=name).encode(texts, batch_size=1) for name in (provider, "cpu")
    )
    for dim in TINY_DIMS:
        assert there[dim].dtype == np.float32
        assert (there[dim] * here[dim]).sum(axis=1).min() >= LEAST_COSINE[precision]
    batched = load_nested(halves, precision, provider=provider).encode(texts, batch_size=16)
    if precision != "int8":  # whose activations are scaled by the batch
        assert (batched[TINY_DIMS[-1]] * there[TINY_DIMS[-1]]).sum(axis=1).min() >= LEAST_COSINE[precision]


def test_the_graph_is_computed_there_and_the_encoder_says_so(halves, provider):
    nodes = mrl_edge.load(halves, precision="fp16", provider=provider).nodes
    assert not nodes or nodes[PROVIDERS[provider]] > sum(nodes.values()) / 2
    assert mrl_edge.load(halves, precision="fp16").nodes == {}


def test_the_clock_waits_for_the_gpu(halves):
    """A launch takes the same for any batch: were the outputs not waited for, so would a call."""
    encoder = load("cuda", halves)
    one, many = (encoder.prepare(TEXTS[:count]) for count in (1, 4096))

    def least_s(batch):
        for _ in range(5):
            encoder.embed(batch)
        times = []
        for _ in range(20):
            started = time.perf_counter()
            vectors = encoder.embed(batch)
            times.append(time.perf_counter() - started)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
        return min(times)

    assert least_s(many) > 1.5 * least_s(one)


def load(provider, bundle):
    try:
        return mrl_edge.load(bundle, precision="fp32", provider=provider)
    except UnsupportedError as error:
        pytest.skip(str(error))


def test_bench_measures_it_beside_the_processor(halves, provider, tmp_path):
    table, out = tmp_path / "task.csv", tmp_path / "results.json"
    table.write_text("text,label\n" + "".join(f"{text},{i % 2}\n" for i, text in enumerate(TEXTS[:40])))
    mrl_edge_here(
        "bench", halves, "--data", table, "--text", "text", "--label", "label", "--precision", "fp16", "--dims", "16",
        "--tokens", "0", "--batches", "1,32", "--max-seconds", "2", "--repeats", "1", "--provider", f"cpu,{provider}",
        "--out", out,
    )  # fmt: skip
    rows = {(row.provider, row.batch): row for row in read_results(out).measurements}
    assert {row.status for row in rows.values()} == {"ok"}
    gpu = rows[PROVIDERS[provider], 1]
    assert gpu.host_cosine >= LEAST_COSINE["fp16"]
    assert rows[PROVIDERS["cpu"], 1].memory.gpu_bytes is None
    assert rows[PROVIDERS[provider], 32].throughput.texts_per_s > 0
    if gpu.memory.gpu_bytes is None:
        pytest.skip(gpu.null_because["memory.gpu_bytes"])  # as in a container, whose processes NVML knows by other ids
    assert gpu.memory.gpu_bytes > 0
