"""Scores of two results files: by intervals of samples, and by the same queries where both kept them."""

import base64
import json

import msgspec
import numpy as np
import pytest
from conftest import mrl_edge_here
from mrl_edge.bench.by_query import packed, unpacked
from mrl_edge.bench.comparison import against_baseline, compare_files
from mrl_edge.bench.results import read_results
from rows import measurement, results
from scipy.stats import binomtest, permutation_test


def _asked(row, queries, **settings):
    return msgspec.structs.replace(results(row), settings={"queries": queries, "texts": queries, **settings})


@pytest.mark.parametrize(
    ("now", "queries", "worse"), [(0.55, 1000, False), (0.55, 4000, True), (0.7, 4000, False), (0.4, 100, True)]
)
def test_a_score_is_worse_when_wilsons_intervals_say_so(now, queries, worse):
    before = measurement("int8", 64, ndcg=0.6, accuracy=0.9)
    after = measurement("int8", 64, ndcg=now, accuracy=0.9)
    intervals = [
        binomtest(round(share * queries), queries).proportion_ci(method="wilson") for share in (0.6, now)
    ]  # fmt: skip
    assert worse == (intervals[1].high < intervals[0].low)
    found = against_baseline(_asked(before, queries), _asked(after, queries)).regressions
    assert [one.figure for one in found] == (["ndcg_at_10"] if worse else [])


def _recalling(recalls, queries, earlier=False, **settings):
    row = measurement("int8", 64, search_ms=1.0, recall=float(np.mean(recalls)))
    each = np.array(recalls, dtype=float)
    if earlier:
        said = base64.b64encode(np.rint(255 * each).astype(np.uint8).tobytes()).decode()
        row = msgspec.structs.replace(row, search=msgspec.structs.replace(row.search, recalls=said))
    else:
        quality = msgspec.structs.replace(row.quality, each={"recall_at_10": packed(each)})
        row = msgspec.structs.replace(row, quality=quality)
    return _asked(row, queries, **settings)


@pytest.mark.parametrize("earlier", [False, True])
def test_the_same_queries_show_a_loss_of_recall_that_two_samples_would_not(earlier):
    """Of 1,000 queries 12 lose their answer and 2 find one: a point, where Wilson's intervals are 6 wide."""
    before = [1] * 600 + [0] * 400
    now = [0] * 12 + [1] * 588 + [1] * 2 + [0] * 398
    settings = {"data_sha256": "1"}
    saved = _recalling(before, 1000, earlier, **settings)
    (found,) = against_baseline(saved, _recalling(now, 1000, **settings)).regressions
    assert (found.figure, found.baseline, found.now) == ("recall_at_10", 0.6, 0.59)
    assert "of the same queries or texts by 0.002 to 0.022, 95% interval" in found.text
    other = _recalling(now, 1000, data_sha256="2")
    assert against_baseline(saved, other).regressions == ()
    few = [0] * 4 + [1] * 596 + [0] * 400  # 4 of 4 that changed: one draw in 8
    assert against_baseline(saved, _recalling(few, 1000, **settings)).regressions == ()


@pytest.fixture(scope="module")
def two_dims(bundle, dev, tmp_path_factory):
    """A run over 200 real pairs and their classes at two dimensions."""
    folder = tmp_path_factory.mktemp("two")
    rows = zip(*(dev[role][:200] for role in ("query", "positive", "label")), strict=True)
    (folder / "task.jsonl").write_text("".join(json.dumps({"q": q, "p": p, "c": c}) + "\n" for q, p, c in rows))
    mrl_edge_here(
        "bench", bundle, "--data", folder / "task.jsonl", "--query", "q", "--positive", "p", "--label", "c",
        "--text", "q", "--precision", "int8", "--dims", "8,64", "--index", "scan", "--tokens", "0", "--max-seconds",
        "0.1", "--repeats", "1", "--out", folder / "results.json",
    )  # fmt: skip
    return read_results(folder / "results.json")


def _as_dim(results, dim, called):
    """The rows of one dimension, as if they had been measured at another."""
    rows = [msgspec.structs.replace(row, dim=called) for row in results.measurements if row.dim == dim and row.search]
    return msgspec.structs.replace(results, measurements=tuple(rows))


def test_every_score_of_a_query_or_text_stands_in_a_real_run_and_means_what_the_row_says(two_dims):
    for row in two_dims.measurements:
        there = {"knn_top1", *(("ndcg_at_10", "mrr_at_10", "map_at_10", "recall_at_10") if row.search else ())}
        assert there <= set(row.quality.each)
        for metric, text in row.quality.each.items():
            scores = unpacked(text)
            assert len(scores) == 200
            assert scores.mean() == pytest.approx(getattr(row.quality, metric), abs=1 / 510)


def test_scores_of_a_real_pair_of_runs_are_worse_where_the_same_queries_show_it(two_dims):
    """Dimension 8 beside 64 of the same queries: each score as scipy's randomisation of their differences says."""
    full, small = _as_dim(two_dims, 64, 16), _as_dim(two_dims, 8, 16)
    (before,), (now,) = full.measurements, small.measurements
    worse = {one.figure for one in against_baseline(full, small).regressions}
    for metric in now.quality.each:
        changes = unpacked(now.quality.each[metric]) - unpacked(before.quality.each[metric])
        test = permutation_test((changes,), np.mean, permutation_type="samples", n_resamples=20_000, rng=0)
        if not 0.04 < test.pvalue < 0.06:  # so near draws cannot tell
            assert (metric in worse) == (test.pvalue < 0.05 and changes.mean() < 0), metric
    assert {"ndcg_at_10", "map_at_10", "mrr_at_10", "recall_at_10"} <= worse
    same = compare_files(full, full).pairs[0].figures
    unseen = pytest.approx(3.69 / 200, rel=0.01)  # three scores or four, which none of 200 queries shows
    for one in same:
        if one.kind == "quality":
            low, high = one.change_ci95
            assert (-low, high) == (unseen, unseen)
