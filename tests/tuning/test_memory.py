"""What a tuned index may touch of memory: what is refused, and whether a process takes what it is said to."""

import subprocess
import sys

import msgspec
import numpy as np
import pytest
from tuning.grounds import KINDS

from mrl_edge.description import VectorsInfo
from mrl_edge.errors import UsageError
from mrl_edge.index.build import Embedded
from mrl_edge.index.reference import exact_in_pieces
from mrl_edge.index.tune import order_by_lists
from mrl_edge.index.tuning import Target, tune
from mrl_edge.index.vectors import VectorStore, VectorWriter
from mrl_edge.progress import silent


def test_memory_is_within_the_limit_and_the_rest_is_said(ground, tmp_path):
    # Int8 rows, a length, an item and 64 signs each; the lists; what is made of a piece, here of all rows.
    limit = 4000 * (64 + 4 + 4 + 8) + 40_000 + 4000 * 300
    sizes, trials = tune(ground, (8, 64), Target(0.95, limit, KINDS), tmp_path, silent)
    assert all(size.resident_bytes <= limit for size in sizes)
    over = [trial for trial in trials if trial.resident_bytes > limit]
    assert all(trial.note == "touches more memory than allowed" for trial in over)
    with pytest.raises(UsageError, match="--max-index-mb"):
        tune(ground, (64,), Target(0.95, 1000, KINDS), tmp_path, silent)


def test_within_a_limit_the_best_that_fits_is_kept_although_no_rerank_fits(ground, tmp_path):
    sizes, trials = tune(ground, (8,), Target(0.95, 500_000, ("scan", "binary")), tmp_path, silent)
    assert sizes[0].resident_bytes <= 500_000
    assert sizes[0].rerank_dim is None or sizes[0].rerank_dim <= 32
    refused = [trial for trial in trials if trial.resident_bytes > 500_000]
    assert refused
    assert all(trial.recall_at_10_full is None and trial.p50_ms is None for trial in refused)


def test_what_was_refused_is_said(ground, tmp_path):
    with pytest.raises(UsageError, match=r"annoy would need more for its own file alone: raise --max-index-mb"):
        tune(ground, (64,), Target(0.95, 1000, ("annoy",)), tmp_path, silent)
    with pytest.raises(UsageError, match=r"the least that was built touches \d\.\d+ MB: raise"):
        tune(ground, (64,), Target(0.95, 1000, ("scan", "annoy")), tmp_path, silent)


_ASK = """
import sys, msgspec, numpy as np
from pathlib import Path
from mrl_edge.description import SizedIndex, VectorsInfo
from mrl_edge.index.kinds import open_sized
from mrl_edge.index.vectors import VectorStore, map_bytes

def memory(name):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(name))

folder = Path(sys.argv[1])
size = msgspec.json.decode(sys.argv[2], type=SizedIndex)
info = msgspec.json.decode(sys.argv[3], type=VectorsInfo)
queries = np.load(folder / "queries.npy")
np.ones((512, queries.shape[1]), dtype=np.float32) @ queries[0]
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = memory("VmRSS")
store = VectorStore(info, folder / "vectors.bin", folder / "lengths.f32")
index = open_sized(size, store, folder / (size.file or ""), map_bytes(folder / "order.i32").view("<i4"))
for query in queries[:, : index.dim]:
    index.search(query / np.linalg.norm(query), 10)
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("kind", ["scan", "ivf", "binary"])
def test_resident_bytes_are_what_a_fresh_process_grows_by(tmp_path, kind):
    rows, dims = 60_000, (8, 64, 128)
    random = np.random.default_rng(0)
    vectors = random.standard_normal((rows, 128), dtype=np.float32) * np.linspace(1, 0.2, 128, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    info = VectorsInfo("v", "l", "int8", dims, rows)
    writer = VectorWriter(info, tmp_path / "vectors.bin", tmp_path / "lengths.f32")
    writer.write(0, vectors)
    writer.close()
    store = VectorStore(info, tmp_path / "vectors.bin", tmp_path / "lengths.f32")
    reference = exact_in_pieces(vectors[::1500], [(0, vectors)], 10)
    ground = order_by_lists(Embedded(store, vectors[::1500], reference), tmp_path, silent)
    (size,), _ = tune(ground, (64,), Target(0.9, None, (kind,)), tmp_path, silent)
    np.save(tmp_path / "queries.npy", vectors[::100])
    told = subprocess.run(
        [sys.executable, "-c", _ASK, tmp_path, msgspec.json.encode(size), msgspec.json.encode(ground.store.info)],
        stdout=subprocess.PIPE, check=True,
    ).stdout  # fmt: skip
    assert int(told) == pytest.approx(size.resident_bytes, abs=1_200_000)  # what a scan makes of a piece is 1.4 MB
