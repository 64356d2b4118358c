"""A tuned index in a bundle: how it answers, what stands beside it, and manifests that say what cannot be."""

import json
import shutil

import numpy as np
import pytest
from conftest import mrl_edge_here

import mrl_edge as runtime
from mrl_edge.bundle import open_bundle
from mrl_edge.errors import BundleError
from mrl_edge.index.corpus import open_index, open_vectors


@pytest.mark.parametrize("dim", [16, 64, 384])
def test_a_tuned_index_keeps_its_recall_on_queries_it_never_saw(tuned, indexed, dev, dim):
    """Against exact search over the float32 vectors that an untuned index of the same corpus stores."""
    opened = open_bundle(tuned)
    queries = runtime.load(tuned, None, "int8").encode(dev["query"][500:700], "query")
    wanted = np.argsort(-(queries @ open_vectors(open_bundle(indexed)).T), axis=1, kind="stable")[:, :10]
    index = open_index(opened, dim)
    cut = queries[:, : index.dim] / np.linalg.norm(queries[:, : index.dim], axis=1, keepdims=True)
    shares = [
        len(set(index.search(q, 10)[0].tolist()) & set(w.tolist())) / 10 for q, w in zip(cut, wanted, strict=True)
    ]
    sized = next(size for size in opened.manifest.index.sizes if size.dim == dim)
    assert sized.recall_at_10_full >= 0.93  # tuned to 0.95 on 200 other queries
    assert np.mean(shares) >= 0.9


def test_vectors_come_back_in_the_order_of_the_documents(tuned, indexed):
    ours, theirs = open_vectors(open_bundle(tuned)), open_vectors(open_bundle(indexed))
    assert (np.sum(ours * theirs, axis=1) > 0.999).all()


def test_everything_that_was_tried_is_written_and_listed(tuned):
    opened = open_bundle(tuned)
    tuning = json.loads(opened.checked(opened.manifest.index.tuning).read_text())
    assert {trial["dim"] for trial in tuning["trials"]} == {16, 64, 384}
    assert {trial["kind"] for trial in tuning["trials"]} == {"ivf", "binary", "scan"}
    assert opened.manifest.index.scored_on == "other queries"
    assert [choice["dim"] for choice in tuning["chosen"]] == [16, 64, 384]
    assert {f"index/{path.name}" for path in (tuned / "index").iterdir()} == {
        name for name in opened.manifest.files if name.startswith("index/")
    }


def test_search_opens_what_the_manifest_says(tuned):
    query = "the capital and largest city of France"
    exact = json.loads(mrl_edge_here("search", tuned, query, "--dim", "384", "-k", "3", "--exact", "--json"))
    for dim in ("64", "384"):
        hits = json.loads(mrl_edge_here("search", tuned, query, "--dim", dim, "-k", "3", "--json"))
        assert [hit["text"] for hit in hits] == [hit["text"] for hit in exact]
    assert mrl_edge_here("search", tuned, query, "--dim", "all", "-k", "2").splitlines()[1].split() == [
        "16",
        "64",
        "384",
    ]
    reranked = mrl_edge_here(
        "search", tuned, query, "--dim", "16", "--rerank-dim", "384", "--shortlist", "4000", "--json"
    )
    assert [hit["text"] for hit in json.loads(reranked)][:3] == [hit["text"] for hit in exact]


def edited(tuned, folder, change):
    """The tuned bundle with another manifest."""
    copy = folder / "bundle"
    shutil.copytree(tuned, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    change(manifest["index"])
    (copy / "bundle.json").write_text(json.dumps(manifest))
    return copy


def as_ivf(index, **parameters):
    found = {"lists": 4, "probes": 1, "cluster_dim": 64, **parameters}
    index["sizes"][1].update(kind="ivf", file="index/order.i32", parameters=found)


def as_funnel(index, *steps):
    funnel = [{"shortlist": shortlist, "dim": dim} for shortlist, dim in steps]
    index["sizes"][1].update(kind="scan", file=None, shortlist=steps[0][0], rerank_dim=steps[-1][1], funnel=funnel)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["vectors"].update(storage="int3"),
        lambda index: index["vectors"].update(storage="fp32"),
        lambda index: index["vectors"].update(n_rows=7),
        lambda index: index.update(n_items=7),
        lambda index: index.update(n_items=7) or index["vectors"].update(n_rows=7),
        lambda index: index["vectors"].update(n_rows=-1) or index.update(n_items=-1),
        lambda index: index["vectors"]["dims"].reverse(),
        lambda index: index["vectors"].update(order="index/lengths.f32"),
        lambda index: index["sizes"][1].update(kind="lsh"),
        lambda index: index["sizes"][1].update(kind="annoy", file=None, parameters={"search_k": 9}),
        lambda index: index["sizes"][1].update(kind="annoy", file="index/order.i32", parameters={}),
        lambda index: index["sizes"][1].update(
            kind="annoy", file="index/order.i32", parameters={"search_k": 9, "metric": "foo"}
        ),
        lambda index: index["sizes"][1].update(kind="binary", file="index/order.i32", parameters={}),
        lambda index: as_ivf(index, lists=2**40),
        lambda index: as_ivf(index, probes=0),
        lambda index: as_ivf(index, cluster_dim="64"),
        lambda index: index["sizes"][1].update(rerank_dim=32, shortlist=0),
        lambda index: index["sizes"][1].update(rerank_dim=63, shortlist=9),
        lambda index: as_funnel(index, (9, 384), (9, 64)),
        lambda index: as_funnel(index, (9, 64), (0, 384)),
        lambda index: as_funnel(index, (9, 64), (9, 384)) or index["sizes"][1].update(shortlist=8),
        lambda index: as_funnel(index, (9, 64)) or index["sizes"][1].update(rerank_dim=384),
        lambda index: as_funnel(index, (9, 64)) or index["sizes"][1].update(shortlist=None, rerank_dim=None),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_refused(tuned, tmp_path, change):
    with pytest.raises(BundleError):
        open_index(open_bundle(edited(tuned, tmp_path, change)), 64)
