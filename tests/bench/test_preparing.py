"""What a variant's vectors and indexes say before anything is timed, beside numpy's search over the same vectors."""

import json

import numpy as np
import pytest
from mrl_edge.bench import jobs
from mrl_edge.bench.held import Held, held_of
from mrl_edge.bench.prepare import embed
from mrl_edge.bench.results import IndexPlan
from mrl_edge.bench.searched import index

from mrl_edge.bundle import open_bundle
from mrl_edge.index.kinds import kind_of
from mrl_edge.index.vectors import VectorStore, VectorWriter, block_bytes
from mrl_edge.metrics import retrieval_task

DIMS = (8, 16, 32)
QUERIES, DOCUMENTS = 40, 400
PLANS = (IndexPlan("scan"), IndexPlan("ivf"), IndexPlan("scan", 50, 32))
PAIRS = tuple((dim, plan) for dim in DIMS for plan in PLANS if plan.applies_to(dim, 32))


@pytest.fixture(scope="module")
def task(dev):
    """Few queries, and ten times as many documents as they have answers."""
    made = retrieval_task(dev["query"][:DOCUMENTS], dev["positive"][:DOCUMENTS])
    relevant = [sorted(answers) for answers in made.relevant[:QUERIES]]
    return jobs.Task(made.queries[:QUERIES], made.documents, relevant, [], [])


def embedded(bundle, task, work, documents, there=None):
    jobs.write(work / "task.json", task)
    return embed(
        jobs.EmbedJob(
            bundle=str(bundle), precision="int8", depth=2, dims=DIMS, exact_dims=DIMS, task=str(work / "task.json"),
            reference=None, documents=documents, there=there, work=str(work / "int8"),
        )
    )  # fmt: skip


def indexed(bundle, vectors, work, wanted, like=()):
    return index(
        jobs.IndexJob(
            bundle=str(bundle), precision="int8", depth=2, task=str(work / "task.json"), embedded=vectors,
            wanted=tuple(wanted), plans=PLANS, target_recall=0.9, storage="fp32", like=like, work=str(work / "int8"),
        )
    ).configurations  # fmt: skip


def by_numpy(vectors, task, dim):
    """recall@10 by sorting all cosines."""
    queries = np.fromfile(vectors.query_vectors, dtype=np.float32).reshape(QUERIES, -1)[:, :dim]
    documents = np.fromfile(vectors.document_vectors, dtype=np.float32).reshape(len(task.documents), -1)[:, :dim]
    cosines = queries @ (documents / np.linalg.norm(documents, axis=1, keepdims=True)).T
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :10]
    return np.mean(
        [len({*line} & {*answers}) / len(answers) for line, answers in zip(best, task.relevant, strict=True)]
    )


def test_exact_search_is_scored_and_among_the_answers_alone_nothing_scores_less(tiny_bundle, task, tmp_path):
    answers = embedded(tiny_bundle, task, tmp_path, "answers")
    assert answers.document_vectors is None
    everything = embedded(tiny_bundle, task, tmp_path, "all", there=answers)
    assert everything.query_vectors == answers.query_vectors
    for dim in DIMS:
        assert everything.exact[dim].recall_at_10 == pytest.approx(by_numpy(everything, task, dim), abs=1 / QUERIES)
        for metric in ("recall_at_10", "ndcg_at_10", "mrr_at_10", "map_at_10"):
            assert getattr(answers.exact[dim], metric) >= getattr(everything.exact[dim], metric)


def test_indexes_made_one_by_one_find_what_those_made_at_once_find(tiny_bundle, task, tmp_path):
    (tmp_path / "once").mkdir()
    (tmp_path / "apart").mkdir()
    vectors = embedded(tiny_bundle, task, tmp_path / "once", "all")
    once = indexed(tiny_bundle, vectors, tmp_path / "once", PAIRS)
    vectors = embedded(tiny_bundle, task, tmp_path / "apart", "all")
    held = held_of(once, open_bundle(tiny_bundle).variant("int8", 2))
    apart = [indexed(tiny_bundle, vectors, tmp_path / "apart", [pair], like=held)[0] for pair in PAIRS]
    assert [(one.dim, one.plan) for one in once] == list(PAIRS)
    for one, other in zip(once, apart, strict=True):
        np.testing.assert_array_equal(np.fromfile(one.hits), np.fromfile(other.hits))
        assert (one.quality, one.disk) == (other.quality, other.disk)
        assert one.search.parameters == other.search.parameters
        assert one.search.exact == other.search.exact
        last = by_numpy(vectors, task, one.search.rerank_dim or one.dim)
        assert one.search.exact["recall_at_10"] == pytest.approx(last, abs=1 / QUERIES)
        if one.plan == PLANS[0]:  # a scan of fp32 vectors is exact search
            assert one.quality.recall_at_10 == pytest.approx(by_numpy(vectors, task, one.dim), abs=1 / QUERIES)


@pytest.mark.parametrize("kind", ["annoy-dot", "ivf"])
def test_an_index_like_one_that_was_tuned_is_of_its_kind_and_says_the_lists_that_are_there(
    tiny_bundle, task, tmp_path, kind
):
    vectors = embedded(tiny_bundle, task, tmp_path, "all")
    parameters = {
        "annoy-dot": {"metric": "dot", "n_trees": 8, "search_k": 500},
        "ivf": {"lists": 2, "cluster_dim": 8, "probes": 1},  # tuning over these documents would find them at 16
    }[kind]
    held = (Held("int8", 2, 16, IndexPlan(kind), parameters, None, None, "int8"),)
    job = jobs.IndexJob(
        bundle=str(tiny_bundle), precision="int8", depth=2, task=str(tmp_path / "task.json"), embedded=vectors,
        wanted=((16, IndexPlan(kind)),), plans=(IndexPlan(kind),), target_recall=0.9, storage="fp32", like=held,
        work=str(tmp_path / "int8"),
    )  # fmt: skip
    (made,) = index(job).configurations
    assert made.index.sized.kind == kind_of(kind)
    assert made.search.index == kind
    if kind == "ivf":
        stored = json.loads((tmp_path / "int8" / "store.json").read_bytes())["lists"]
        assert made.search.parameters["cluster_dim"] == stored["cluster_dim"] == 8
        assert made.search.parameters["lists"] == stored["lists"]


@pytest.mark.parametrize("storage", ["fp32", "fp16", "int8", "int8-int4"])
def test_the_bytes_of_columns_are_known_before_they_are_written(storage, tmp_path):
    from mrl_edge.description import VectorsInfo

    info = VectorsInfo("", "", storage, DIMS, 100)
    writer = VectorWriter(info, tmp_path / "v", tmp_path / "l")
    writer.write(0, np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
    writer.close()
    store = VectorStore(info, tmp_path / "v", tmp_path / "l")
    assert [block_bytes(info, dim) for dim in DIMS] == [store.block_bytes(dim) for dim in DIMS]


@pytest.mark.parametrize("storage", ["fp32", "int8"])
def test_no_configuration_needs_less_than_the_least_that_is_said_of_it(tiny_bundle, task, tmp_path, storage):
    from mrl_edge.bench.configuration import Configuration
    from mrl_edge.bench.known import least_bytes

    from mrl_edge.description import VectorsInfo

    alone = ("annoy", "annoy-dot", "annoy-euclidean", "binary")
    plans = (*PLANS, *map(IndexPlan, alone), IndexPlan("annoy", 50, 32), IndexPlan("scan", tuned=True))
    pairs = tuple((dim, plan) for dim in DIMS for plan in plans if plan.applies_to(dim, 32))
    vectors = embedded(tiny_bundle, task, tmp_path, "all")
    made = index(
        jobs.IndexJob(
            bundle=str(tiny_bundle), precision="int8", depth=2, task=str(tmp_path / "task.json"), embedded=vectors,
            wanted=pairs, plans=plans, target_recall=0.9, storage=storage, like=(), work=str(tmp_path / "int8"),
        )
    ).configurations  # fmt: skip
    bundle = open_bundle(tiny_bundle)
    info = VectorsInfo("", "", storage, DIMS, len(task.documents))
    for one in made:
        configuration = Configuration("int8", 2, one.dim, 1, one.plan, None)
        least = least_bytes(bundle, bundle.variant("int8", 2), configuration, info)
        assert least <= one.disk.model_bytes + one.disk.index_bytes + one.disk.vectors_bytes
        if one.plan.kind.startswith("annoy-"):  # asked for by a name of its own, and opened as any forest
            assert (one.search.index, one.index.sized.kind) == (one.plan.kind, "annoy")
            assert f"annoy-{one.search.parameters['metric']}" == one.plan.kind
            assert one.search.recall_at_10_of_dim >= 0.85
