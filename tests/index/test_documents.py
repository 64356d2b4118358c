"""The corpus' texts, from the files that they were opened with."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mrl_edge.errors import UsageError
from mrl_edge.index.build import _write_documents
from mrl_edge.index.documents import Documents
from mrl_edge.index.scan import ScanIndex
from mrl_edge.index.vectors import ArrayRows

OPEN = Path("/proc/self/fd")
TEXTS = ["alpha", "two\nlines", "größer", ""]


def written(folder, texts):
    folder.mkdir()
    _write_documents(texts, folder)
    return Documents(folder / "documents.jsonl", folder / "offsets.i64")


def test_texts_come_back_in_the_order_that_is_asked_for(tmp_path):
    documents = written(tmp_path / "index", TEXTS)
    assert documents.read([3, 0, 2, 1, 0]) == ["", "alpha", "größer", "two\nlines", "alpha"]


def test_what_is_open_goes_on_answering_when_another_index_takes_its_place(tmp_path):
    """A service goes on while `mrl-edge index` or a new folder of `mrl-edge ship` is put there."""
    documents = written(tmp_path / "index", TEXTS)
    written(tmp_path / "new", ["other", "texts", "of other", "lengths"])
    (tmp_path / "index").rename(tmp_path / "old")
    (tmp_path / "new").rename(tmp_path / "index")
    assert documents.read(range(4)) == TEXTS


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_hits_than_one_are_refused(tmp_path, k):
    index = ScanIndex(ArrayRows(np.eye(4, dtype=np.float32)), 4)
    with pytest.raises(UsageError, match=f"k {k}: expected at least 1"):
        written(tmp_path / "index", TEXTS).hits(index, np.eye(4, dtype=np.float32)[0], k)


def test_threads_read_their_own_lines(tmp_path):
    texts = [f"text {number} " * (number % 40) for number in range(500)]
    documents = written(tmp_path / "index", texts)
    wanted = [[number, (7 * number) % 500] for number in range(500)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(documents.read, wanted)) == [[texts[one], texts[other]] for one, other in wanted]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_documents_that_nobody_has_are_closed(tmp_path):
    before = len(list(OPEN.iterdir()))
    opened = [written(tmp_path / str(number), TEXTS) for number in range(20)]
    assert len(list(OPEN.iterdir())) > before
    del opened
    gc.collect()
    assert len(list(OPEN.iterdir())) == before
