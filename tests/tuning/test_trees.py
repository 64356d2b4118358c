"""How many trees are tried, over float32 rows and over signs."""

import math

import pytest

from mrl_edge.index.candidates import Site, ladders
from mrl_edge.index.trials import Trial, rank
from mrl_edge.index.tuning import Target, tune
from mrl_edge.progress import silent


@pytest.mark.parametrize("recall", [0.95, 0.995])
def test_trees_are_doubled_until_more_of_them_answer_no_better(ground, tmp_path, recall):
    """The least time at the target, or the best recall below it: each count but the last betters the one before."""
    target = Target(recall, None, ("annoy",))
    for dim in (32, 64):
        _, trials = tune(ground, (dim,), target, tmp_path, silent)
        counts = {}
        for trial in trials:
            if trial.parameters["metric"] == "angular":
                seen = trial.recall_at_10_full or 0, -(trial.p50_ms or math.inf)
                found = min(seen[0], recall)
                found = found if found > recall - 0.01 else math.floor(100 * found) / 100
                counts.setdefault(trial.parameters["n_trees"], []).append((found, seen[1]))
        best = [max(each) for each in counts.values()]
        assert list(counts) == [8, 16, 32, 64, 128][: len(counts)]
        assert len(counts) > 1
        assert best[:-1] == sorted(best[:-1])
        assert len(counts) == 5 or best[-1] <= best[-2]


def test_a_forest_that_is_just_below_the_target_leaves_a_larger_one_to_be_tried():
    """Also where it takes longer than a smaller one; far below the target a thousandth more is not worth it."""

    def ranked(recall, p50_ms, target=0.995):
        return rank(Trial(64, "annoy", {}, None, None, recall, p50_ms, 1, 1.0), target)

    assert ranked(0.991, 1) < ranked(0.994, 2) < ranked(0.995, 9) < ranked(1.0, 8)
    assert ranked(0.990, 1) < ranked(0.995, 2)
    assert ranked(0.861, 1) > ranked(0.864, 2)
    assert ranked(0.869, 1) < ranked(0.871, 2)
    assert ranked(None, None) < ranked(0.0, 9)


def test_no_forest_is_built_that_cannot_be_within_the_memory(ground, tmp_path):
    """A row takes its float32 columns, and 8 bytes a tree at least."""
    for dim in (8, 64):
        site = Site(ground.store, ground.lists, dim, tmp_path, 4000 * (4 * dim + 8 * 16), silent, {})
        angular, _ = ladders("annoy", site)
        sizes = {built.efforts[0]["n_trees"]: built.own_bytes for built in angular}
        assert list(sizes) == [8, 16]
        assert all(size >= 4000 * (4 * dim + 8 * trees) for trees, size in sizes.items())


def test_annoy_over_signs_is_tried_and_always_ranked_again(ground, tmp_path):
    _, trials = tune(ground, (64,), Target(0.9, None, ("annoy",)), tmp_path, silent)
    hamming = [trial for trial in trials if trial.parameters["metric"] == "hamming"]
    assert hamming
    assert all(trial.rerank_dim == 64 or trial.p50_ms is None for trial in hamming)
