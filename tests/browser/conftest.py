"""Pages of `mrl-edge report`, and what Chromium shows of them."""

import json
import os

import msgspec
import pytest
from browser.pages import BUDGETS, EVIL, GROWN, OPENING, swept
from browser.scripts import run, tool
from conftest import mrl_edge_here
from mrl_edge.bench.results import write_results
from rows import measurement, results
from sizes import SIZES, at


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Pages of one file, of several with all that there is, and of one with hostile names."""
    folder = tmp_path_factory.mktemp("report")
    methods = {"mrl": 0.3, "pca": 0.2}
    quality = {name: {str(d): {"recall_at_10": at + d / 1000} for d in (8, 64, 384)} for name, at in methods.items()}
    one, other = swept(1, training={"quality": quality}), swept(2)
    row = {"peer": "another", "p50_ms": 9.0, "time_ratio": 9.0, "peak_rss_mb": 300.0, "rss_ratio": 3.0}
    rows = [{**row, "cosine_mean": 1.0, "cosine_min": 0.99}, {"peer": "a third", "failed": "not installed"}]
    (folder / "peers.json").write_text(json.dumps({"rows": rows}))
    write_results(folder / "results.json", one)
    few = tuple(row for row in other.measurements if row.depth == 3 and row.precision != "fp32")  # no full model
    board = msgspec.structs.replace(other.device, name="a board", cpu="another cpu")
    write_results(folder / "board.json", msgspec.structs.replace(other, device=board, measurements=few))
    other_data = msgspec.structs.replace(other, device=board, measurements=few, settings={"data_sha256": "another"})
    write_results(folder / "elsewhere.json", other_data)
    mrl_edge_here("report", folder / "results.json", folder / "elsewhere.json", "--out", folder / "apart.html")
    write_results(folder / "single.json", results(one.measurements[150]))
    mrl_edge_here("report", folder / "single.json", "--out", folder / "single.html")
    evil = msgspec.structs.replace(measurement(EVIL, 64, ndcg=0.9), reason=EVIL)
    hostile = results(evil, *one.measurements[:3], name=EVIL)
    write_results(
        folder / "hostile.json",
        msgspec.structs.replace(hostile, device=msgspec.structs.replace(hostile.device, cpu=EVIL)),
    )
    sizes = [folder / f"{n}.json" for n in SIZES]
    for path, n in zip(sizes, SIZES, strict=True):
        write_results(path, at(n))
    mrl_edge_here("report", *sizes, *GROWN, "--out", folder / "grown.html")
    mrl_edge_here("report", folder / "results.json", "--out", folder / "page.html")
    mrl_edge_here("report", folder / "results.json", *OPENING, "--out", folder / "opened.html")
    mrl_edge_here("report", folder / "hostile.json", "--out", folder / "hostile.html")
    mrl_edge_here(
        "report", folder / "results.json", folder / "board.json", "--peers", folder / "peers.json",
        "--out", folder / "several.html",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def seen(folder):
    """What Chromium shows."""
    names = ("page", "several", "hostile", "opened", "apart", "single", "grown")
    task = {name: str(folder / f"{name}.html") for name in names} | {"budgets": BUDGETS}
    return run("report.mjs", tool(os.environ.get("CHROMIUM", "chromium")), task=task)
