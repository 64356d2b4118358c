"""Annoy's forests are grown in their file, by a process that can be stopped, and in memory that does not grow."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from mrl_edge.description import VectorsInfo
from mrl_edge.errors import UnsupportedError
from mrl_edge.index import forest
from mrl_edge.index.annoy import AnnoyIndex
from mrl_edge.index.forest import build_annoy
from mrl_edge.index.vectors import StoredPrefix, VectorStore, VectorWriter

DIM = 64

_BUILD = """
import sys
from pathlib import Path
from mrl_edge.description import VectorsInfo
from mrl_edge.index.forest import build_annoy
from mrl_edge.index.vectors import StoredPrefix, VectorStore

folder, rows, dim, trees, hold = Path(sys.argv[1]), *map(int, sys.argv[2:])
store = VectorStore(VectorsInfo("v", "l", "fp32", (dim,), rows), folder / "v", folder / "l")
held = [piece for _, piece in store.pieces(dim)] if hold else None
report = lambda stage, done, total, now="": print(stage, flush=True)
build_annoy(StoredPrefix(store, dim), trees, folder / "forest.ann", report=report)
"""


def stored(folder, rows, dim=DIM):
    """Random rows in a store, written a piece at a time."""
    random = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    info = VectorsInfo("v", "l", "fp32", (dim,), rows)
    writer = VectorWriter(info, folder / "v", folder / "l")
    for first in range(0, rows, 10_000):
        writer.write(first, random.standard_normal((min(10_000, rows - first), dim), dtype=np.float32))
    writer.close()
    return StoredPrefix(VectorStore(info, folder / "v", folder / "l"), dim)


def building(folder, rows, trees, dim=DIM, hold=False):
    """A process that builds a forest over the rows of a folder and prints each stage that it is told of."""
    command = [sys.executable, "-c", _BUILD, str(folder), *map(str, (rows, dim, trees, int(hold)))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("rows"), 20_000, 8)


@pytest.mark.parametrize("metric", ["angular", "hamming"])
def test_a_forest_that_another_process_grows_is_the_same_and_says_how_far_it_is(rows, tmp_path, monkeypatch, metric):
    told, found = [], []
    for name, at_once in (("here", 10**9), ("apart", 0)):
        monkeypatch.setattr(forest, "AT_ONCE", at_once)
        build_annoy(rows, 6, tmp_path / name, metric, lambda *step: told.append(step))
        index = AnnoyIndex(tmp_path / name, 8, 100, metric)  # which misses much, the same of the same trees alone
        found.append([index.search(query, 10)[0].tolist() for query in np.eye(8, dtype=np.float32)])
    assert found[0] == found[1]
    assert told == [
        ("annoy of 8: rows", 0, 20_000), ("annoy of 8: rows", 16_384, 20_000), ("annoy of 8: rows", 20_000, 20_000),
        *(("annoy of 8: trees", done, 6) for done in range(7)),
    ]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_who_is_stopped_while_trees_grow_leaves_no_process_and_after_ctrl_c_no_file(rows, number):
    folder = rows.store.files[0].parent
    process = building(folder, 20_000, 20_000, dim=8)  # would take minutes
    while "trees" not in process.stdout.readline():
        assert process.poll() is None
    (grower,) = psutil.Process(process.pid).children()
    started = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    grower.wait(5)  # raises where it lives on
    assert time.monotonic() - started < 5
    assert (folder / "forest.ann").exists() == (number == signal.SIGKILL)
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    (folder / "forest.ann").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [
        (signal.SIGKILL, UnsupportedError, "annoy of dimension 8 with 9999 trees could not be built: SIGKILL"),
        (signal.SIGBUS, OSError, os.strerror(errno.ENOSPC)),  # what a full disk does to a mapped file
    ],
)
def test_a_grower_that_is_killed_is_one_error_and_leaves_no_file(rows, tmp_path, number, error, said):
    def kill(stage, done, total, now=""):
        if (stage, done) == ("annoy of 8: trees", 1):
            (grower,) = (child for child in psutil.Process().children() if forest._PROGRAM in child.cmdline())
            grower.send_signal(number)

    with pytest.raises(error, match=said):
        build_annoy(rows, 9999, tmp_path / "forest.ann", report=kill)
    assert list(tmp_path.iterdir()) == []


def test_a_grower_takes_no_module_from_the_working_directory(rows, tmp_path, monkeypatch):
    (tmp_path / "msgspec.py").write_text("raise SystemExit('this is somebody else')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forest, "AT_ONCE", 0)
    build_annoy(rows, 2, tmp_path / "forest.ann")
    assert AnnoyIndex(tmp_path / "forest.ann", 8, 100).search(np.eye(8, dtype=np.float32)[0], 3)[0].shape == (3,)


@pytest.mark.parametrize("metric", ["angular", "euclidean", "hamming"])
def test_a_forest_that_would_not_fit_the_disk_is_not_begun_in_this_process(rows, tmp_path, monkeypatch, metric):
    """Which a full disk would end by SIGBUS; what is asked for is enough, and at most three times as much."""
    build_annoy(rows, 20, tmp_path / "forest.ann", metric)
    taken = (tmp_path / "forest.ann").stat().st_size
    for free, fits in ((taken - 1, False), (3 * taken, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        if fits:
            build_annoy(rows, 20, tmp_path / "forest.ann", metric)
            continue
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            build_annoy(rows, 20, tmp_path / "forest.ann", metric)
        assert list(tmp_path.iterdir()) == []


def private_peak(process):
    """The most bytes that a process and its children have had of their own, the pages of mapped files left out."""
    peak = 0
    while process.poll() is None:
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
            seen = [each.memory_info() for each in family]
        except psutil.NoSuchProcess:
            continue
        peak = max(peak, sum(each.rss - each.shared for each in seen))
        time.sleep(0.005)
    assert process.returncode == 0, process.stderr.read()
    return peak


@pytest.mark.skipif(sys.platform != "linux", reason="psutil tells what is shared on Linux")
def test_building_takes_no_more_memory_for_four_times_the_rows(tmp_path):
    """The 60,000 rows that are more take 15 MB, and more in their forest: neither is held. Each is grown apart."""
    few, many = 20_000, 80_000
    assert few * 24 > forest.AT_ONCE
    peaks = []
    for name, count, hold in (("few", few, False), ("many", many, False), ("held", many, True)):
        stored(tmp_path / name, count)
        peaks.append(private_peak(building(tmp_path / name, count, 24, hold=hold)))
    assert (tmp_path / "many" / "forest.ann").stat().st_size > many * 4 * DIM
    assert peaks[1] - peaks[0] < 5e6
    assert peaks[2] - peaks[1] > 0.9 * many * 4 * DIM  # this would see rows that are held
