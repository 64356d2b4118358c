import pytest

from mrl_edge.datasets import Table
from mrl_edge.errors import DataError, UsageError
from mrl_edge.evaluation.task import make_task

PAIRS = {"query": ["q1", "q2", "q1"], "positive": ["p1", "p2", "p3"]}
LABELLED = {"text": ["t1", "t2", "t3"], "label": ["a", "b", "a"]}


def _table(**roles):
    return Table("table.csv", roles)


def test_pairs_and_classes_together():
    task = make_task(_table(**PAIRS, **LABELLED))
    assert task.texts() == {
        "queries": ("query", ["q1", "q2"]),
        "documents": ("document", ["p1", "p2", "p3"]),
        "texts": ("text", ["t1", "t2", "t3"]),
    }
    assert task.retrieval.relevant == [{0, 2}, {1}]
    assert task.graded is task.reference is None


def test_fewer_queries_are_asked_of_all_documents():
    task = make_task(_table(**PAIRS), max_queries=1)
    assert (task.retrieval.queries, task.retrieval.relevant) == (["q1"], [{0, 2}])
    assert task.retrieval.documents == ["p1", "p2", "p3"]


def test_graded_pairs_are_no_retrieval():
    task = make_task(_table(**PAIRS, score=["1", "2.5", "-3e1"]))
    assert task.retrieval is None
    assert task.graded.scores.tolist() == [1, 2.5, -30]


def test_superclasses_come_from_both_tables():
    reference = Table("more.csv", {"text": ["x", "y"], "label": ["c", "a"], "superclass": ["S", "R"]})
    task = make_task(_table(**LABELLED, superclass=["R", "S", "R"]), reference)
    assert task.superclasses == {"a": "R", "b": "S", "c": "S"}
    assert task.texts()["reference"] == ("text", ["x", "y"])


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ({"query": PAIRS["query"]}, "--query with --positive"),
        ({"text": LABELLED["text"]}, "--text with --label"),
        ({**PAIRS, "label": LABELLED["label"]}, "--text with --label"),
        ({**LABELLED, "score": ["1", "2", "3"]}, "--score grades pairs"),
        ({**PAIRS, "superclass": ["R", "S", "R"]}, "--superclass groups labels"),
    ],
)
def test_columns_that_make_no_task(roles, said):
    with pytest.raises(UsageError, match=said):
        make_task(_table(**roles))


def test_a_reference_without_labels():
    with pytest.raises(UsageError, match="--reference holds labelled rows"):
        make_task(_table(**PAIRS), _table(**PAIRS))


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ({"query": ["q"], "positive": ["p"]}, "one row is too few"),
        ({"text": ["t", "u"], "label": ["a", "a"]}, "all rows have the same label"),
        ({**PAIRS, "score": ["1", "1.0", "1"]}, "all pairs have the same score"),
        ({**LABELLED, "superclass": ["R", "S", "T"]}, "label 'a' has two superclasses, 'R' and 'T'"),
    ],
)
def test_rows_that_nothing_can_be_scored_on(roles, said):
    with pytest.raises(DataError, match=said):
        make_task(_table(**roles))
