"""What cannot be served is one clear line before anything listens; a choice is served as it was picked."""

import json
import os
import shutil
import socket

import msgspec
import numpy as np
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from serve.services import DOCUMENTS, ask, post, serving
from ship.shipping import funnel

import mrl_edge
from mrl_edge.bundle import Bundle, open_bundle
from mrl_edge.choice import Configuration, read_choice
from mrl_edge.description import SizedIndex
from mrl_edge.errors import MrlEdgeError, UsageError
from mrl_edge.serve.choice import configure, configure_picked
from mrl_edge.serve.model import open_model
from mrl_edge.serve.picked import _built


def refused(*arguments):
    return the_one_error_line(run_here("serve", *arguments, "--port", "0"))


def test_a_port_that_is_taken(tiny):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = the_one_error_line(run_here("serve", tiny, "--port", port))
    assert f"port {port} of 127.0.0.1 is taken" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dim", "5"), "dimension 5 is not in"),
        (("--precision", "int4"), "has no int4 at depth 2"),
        (("--depth", "9"), "at depth 9"),
        (("--host", "no such host"), "--host no such host:"),
        (("--host", "192.0.2.1"), "cannot listen on port 0 of 192.0.2.1"),
        (("--token-file", os.devnull), "expected one token"),
        (("--token-file", "/nowhere/token"), "No such file"),
        (("--pick", os.devnull), "is not what mrl-edge pick --out writes"),
        (("--pick", "choice.json", "--dim", "4"), "leave --dim, --precision and --depth out"),
        (("--timeout", "0"), "'--timeout'"),
        (("--timeout", "inf"), "'--timeout'"),
        (("--host", "0.0.0.0"), "0.0.0.0 is reached from outside"),
        (("--host", "::"), ":: is reached from outside"),
        (("--allow-host", ":80"), "--allow-host :80: expected a name"),
    ],
)
def test_options_that_make_no_sense(tiny, options, said):
    assert said in refused(tiny, *options)


def test_a_token_of_two_lines(tiny, tmp_path):
    (tmp_path / "token").write_text("one\ntwo\n")
    assert "expected one token" in refused(tiny, "--token-file", tmp_path / "token")


def test_a_bundle_that_is_none_or_damaged_or_of_images(tiny, tmp_path):
    assert "is no bundle" in refused(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    vectors = copy / manifest["index"]["vectors"]["file"]
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"\xff")
    assert "sha256 differs" in refused(copy)
    manifest["encoder"]["image"] = {
        "height": 8, "width": 8, "resize": None, "shortest_edge": None, "resample": "nearest", "crop": False,
        "scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1],
    }  # fmt: skip
    (copy / "bundle.json").write_text(json.dumps(manifest))
    assert "embeds images: mrl-edge serve takes texts" in refused(copy)


def choice(bundle, **changes):
    """What `mrl-edge pick --json` prints of a scan at 10, with another field or two."""
    picked = {
        "precision": "fp32", "target": "any", "depth": 2, "dim": 10, "threads": 1, "runtime": [], "index": "scan",
        "parameters": {}, "vectors": "fp32", "shortlist": None, "rerank_dim": None,
    }  # fmt: skip
    opened = open_bundle(bundle)
    made_for = [v.target for v in opened.manifest.variants if v.precision == changes.get("precision")]
    changes = {"target": made_for[0], **changes} if made_for else changes
    return {
        "fits": True,
        "bundle": {"name": "tiny", "sha256": opened.identity()},
        "configuration": {**picked, **changes},
    }


@pytest.fixture
def chosen(tiny, tmp_path):
    """A function that writes a choice and returns its file."""

    def write(**changes):
        path = tmp_path / "choice.json"
        path.write_text(json.dumps(choice(tiny, **changes)))
        return path

    return write


def test_a_choice_is_served_and_a_fault_of_ours_ends_one_request_alone(tiny, chosen, tmp_path):
    path = chosen(dim=4, rerank_dim=24, shortlist=50, runtime=["no-arena", "pinned"], threads=2)
    copy = shutil.copytree(tiny, tmp_path / "copy")
    documents = copy / "index" / "documents.jsonl"
    with serving(copy, "--pick", path, "--allow-host", "Kitchen.example:8000") as running:
        health = ask(running, "/healthz", headers={"Host": "kitchen.example:80"})[2]
        assert (health["precision"], health["depth"], health["dim"]) == ("fp32", 2, 4)
        content = documents.read_bytes()
        os.truncate(documents, 0)  # the same file, which the service has open
        status, _, answer = ask(running, "/search", {"query": "aia"})
        assert (status, answer["error"]["code"]) == (500, "internal_error")
        documents.write_bytes(content)
        found = post(running, "/search", {"query": "aia", "k": 3})["hits"]
        (note, listening) = (json.loads(line) for line in running.lines[:2])
        assert "nothing is pinned here" in note["event"]
        assert listening["threads"] == 2
        assert ask(running, "/healthz", headers={"Host": "localhost"})[0] == 200
    faults = [json.loads(line) for line in running.lines if '"traceback"' in line]
    assert ["JSONDecodeError" in fault["traceback"] for fault in faults] == [True]
    from mrl_edge.search import Search

    wanted = Search(tiny, 4, rerank_dim=24, shortlist=50, exact=True)("aia", 3)
    assert [hit["id"] for hit in found] == [hit.id for hit in wanted]


def test_a_funnel_that_was_picked_is_served_as_numpy_ranks_it(tiny, chosen):
    bundle, queries = open_bundle(tiny), [text[::-1] for text in DOCUMENTS[:20]]
    steps = [{"shortlist": 40, "dim": 10}, {"shortlist": 12, "dim": 24}]
    picked = read_choice(chosen(dim=4, shortlist=40, rerank_dim=24, funnel=steps), bundle)
    model = open_model(bundle, configure_picked(bundle, picked, None), None)
    encoder = mrl_edge.load(tiny, None, "fp32", 2)
    stored, vectors = encoder.encode(DOCUMENTS, "document"), encoder.encode(queries, "query")
    found = [[hit.id for hit in model.search(query, 10)] for query in queries]
    assert found == [funnel(stored, vector, (4, 40), (10, 12), (24, 10)) for vector in vectors]
    assert found != [funnel(stored, vector, (4, 40), (24, 10)) for vector in vectors]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dim": 5}, "dimension 5 is not in"),
        ({"precision": "int4"}, "has no int4"),
        ({"runtime": ["turbo"]}, "unknown runtime setting 'turbo'"),
        ({"provider": "npu"}, "unknown provider 'npu'"),
        ({"index": "annoy"}, "annoy at dimension 10 was picked, and the bundle's index of it is scan"),
        ({"index": "annoy", "dim": 4}, "the bundle's index of it is none"),
        ({"vectors": "int8"}, "vectors in int8 were picked, and the index has fp32"),
        ({"precision": "int8"}, "int8 at depth 2 was picked, and the index was made with fp32 at depth 2"),
        ({"rerank_dim": 7, "shortlist": 10}, "dimension 7 is not in"),
        ({"rerank_dim": 4, "shortlist": 10}, "dimension 10 cannot be ranked again at 4"),
        ({"rerank_dim": 24}, "half of a rerank"),
        (
            {"rerank_dim": 24, "shortlist": 50, "funnel": [{"shortlist": 50, "dim": 24}, {"shortlist": 9, "dim": 10}]},
            "9 hits of dimension 24 cannot be ranked again at 10",
        ),
        ({"funnel": [{"shortlist": 50, "dim": 24}]}, "half of a rerank"),
        (
            {"rerank_dim": 24, "shortlist": 50, "funnel": [{"shortlist": 40, "dim": 24}]},
            "a funnel that does not rank the shortlist of 50 at 24 in the end",
        ),
        (
            {"rerank_dim": 24, "shortlist": 50, "funnel": [{"shortlist": 50, "dim": 10}]},
            "a funnel that does not rank the shortlist of 50 at 24 in the end",
        ),
        ({"index": "binary"}, "binary alone"),
        ({"threads": 0}, "0 threads"),
        ({"target": "cuda"}, "for cuda"),
    ],
)
def test_a_choice_that_this_bundle_cannot_serve(tiny, chosen, changes, said):
    bundle = open_bundle(tiny)
    with pytest.raises(MrlEdgeError, match=said):
        open_model(bundle, configure_picked(bundle, read_choice(chosen(**changes), bundle), None), None)


@pytest.fixture(scope="module")
def forest(tiny, tmp_path_factory):
    """A copy of the bundle with Annoy at 4 and 10, whose searches visit little."""
    copy = shutil.copytree(tiny, tmp_path_factory.mktemp("forest") / "bundle")
    corpus = copy.with_name("corpus.csv")
    corpus.write_text("text\n" + "\n".join(DOCUMENTS) + "\n")
    mrl_edge_here("index", copy, corpus, "--vectors", "fp32", "--precision", "fp32", "--dims", "4,10")
    return copy


def test_the_picked_effort_is_searched_with_and_another_forest_is_refused(forest, chosen):
    bundle = open_bundle(forest)
    (sized,) = (each for each in bundle.manifest.index.sizes if each.dim == 4)
    trees = sized.parameters["n_trees"]

    def opened(**parameters):
        path = chosen(index="annoy", dim=4, parameters=parameters, shortlist=120, rerank_dim=24)
        return open_model(bundle, configure_picked(bundle, read_choice(path, bundle), None), None)

    model = opened(n_trees=trees, search_k=10**6)
    vectors = mrl_edge.load(forest, None, "fp32").encode(DOCUMENTS, "document")
    query = mrl_edge.load(forest, None, "fp32").encode(["aia cm"], "query")[0]
    assert [hit.text for hit in model.search("aia cm", 3)] == [DOCUMENTS[i] for i in np.argsort(-vectors @ query)[:3]]
    assert model.retrieval.index._first.search_k == 10**6
    with pytest.raises(UsageError, match=f"n_trees {trees + 1} was picked, and the bundle's index has {trees}"):
        opened(n_trees=trees + 1, search_k=10)


def test_a_search_that_is_reranked_at_its_own_dimension_is_served(tiny, tmp_path):
    """As tuning picks what only estimates its cosines: signs, and graphs of int8."""
    copy = shutil.copytree(tiny, tmp_path / "bundle")
    corpus = tmp_path / "corpus.csv"
    corpus.write_text("text\n" + "\n".join(DOCUMENTS) + "\n")
    tune = ("--tune", "--kinds", "binary", "--vectors", "fp32", "--precision", "fp32", "--dims", "10")
    mrl_edge_here("index", copy, corpus, *tune)
    path = tmp_path / "choice.json"
    path.write_text(json.dumps(choice(copy, index="binary", shortlist=len(DOCUMENTS), rerank_dim=10)))
    bundle = open_bundle(copy)
    model = open_model(bundle, configure_picked(bundle, read_choice(path, bundle), None), None)
    encoder = mrl_edge.load(copy, 10, "fp32")
    cosines = encoder.encode(DOCUMENTS, "document") @ encoder.encode(["aia cm"], "query")[0]
    assert [hit.text for hit in model.search("aia cm", 3)] == [DOCUMENTS[i] for i in np.argsort(-cosines)[:3]]


def test_a_choice_of_the_processors_is_served_on_a_gpu_as_suits_it(tiny, chosen):
    opened = open_bundle(tiny)
    one = opened.variant("int8", None)
    made = [msgspec.structs.replace(one, target=target) for target in ("avx2,avx512,avx512-vnni,arm64", "cuda")]
    bundle = Bundle(opened.folder, msgspec.structs.replace(opened.manifest, variants=tuple(made)))
    levers = ("no-arena", "mapped-prepack")
    picked = Configuration("int8", made[0].target, one.depth, 10, runtime=levers)
    there = configure_picked(bundle, picked, None, "cuda")
    assert (there.variant.target, there.provider, there.levers) == ("cuda", "cuda", ("no-arena",))
    assert "mapped-prepack was picked, which is of the processor's kernels: not on cuda" in there.notes
    for provider in (None, "cpu"):
        here = configure_picked(bundle, picked, None, provider)
        assert (here.variant, here.provider, here.levers, here.notes) == (made[0], "cpu", levers, ())
    back = configure_picked(bundle, msgspec.structs.replace(picked, target="cuda", provider="cuda"), None, "cpu")
    assert (back.variant, back.provider) == (made[0], "cpu")


def test_lists_that_were_found_at_another_dimension_are_served_as_they_are(tiny, chosen):
    bundle = open_bundle(tiny)
    info = bundle.manifest.index
    lists = SizedIndex(10, "ivf", "f", {"lists": 4, "probes": 1, "cluster_dim": 24}, 1.0, 1.0, 1.0, 1)
    made = msgspec.structs.replace(info, sizes=(lists,))

    def built(**parameters):
        picked = read_choice(chosen(index="ivf", parameters={"probes": 2, **parameters}), bundle)
        return _built(made, picked, "ivf", "make it again")

    assert built(lists=4, cluster_dim=10) == lists
    with pytest.raises(UsageError, match="lists 5 was picked, and the bundle's index has 4: make it again"):
        built(lists=5, cluster_dim=10)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"fits": False}, "says that nothing fits"),
        ({"fits": True}, "names no bundle"),
        ({"fits": True, "bundle": {"name": "b", "sha256": "0" * 64}, "configuration": {}}, "mrl-edge pick --out"),
        ([], "is not what mrl-edge pick --out writes"),
        ({}, "does not say whether anything fits"),
        ({"boards": {"pi": {}, "orin": {}}}, "a choice for each of pi, orin"),
    ],
)
def test_a_file_that_is_no_choice(tiny, tmp_path, content, said):
    path = tmp_path / "choice.json"
    path.write_text(json.dumps(content))
    assert said in refused(tiny, "--pick", path)


def test_a_file_that_nests_without_end(tiny, tmp_path):
    (tmp_path / "choice.json").write_text('{"fits": true, "why": ' + "[" * 100_000)
    assert "is not what mrl-edge pick --out writes" in refused(tiny, "--pick", tmp_path / "choice.json")


def test_a_choice_for_another_bundle(tiny, tmp_path):
    other = choice(tiny)
    other["bundle"]["sha256"] = "0" * 64
    (tmp_path / "choice.json").write_text(json.dumps(other))
    assert "is a choice for another bundle, tiny" in refused(tiny, "--pick", tmp_path / "choice.json")


def test_what_is_served_by_default_is_what_the_index_was_made_with(tiny):
    bundle = open_bundle(tiny)
    wanted = configure(bundle, None, None, None, None)
    assert (wanted.variant.precision, wanted.variant.depth, wanted.dim, wanted.threads) == ("fp32", 2, 24, 1)
    assert configure(bundle, 10, None, 1, None).variant == bundle.leanest(1)
    model = open_model(bundle, configure(bundle, 4, None, None, None), None)
    assert model.retrieval is None
    assert model.no_search == "there is no index of dimension 4: serve --dim 10 or 24"
