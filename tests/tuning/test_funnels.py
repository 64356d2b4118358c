"""Shortlists that are ranked by way of a smaller dimension."""

import dataclasses
import json

import msgspec
import numpy as np

from mrl_edge.description import SizedIndex, Step
from mrl_edge.index.kinds import open_first, open_sized
from mrl_edge.index.tuning import Target, tune
from mrl_edge.nesting import prefix
from mrl_edge.progress import silent


def test_a_long_shortlist_is_also_ranked_by_way_of_a_smaller_dimension(ground, tmp_path):
    """Where that reads fewer columns and keeps the recall; it opens from a manifest, and finds what numpy does."""
    (size,), trials = tune(ground, (8,), Target(0.95, None, ("binary",)), tmp_path, silent)
    single = [trial for trial in trials if not trial.funnel and (trial.recall_at_10_full or 0) >= 0.95]
    whole = min(single, key=lambda trial: trial.p50_ms)
    tried = [trial for trial in trials if trial.funnel]
    assert tried
    (stored,) = (rows for _, rows in ground.store.pieces(64))
    for trial in tried:
        wide, last = trial.funnel
        assert (wide.shortlist, last.dim) == (whole.shortlist, whole.rerank_dim) == (trial.shortlist, trial.rerank_dim)
        assert wide.shortlist * wide.dim + last.shortlist * last.dim < wide.shortlist * last.dim
        assert trial.recall_at_10_full >= 0.95
        assert trial.resident_bytes >= whole.resident_bytes + 4 * 4000 * (wide.dim != 64)
        ranked = {"shortlist": wide.shortlist, "rerank_dim": last.dim, "funnel": trial.funnel}
        said = msgspec.json.encode(dataclasses.replace(size, **ranked))
        opened = open_sized(msgspec.json.decode(said, type=SizedIndex), ground.store, tmp_path / "signs.u64", None)
        first = open_first(size, ground.store, tmp_path / "signs.u64")
        for query in ground.queries:
            ids = first.search(prefix(query[None], 8)[0], wide.shortlist)[0]
            for kept, dim in ((last.shortlist, wide.dim), (10, last.dim)):
                cosines = prefix(stored[ids], dim) @ prefix(query[None], dim)[0]
                ids, cosines = ids[np.argsort(-cosines)[:kept]], np.sort(cosines)[::-1][:kept]
            np.testing.assert_allclose(opened.search(query, 10)[1], cosines, atol=1e-5)


def test_an_index_of_an_earlier_version_opens_with_its_one_step():
    said = {"dim": 8, "kind": "binary", "file": "f", "parameters": {}, "recall_at_10": None, "recall_at_10_full": 1.0,
            "p50_ms": 1.0, "resident_bytes": 1}  # fmt: skip
    assert msgspec.json.decode(json.dumps(said), type=SizedIndex).steps == ()
    reranked = {**said, "shortlist": 200, "rerank_dim": 64}
    assert msgspec.json.decode(json.dumps(reranked), type=SizedIndex).steps == (Step(200, 64),)
