"""At which dimension inverted lists are found."""

import tracemalloc

import numpy as np
import pytest

from mrl_edge.bundle import open_bundle
from mrl_edge.description import VectorsInfo
from mrl_edge.errors import UsageError
from mrl_edge.index.adaptive import AdaptiveRetrieval
from mrl_edge.index.clustering import products_by_dim, tried_dims
from mrl_edge.index.corpus import open_adaptive
from mrl_edge.index.ivf import cluster
from mrl_edge.index.kinds import open_first
from mrl_edge.index.tuning import Target, tune
from mrl_edge.index.vectors import VectorStore, VectorWriter
from mrl_edge.nesting import prefix
from mrl_edge.progress import silent


def random_store(folder, told):
    """4,000 rows around 100 centres that differ in the columns that are `told` alone, and queries beside some rows."""
    random = np.random.default_rng(2)
    centres = random.standard_normal((100, 64)) * told
    made = centres.repeat(40, axis=0) + 0.3 * random.standard_normal((4000, 64))
    queries = made[::20] + 0.1 * random.standard_normal((200, 64))
    info = VectorsInfo("v", "l", "int8", (8, 16, 32, 64), 4000)
    writer = VectorWriter(info, folder / "v", folder / "l")
    writer.write(0, (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32))
    writer.close()
    found = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    return VectorStore(info, folder / "v", folder / "l"), found


@pytest.mark.parametrize(("told", "best"), [(slice(0, 16), 16), (slice(0, 32), 16), (slice(32, 64), 64)])
def test_lists_are_found_at_the_dimension_that_tells_rows_apart_and_costs_least(tmp_path, told, best):
    columns = np.zeros(64)
    columns[told] = 1
    store, queries = random_store(tmp_path, columns)
    products = products_by_dim(store, queries, 0.02, (64,), silent)
    assert set(products) == {16, 32, 64}
    assert next(iter(products)) == best == min(products, key=products.get)
    for dim, told in products.items():
        rows = (told - 80 * dim) / 64  # of the 80 lists' 4,000
        assert 10 <= rows <= 4000


@pytest.mark.parametrize("find", [
    lambda store, queries: products_by_dim(store, queries, 16 / store.n, (64,), silent),
    lambda store, queries: cluster(store, 64, 16, silent),
], ids=["choosing", "clustering"])  # fmt: skip
def test_lists_are_found_on_a_sample_and_no_more_of_the_store_is_in_memory(tmp_path, find):
    n, random = 160_000, np.random.default_rng(4)
    info = VectorsInfo("v", "l", "int8", (16, 64), n)
    writer = VectorWriter(info, tmp_path / "v", tmp_path / "l")
    for first in range(0, n, 20_000):
        writer.write(first, random.standard_normal((20_000, 64), dtype=np.float32))
    writer.close()
    store = VectorStore(info, tmp_path / "v", tmp_path / "l")
    queries = next(store.pieces(64))[1][:20]
    tracemalloc.start()
    find(store, queries)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 0.6 * n * 64 * 4


def test_dimensions_that_lists_are_tried_at():
    assert tried_dims((8, 16, 24, 32, 64, 128)) == [16, 32, 64]
    assert tried_dims((4, 10, 24)) == [24]
    assert tried_dims((8, 24, 100, 384)) == [100]


def test_a_rerank_below_the_lists_dimension_is_refused(ground, tuned, tmp_path):
    lists, _ = tune(ground, (8,), Target(0.5, None, ("ivf",)), tmp_path, silent)
    first = open_first(lists[0], ground.store, tmp_path / "lists.ivf")
    with pytest.raises(UsageError, match=f"a query of 8 dimensions cannot be searched at {ground.lists.cluster_dim}"):
        AdaptiveRetrieval(first, ground.store, 50, 8).search(prefix(ground.queries, 8)[0], 10)
    sizes = open_bundle(tuned).manifest.index.sizes
    if sizes[0].parameters.get("cluster_dim") == 64:
        with pytest.raises(UsageError, match="--rerank-dim 32 must be 64 at least"):
            open_adaptive(open_bundle(tuned), 16, 32, 50)
