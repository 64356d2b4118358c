"""What a process holds and reads of mapped files, beside the pages that were read on purpose."""

import mmap
import sys

import numpy as np
import pytest
from mrl_edge.bench import mapped
from mrl_edge.bench.mapped import read_mapped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PAGES = 4096


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a file of vectors"
    path.write_bytes(bytes(PAGES * mmap.PAGESIZE))
    return path


def test_touched_is_what_was_read_meanwhile_and_not_all_that_is_mapped(file):
    """The kernel marks pages in the units that it keeps them in, of up to 2 MB."""
    there = np.memmap(file, dtype=np.uint8, mode="r").reshape(PAGES, mmap.PAGESIZE)
    there[:, 0].sum()
    eighth = PAGES // 8
    found = read_mapped([file], lambda: there[:eighth, 7].sum())
    assert found.rss == PAGES * mmap.PAGESIZE
    assert eighth * mmap.PAGESIZE <= found.touched <= 2 * eighth * mmap.PAGESIZE
    assert read_mapped([file], lambda: None).touched == 0
    assert found.null_because == {}


def test_other_files_do_not_count(file, tmp_path):
    other = tmp_path / "another"
    other.write_bytes(bytes(PAGES * mmap.PAGESIZE))
    there = np.memmap(other, dtype=np.uint8, mode="r")
    found = read_mapped([file], lambda: there.sum())
    assert (found.rss, found.touched) == (0, 0)


def test_a_machine_that_cannot_say_gives_null_and_why(file, tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "_CLEAR", tmp_path)  # a folder, which nobody can write
    found = read_mapped([file], lambda: None)
    assert (found.rss, found.touched) == (0, None)
    assert list(found.null_because) == ["memory.index_touched_bytes"]
    monkeypatch.setattr(mapped, "_SMAPS", tmp_path / "nothing")
    found = read_mapped([file], lambda: None)
    assert (found.rss, found.touched) == (None, None)
    assert found.null_because["memory.index_rss_bytes"].startswith("this machine has no /proc/self/smaps")
