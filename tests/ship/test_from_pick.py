"""From results to a folder: what `mrl-edge pick` wrote is what `mrl-edge ship` ships."""

import json

import msgspec
from conftest import mrl_edge_here
from mrl_edge.bench.results import write_results
from rows import measurement, results

from mrl_edge.bundle import open_bundle
from mrl_edge.choice import read_choice


def test_a_pick_is_shipped_as_it_was_picked(tiny, tmp_path):
    bundle = open_bundle(tiny / "bundle")
    variant = bundle.variant("int8", None)
    row = msgspec.structs.replace(measurement("int8", 10, search_ms=0.2), target=variant.target, depth=variant.depth)
    search = msgspec.structs.replace(row.search, index="scan", parameters={}, n_items=bundle.manifest.index.n_items)
    content = results(msgspec.structs.replace(row, search=search), name=bundle.manifest.name)
    reference = msgspec.structs.replace(content.bundle, sha256=bundle.identity())
    write_results(tmp_path / "results.json", msgspec.structs.replace(content, bundle=reference))
    mrl_edge_here("pick", tmp_path / "results.json", "--max-p50-ms", "5", "--out", tmp_path / "choice.json")
    chosen = read_choice(tmp_path / "choice.json", bundle)
    assert (chosen.precision, chosen.dim, chosen.index, chosen.vectors) == ("int8", 10, "scan", "fp32")
    mrl_edge_here("ship", bundle.folder, "--pick", tmp_path / "choice.json", "--out", tmp_path / "app", "--no-verify")
    said = json.loads((tmp_path / "app" / "app.json").read_text())
    (level,) = said["levels"]
    assert (said["precision"], level["dim"], level["index"]["kind"]) == ("int8", 10, "scan")
