import mmap
import os
import sys

import pytest
from mrl_edge.bench.page_cache import drop, resident_share

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="posix_fadvise and mincore")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(8 << 20))
    return path


def test_a_file_just_read_is_resident_and_dropped_it_is_not(file):
    assert file.read_bytes()
    assert resident_share([file]) == 1
    reason = drop([file])
    if reason is not None:
        pytest.skip(f"this file system keeps its pages: {reason}")
    assert resident_share([file]) < 0.05
    assert file.read_bytes()
    assert resident_share([file]) == 1


def test_pages_that_a_process_has_mapped_stay_and_it_is_said(file):
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[i] for i in range(0, len(mapped), mmap.PAGESIZE)) > 0
        assert "the kernel kept" in drop([file])


def test_a_small_file_that_stays_is_not_lost_beside_a_large_one(file, tmp_path):
    small = tmp_path / "tokenizer.json"
    small.write_bytes(os.urandom(mmap.PAGESIZE))
    if drop([file]) is not None:
        pytest.skip("this file system keeps its pages")
    with small.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[0] >= 0
        assert resident_share([file, small]) < 0.05
        assert "tokenizer.json" in drop([file, small])


def test_an_empty_file_has_no_pages(tmp_path):
    (tmp_path / "empty").touch()
    assert drop([tmp_path / "empty"]) is None
