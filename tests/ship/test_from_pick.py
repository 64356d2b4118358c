"""From results to a folder: what `mrl-edge pick` wrote is what `mrl-edge ship` ships."""

import json

import msgspec
from conftest import mrl_edge_here
from mrl_edge.bench.candidates import candidates
from mrl_edge.bench.results import read_results, write_results
from rows import measurement, results

from mrl_edge.bundle import open_bundle
from mrl_edge.choice import read_choice
from mrl_edge.description import Step


def test_a_pick_is_shipped_as_it_was_picked(tiny, tmp_path):
    bundle = open_bundle(tiny / "bundle")
    variant = bundle.variant("int8", None)
    row = msgspec.structs.replace(measurement("int8", 4, search_ms=0.2), target=variant.target, depth=variant.depth)
    steps = Step(36, 10), Step(34, 24)
    found = {"index": "scan", "parameters": {}, "n_items": bundle.manifest.index.n_items}
    search = msgspec.structs.replace(row.search, **found, shortlist=36, rerank_dim=24, funnel=steps)
    content = results(msgspec.structs.replace(row, search=search), name=bundle.manifest.name)
    reference = msgspec.structs.replace(content.bundle, sha256=bundle.identity())
    write_results(tmp_path / "results.json", msgspec.structs.replace(content, bundle=reference))
    mrl_edge_here("pick", tmp_path / "results.json", "--max-p50-ms", "5", "--out", tmp_path / "choice.json")
    chosen = read_choice(tmp_path / "choice.json", bundle)
    assert (chosen.precision, chosen.dim, chosen.index, chosen.vectors) == ("int8", 4, "scan", "fp32")
    assert chosen.steps == steps
    (named,) = candidates(read_results(tmp_path / "results.json"))
    assert "36 hits reranked at 10, 34 of them at 24" in named.name
    mrl_edge_here("ship", bundle.folder, "--pick", tmp_path / "choice.json", "--out", tmp_path / "app", "--no-verify")
    said = json.loads((tmp_path / "app" / "app.json").read_text())
    (level,) = said["levels"]
    assert (said["precision"], level["dim"]) == ("int8", 24)
    index = level["index"]
    assert (index["kind"], index["dim"]) == ("scan", 4)
    assert index["steps"] == [{"shortlist": 36, "dim": 10}, {"shortlist": 34, "dim": 24}]
