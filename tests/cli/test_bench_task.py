"""The documents of a task that is cut to a size."""

import itertools

import pytest

from mrl_edge.cli.bench_task import read_task
from mrl_edge.errors import UsageError

ROLES = {"query": [f"query {n}" for n in range(200)], "positive": [f"word {n % 120}" for n in range(200)]}


def cut(documents, roles=ROLES, queries=20):
    return read_task(roles, queries, documents)


def test_a_smaller_corpus_is_a_part_of_a_larger_one_and_all_hold_the_answers():
    sizes = (20, 21, 50, 90, 120)
    tasks = [cut(size) for size in sizes]
    assert [len(set(task.documents)) for task in tasks] == list(sizes)
    for smaller, larger in itertools.pairwise(tasks):
        assert {*smaller.documents} < {*larger.documents}
    for task in tasks:
        assert task.queries == tasks[0].queries
        for number, answers in enumerate(task.relevant):
            assert [task.documents[answer] for answer in answers] == [f"word {number}"]


def test_which_documents_are_kept_does_not_depend_on_their_order():
    order = [*range(20), *reversed(range(20, 200))]
    turned = {role: [cells[place] for place in order] for role, cells in ROLES.items()}
    assert {*cut(50).documents} == {*cut(50, turned).documents}
    assert cut(50).documents == cut(50).documents


def test_a_size_below_the_answers_or_above_the_documents_is_refused():
    for size in (19, 121):
        with pytest.raises(UsageError, match="expected from 20, the answers of these queries, to the 120 documents"):
            cut(size)
