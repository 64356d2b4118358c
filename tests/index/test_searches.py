"""Every kind of search over one store, beside exact search."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from conftest import needs_usearch
from index.cosines import ROWS, cut, exact, recall, scores

from mrl_edge.description import SizedIndex, Step, VectorsInfo
from mrl_edge.errors import UsageError
from mrl_edge.index.adaptive import AdaptiveRetrieval, Funnel
from mrl_edge.index.annoy import METRICS, AnnoyIndex
from mrl_edge.index.best import BestRows
from mrl_edge.index.binary import PIECE, BinaryIndex, build_binary
from mrl_edge.index.forest import build_annoy
from mrl_edge.index.hnsw import HnswIndex, build_hnsw
from mrl_edge.index.ivf import IvfIndex, cluster, find_centroids, write_lists
from mrl_edge.index.kinds import OPENERS, ItemIndex, open_first
from mrl_edge.index.reference import exact_in_pieces
from mrl_edge.index.scan import ScanIndex
from mrl_edge.index.vectors import COMPARED, StoredPrefix, VectorStore, VectorWriter, reorder
from mrl_edge.progress import silent


def test_exact_search_in_pieces_is_exact_search(vectors, queries):
    found = exact_in_pieces(queries, ((first, vectors[first : first + 170]) for first in range(0, ROWS, 170)), 10)
    np.testing.assert_array_equal(found, np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :10])


def test_exact_search_breaks_ties_by_id():
    same = np.ones((9, 4), dtype=np.float32) / 2
    assert exact_in_pieces(same[:1], [(0, same[:5]), (5, same[5:])], 3).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("levels", [1, 5, 10_000])
@pytest.mark.parametrize("k", [1, 7, 400, 5000])
def test_a_running_best_is_the_first_of_a_stable_sort(k, levels):
    """Whatever the pieces, ties and k, more than there are rows among them."""
    random = np.random.default_rng(k)
    scores = random.integers(0, levels, 3000).astype(np.float32) - levels / 2
    best, first = BestRows(k), 0
    for piece in np.split(scores, np.sort(random.integers(0, 3000, 20))):  # some of them empty
        best.add(first, piece)
        first += len(piece)
    rows, found = best.ranked()
    assert rows.tolist() == np.argsort(-scores, kind="stable")[:k].tolist()
    np.testing.assert_array_equal(found, scores[rows])


def test_a_running_best_holds_nothing_of_pieces_without_one_of_the_best():
    best, far = BestRows(10), np.zeros(100, dtype=np.float32)
    best.add(0, np.arange(100, 0, -1, dtype=np.float32))
    best.add(100, far)
    tracemalloc.start()
    for first in range(200, 500_000, 100):
        best.add(first, far)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 10_000
    assert best.ranked()[0].tolist() == list(range(10))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """More rows than any search compares at a time, a third of them equal and some zero, their store and folder."""
    folder = tmp_path_factory.mktemp("many")
    vectors = np.random.default_rng(5).standard_normal((3 * PIECE + 5, 16), dtype=np.float32)
    vectors[::3] = vectors[0]
    vectors[1::1000] = 0
    info = VectorsInfo("v", "l", "int8-int6", (8, 16), len(vectors))
    writer = VectorWriter(info, folder / "v", folder / "l")
    writer.write(0, vectors)
    writer.close()
    return VectorStore(info, folder / "v", folder / "l"), folder, vectors


@pytest.mark.parametrize("k", [10, 9000, 3 * PIECE + 6])
def test_searches_in_pieces_rank_as_one_sort_does(many, k):
    store, folder, vectors = many
    assert store.n > 2 * max(COMPARED, PIECE)
    build_binary(store, folder / "signs")
    query = vectors[0] / np.linalg.norm(vectors[0])
    lines = scores(store, query)
    ids, cosines = ScanIndex(store, 16).search(query, k)
    assert ids.tolist() == np.argsort(-lines, kind="stable")[:k].tolist()
    np.testing.assert_array_equal(cosines, lines[ids])
    signs = np.concatenate([piece for _, piece in store.pieces(16)]) > 0
    ids, _ = BinaryIndex(folder / "signs", store.n, 16).search(query, k)
    assert ids.tolist() == np.argsort((signs != (query > 0)).sum(axis=1), kind="stable")[:k].tolist()


def test_lists_longer_than_a_piece_are_cut_and_empty_ones_skipped(many, monkeypatch):
    store, folder, vectors = many
    nearest = np.repeat([0, 2, 3], [7, store.n - 10, 3])  # the rows stand in the order of their lists
    write_lists(folder / "ivf", nearest, np.eye(5, 8, dtype=np.float32))
    query, compare, pieces = vectors[0] / np.linalg.norm(vectors[0]), store.compare, []

    def counted(read, part):
        pieces.append(compare(read, part))
        return pieces[-1]

    monkeypatch.setattr(store, "compare", counted)
    ids, cosines = IvfIndex(store, folder / "ivf", 16, 5, 5).search(query, store.n)
    monkeypatch.undo()
    assert max(map(len, pieces)) == COMPARED
    assert sorted(ids.tolist()) == list(range(store.n))
    np.testing.assert_allclose(cosines, scores(store, query)[ids], atol=1e-6)


@pytest.mark.parametrize("dim", [8, 40, 96])
def test_binary_orders_by_the_number_of_different_signs(stores, queries, vectors, tmp_path, dim):
    build_binary(stores["fp32"], tmp_path / "signs")
    index = BinaryIndex(tmp_path / "signs", ROWS, dim)
    for query in cut(queries, dim).astype(np.float32)[:10]:
        differing = ((vectors[:, :dim] > 0) != (query > 0)).sum(axis=1)
        ids, cosines = index.search(query, 30)
        assert ids.tolist() == np.argsort(differing, kind="stable")[:30].tolist()
        np.testing.assert_allclose(cosines, np.cos(np.pi * differing[ids] / dim), atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_annoy_with_every_metric_finds_near_vectors(stores, queries, vectors, tmp_path, metric):
    build_annoy(StoredPrefix(stores["fp32"], 96), 20, tmp_path / "a", metric)
    parameters = {"n_trees": 20, "search_k": 20_000, "metric": metric}
    sized = SizedIndex(96, "annoy", "a", parameters, None, 1.0, 1.0, 1)  # as a manifest says it
    index = open_first(sized, stores["fp32"], tmp_path / "a")
    cosines = exact(queries, vectors, 96)
    first = index if metric != "hamming" else AdaptiveRetrieval(index, stores["fp32"], 300, 96)
    assert recall(first, queries, cosines) >= 0.9
    ids, found = index.search(queries[0], 5)
    wanted = cosines[0][ids]
    if metric == "hamming":
        wanted = np.cos(np.pi * ((vectors[ids] > 0) != (queries[0] > 0)).mean(axis=1))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@needs_usearch
def test_hnsw_finds_what_exact_search_finds(stores, queries, vectors, tmp_path):
    build_hnsw(stores["fp32"], 40, 16, tmp_path / "h", "building", silent)
    index = HnswIndex(tmp_path / "h", 40, 128)
    assert recall(AdaptiveRetrieval(index, stores["fp32"], 100, 40), queries, exact(queries, vectors, 40)) >= 0.95
    ids, found = index.search(cut(queries, 40)[0].astype(np.float32), 5)
    np.testing.assert_allclose(found, exact(queries, vectors, 40)[0][ids], atol=0.02)


def test_hnsw_without_usearch_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "usearch", None)
    with pytest.raises(UsageError, match=r"mrl-edge\[hnsw\]"):
        HnswIndex(tmp_path / "h", 8, 10)


@pytest.fixture(scope="module")
def lists(stores, tmp_path_factory):
    """A store in the order of 32 lists found at 24 dimensions, its order, and the lists' file."""
    folder = tmp_path_factory.mktemp("lists")
    store = stores["int8"]
    centroids, nearest = cluster(store, 24, 32, silent)
    order = np.argsort(nearest, kind="stable")
    reorder(store, order, VectorWriter(store.info, folder / "v", folder / "l"))
    write_lists(folder / "ivf", nearest, centroids)
    return VectorStore(store.info, folder / "v", folder / "l"), order, folder / "ivf", centroids, nearest


def test_every_row_is_in_the_list_of_its_nearest_centroid(lists, stores):
    _, _, _, centroids, nearest = lists
    cosines = exact(np.concatenate([p for _, p in stores["int8"].pieces(24)]), centroids, 24)
    chosen = np.take_along_axis(cosines, nearest[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(chosen, cosines.max(axis=1), atol=1e-6)


def test_centroids_are_as_good_as_scikit_learns(vectors):
    cluster_module = pytest.importorskip("sklearn.cluster")
    ours = (vectors @ find_centroids(vectors, 32, "", silent).T).max(axis=1).mean()
    means = cluster_module.KMeans(32, n_init=1, random_state=0).fit(vectors).cluster_centers_
    theirs = (vectors @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).max(axis=1).mean()
    assert ours >= 0.97 * theirs


@pytest.mark.parametrize("scan_dim", [8, 24, 96])
def test_ivf_that_probes_everything_is_a_scan(lists, stores, queries, scan_dim):
    store, order, path, _, _ = lists
    index = ItemIndex(IvfIndex(store, path, scan_dim, 32, 32), order)
    scan = ScanIndex(stores["int8"], scan_dim)
    for number in range(10):
        ids, cosines = index.search(cut(queries, index.dim)[number].astype(np.float32), 10)
        _, wanted = scan.search(cut(queries, scan_dim)[number].astype(np.float32), 10)
        np.testing.assert_allclose(cosines, wanted, atol=2e-6)
        np.testing.assert_allclose(
            scores(stores["int8"], cut(queries, scan_dim)[number].astype(np.float32))[ids], wanted, atol=2e-6
        )


def test_ivf_compares_the_rows_of_the_nearest_lists_alone(lists, queries):
    store, order, path, centroids, nearest = lists
    for number in range(10):
        query = queries[number]
        near = np.argsort(-(centroids @ query[:24]))[:3]
        ids, _ = ItemIndex(IvfIndex(store, path, 96, 3, 32), order).search(query, 20)
        assert set(nearest[ids]) <= set(near)


def test_ivf_gives_as_many_as_are_asked_for(lists, queries):
    store, _, path, _, _ = lists
    for k in (1, 500, ROWS):
        ids, _ = IvfIndex(store, path, 96, 1, 32).search(queries[0], k)
        assert len(set(ids.tolist())) == k


FIRST = {
    "scan": lambda store, lists, folder: ScanIndex(store, 24),
    "ivf": lambda store, lists, folder: IvfIndex(store, lists, 24, 24, 32),
    "binary": lambda store, lists, folder: BinaryIndex(folder / "made", ROWS, 96),
    "annoy": lambda store, lists, folder: AnnoyIndex(folder / "made", 24, 8000),
    "hnsw": lambda store, lists, folder: HnswIndex(folder / "made", 24, 256),
}
BUILD = {
    "binary": lambda store, path: build_binary(store, path),
    "annoy": lambda store, path: build_annoy(StoredPrefix(store, 24), 20, path),
    "hnsw": lambda store, path: build_hnsw(store, 24, 16, path, "building", silent),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=needs_usearch if kind == "hnsw" else ()) for kind in OPENERS]
)
def test_a_funnel_works_over_every_kind(lists, queries, vectors, tmp_path, kind):
    store, order, path, _, _ = lists
    if kind in BUILD:
        BUILD[kind](store, tmp_path / "made")
    funnel = Funnel(FIRST[kind](store, path, tmp_path), store, [Step(800, 40), Step(200, 96)])
    assert recall(ItemIndex(funnel, order), queries, exact(queries, vectors, 96)) >= 0.9


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=needs_usearch if kind == "hnsw" else ()) for kind in OPENERS]
)
@pytest.mark.parametrize("k", [ROWS + 1, 10**12])
def test_more_than_there_is_gives_all_there_is(lists, queries, tmp_path, kind, k):
    store, _, path, _, _ = lists
    if kind in BUILD:
        BUILD[kind](store, tmp_path / "made")
    index = FIRST[kind](store, path, tmp_path)
    ids, cosines = index.search(cut(queries, index.dim)[0].astype(np.float32), k)
    assert len(set(ids.tolist())) == len(ids) == len(cosines)
    assert len(ids) == ROWS if kind != "hnsw" else len(ids) > 0.9 * ROWS  # what its links do not lead to is not met
    assert (np.diff(cosines) <= 1e-6).all()


@needs_usearch
def test_an_encoder_can_be_opened_after_a_graph():
    script = "from mrl_edge.index.hnsw import require_usearch; require_usearch(); import mrl_edge.encoder"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
