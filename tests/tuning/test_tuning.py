"""What is chosen of what was tried, on which queries, and what stays of the rest."""

import dataclasses
import math

import numpy as np
import pytest
from tuning.grounds import DIMS, KINDS, ground_in

from mrl_edge.index.candidates import Site, build_like
from mrl_edge.index.kinds import open_sized
from mrl_edge.index.reference import exact_in_pieces
from mrl_edge.index.tuning import Target, rows_of, tune
from mrl_edge.nesting import prefix
from mrl_edge.progress import silent


@pytest.fixture(scope="module")
def every_kind(vectors, tmp_path_factory):
    """Every kind tuned at every dimension: the folder, the choices and all trials."""
    folder = tmp_path_factory.mktemp("every")
    return folder, *tune(ground_in(folder, vectors), DIMS, Target(0.95, None, KINDS), folder, silent)


def test_the_choice_is_the_fastest_trial_that_reaches_the_target(every_kind):
    _, sizes, trials = every_kind
    assert [size.dim for size in sizes] == list(DIMS)
    assert {trial.kind for trial in trials} == set(KINDS)
    for size in sizes:
        reached = [t.p50_ms for t in trials if t.dim == size.dim and t.p50_ms and t.recall_at_10_full >= 0.95]
        assert size.recall_at_10_full >= 0.95
        assert size.p50_ms == min(reached)


def test_what_lost_at_a_dimension_is_gone_before_the_next(ground, tmp_path):
    """Five forests a dimension, each with its own copy of the rows, would fill a disk; signs serve the next too."""
    there = []

    def look(stage, done, total, note=""):
        if stage == "tuning" and done:
            there.append(sorted(path.name for path in tmp_path.iterdir() if path.suffix in (".ann", ".u64")))

    sizes, _ = tune(ground, (8, 32, 64), Target(0.95, None, ("binary", "annoy")), tmp_path, look)
    for number, names in enumerate(there[:-1], 1):
        kept = {size.file for size in sizes[:number]}
        assert set(names) == kept | {"signs.u64"}
    assert len(there) == 3


def test_signs_of_another_store_are_not_used_again(ground, tmp_path):
    (tmp_path / "signs.u64").write_bytes(bytes(8 * 4000))
    _, trials = tune(ground, (32, 64), Target(0.95, None, ("binary",)), tmp_path, silent)
    assert max(trial.recall_at_10_full or 0 for trial in trials) >= 0.95
    assert len({trial.build_s for trial in trials}) == 1
    assert trials[0].build_s > 0


def test_the_choice_is_scored_on_queries_that_it_was_not_tuned_on(ground, vectors, tmp_path):
    unseen = vectors[7::80]
    rows = rows_of(exact_in_pieces(unseen, [(0, vectors)], 10), np.fromfile(tmp_path / "order.i32", "<i4"))
    held = dataclasses.replace(ground, unseen=(unseen, rows))
    (size,), _ = tune(held, (64,), Target(0.9, None, ("binary",)), tmp_path, silent)
    index = open_sized(size, ground.store, tmp_path / size.file, None)
    shares = [len({*index.search(q, 10)[0]} & {*wanted}) / 10 for q, wanted in zip(unseen, rows, strict=True)]
    assert size.recall_at_10_full == pytest.approx(np.mean(shares))


def test_nothing_is_ranked_at_a_larger_dimension_than_what_is_to_be_found(ground, vectors, tmp_path):
    """As `bench` asks for: what exact search at 32 finds, of every kind."""
    found = exact_in_pieces(prefix(ground.queries, 32), [(0, prefix(vectors, 32))], 10)
    order = np.fromfile(tmp_path / "order.i32", "<i4")
    at_32 = dataclasses.replace(ground, reference=rows_of(found, order), dim=32)
    for kind in KINDS:
        (size,), trials = tune(at_32, (32,), Target(0.9, None, (kind,)), tmp_path, silent)
        assert {trial.rerank_dim for trial in trials} <= {None, 32}
        assert size.recall_at_10_full >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_built_like_another_answers_as_it_does(ground, tmp_path, kind):
    (size,), _ = tune(ground, (32,), Target(0.9, None, (kind,)), tmp_path, silent)
    folder = tmp_path / "like"
    folder.mkdir()
    path, _ = build_like(size, Site(ground.store, ground.lists, 32, folder, math.inf, silent, {}))
    ours = open_sized(size, ground.store, path or folder, None)
    theirs = open_sized(size, ground.store, tmp_path / (size.file or ""), None)
    for query in prefix(ground.queries, ours.dim):
        np.testing.assert_array_equal(ours.search(query, 10)[0], theirs.search(query, 10)[0])


def test_only_the_files_of_what_was_chosen_are_left(every_kind):
    folder, sizes, _ = every_kind
    stay = {"vectors.bin", "lengths.f32", "order.i32", "lists.ivf"}
    assert {path.name for path in folder.iterdir()} - stay <= {size.file for size in sizes}
