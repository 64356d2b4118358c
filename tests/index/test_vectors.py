"""The store: what each storage keeps of the vectors, and where it lies."""

import numpy as np
import pytest
from index.cosines import DIMS, ROWS, cut, exact, recall, scores

from mrl_edge.description import VectorsInfo
from mrl_edge.errors import UsageError
from mrl_edge.index.blocks import Block
from mrl_edge.index.scan import ScanIndex
from mrl_edge.index.vectors import STORAGES, VectorStore, VectorWriter, reorder

STEP = {"fp32": 0.0, "fp16": 2**-11, **dict.fromkeys(("int8", "int8-int6", "int8-int4"), 1 / 254)}  # of a row's largest


@pytest.mark.parametrize("storage", STORAGES)
def test_stored_numbers_are_the_given_ones_within_half_a_step(stores, vectors, storage):
    store = stores[storage]
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    scale = 1.0 if storage in ("fp32", "fp16") else 127 / largest
    for block in store.blocks:
        wanted = vectors[:, block.start : block.end] * scale
        error = np.abs(block.numbers(block.stored) - wanted)
        unit = STEP[storage] * largest * scale
        if block.bits:  # 2^bits steps between ∓ the largest of the row's own part, of a code that was rounded before
            unit = unit + np.abs(wanted).max(axis=1, keepdims=True) / 2**block.bits + 0.5
        assert (error <= unit + 1e-6).all()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("dim", DIMS)
def test_scan_and_rerank_give_the_cosines_of_what_is_stored(stores, queries, storage, dim):
    store = stores[storage]
    kept = np.concatenate([block.numbers(block.stored).astype(np.float64) for block in store.blocks], axis=1)
    wanted = exact(queries, kept, dim)
    ids = np.random.default_rng(2).permutation(ROWS)[:700]
    pieces = np.concatenate([piece for _, piece in store.pieces(dim, 999)])
    for query, line in zip(cut(queries, dim).astype(np.float32)[:5], wanted, strict=False):
        np.testing.assert_allclose(scores(store, query), line, atol=2e-6)
        np.testing.assert_allclose(store.cosines(ids, query), line[ids], atol=2e-6)
        np.testing.assert_allclose(pieces @ query, line, atol=2e-6)


@pytest.mark.parametrize(
    ("storage", "least"), [("fp32", 1.0), ("fp16", 0.99), ("int8", 0.97), ("int8-int6", 0.96), ("int8-int4", 0.95)]
)
def test_smaller_storage_keeps_the_exact_hits(stores, vectors, queries, storage, least):
    assert recall(ScanIndex(stores[storage], 96), queries, exact(queries, vectors, 96)) >= least


def test_a_prefix_lies_in_its_own_pages(stores):
    """Bytes that a scan of the first 8 columns reads: 8 a row in int8, from a page's start, and no other's."""
    store = stores["int8"]
    starts = [block.stored.__array_interface__["data"][0] for block in store.blocks]
    assert all((start - starts[0]) % 16_384 == 0 for start in starts)
    assert starts[1] - starts[0] == -(-ROWS * 8 // 16_384) * 16_384
    assert store.block_bytes(8) == ROWS * 8
    assert stores["int8-int4"].block_bytes(96) == ROWS * (40 + 28 + 1)
    assert stores["int8-int6"].block_bytes(96) == ROWS * (40 + 28 + 14 + 1)


def test_rows_can_be_put_in_another_order(stores, tmp_path):
    store, order = stores["int8-int4"], np.random.default_rng(3).permutation(ROWS)
    reorder(store, order, VectorWriter(store.info, tmp_path / "v", tmp_path / "l"), size=700)
    moved = VectorStore(store.info, tmp_path / "v", tmp_path / "l")
    query = np.ones(96, dtype=np.float32) / np.sqrt(np.float32(96))
    for ours, theirs in zip(moved.blocks, store.blocks, strict=True):
        np.testing.assert_array_equal(ours.stored, theirs.stored[order])
    np.testing.assert_allclose(scores(moved, query), scores(store, query)[order], atol=1e-7)  # BLAS sums by place


@pytest.mark.parametrize(
    ("bits", "wanted"),
    [(4, [0xF0, 0x8B, 0x04, 127]), (6, [0xF0, 0x8B, 0x04, 0, 3 << 2, 127])],
)
def test_the_bytes_of_a_packed_row_do_not_change(bits, wanted):
    """Stores on disk lie so. Steps 0, 11, 4, 15, 8 of 16, or 0, 44, 16, 63, 32 of 64; columns 0 and 3 share a byte."""
    block = Block(np.zeros((1, len(wanted)), dtype=np.uint8), 0, 5, bits)
    block.write(slice(0, 1), np.array([[-127, 50, -60, 127, 0]], dtype=np.int8))
    assert block.stored[0].tolist() == wanted


def test_a_storage_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="fp32, fp16, int8, int8-int6, int8-int4"):
        VectorWriter(VectorsInfo("v", "l", "int2", DIMS, 4), tmp_path / "v", tmp_path / "l")
    with pytest.raises(UsageError, match="two dimensions"):
        VectorWriter(VectorsInfo("v", "l", "int8-int4", (8,), 4), tmp_path / "v", tmp_path / "l")
