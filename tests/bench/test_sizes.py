"""`mrl-edge bench` of corpora of several sizes: measured in turn, the parameters of their indexes held."""

import json
import re
import shutil

import msgspec
import pytest
from conftest import run_here, the_one_error_line
from mrl_edge.bench.held import Like, alike, held_in, refuse_others, resized
from mrl_edge.bench.reproduce import command_of
from mrl_edge.bench.results import IndexPlan, read_results, write_results
from rows import measurement, results

from mrl_edge.description import Step
from mrl_edge.errors import ResultsError
from mrl_edge.index.candidates import list_count

SIZES, KINDS = (150, 600), ("annoy", "ivf", "binary")


@pytest.fixture(scope="module")
def sized(tiny_bundle, dev, tmp_path_factory):
    """A function that measures so many documents, and the folder that it does so in."""
    folder = tmp_path_factory.mktemp("sizes")
    pairs = [{"q": q, "p": p} for q, p in zip(dev["query"][:900], dev["positive"][:900], strict=True)]
    (folder / "task.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))

    def bench(documents, *options):
        return run_here(
            "bench", tiny_bundle, "--data", folder / "task.jsonl", "--query", "q", "--positive", "p",
            "--max-queries", "40", "--max-documents", documents, "--precision", "int8", "--dims", "32",
            "--index", ",".join(KINDS), "--tokens", "0", "--max-seconds", "0.1", "--repeats", "1",
            "--recall", "0.8", *options,
        )  # fmt: skip

    return bench, folder


@pytest.fixture(scope="module")
def two(sized):
    bench, folder = sized
    done = bench("600,150", "--out", folder / "r.json")
    assert done.returncode == 0, done.stderr
    return done, {size: read_results(folder / f"r-{size}.json") for size in SIZES}


def test_sizes_take_turns_each_into_a_file_of_its_own(two):
    done, files = two
    assert re.findall(r"measuring \d/6: int8 d32-L2 (\w+) among (\d+)", done.stderr) == [
        (kind, size) for kind in KINDS for size in ("600", "150")
    ]
    for size, found in files.items():
        assert {row.search.n_items for row in found.measurements} == {size}
        assert {row.status for row in found.measurements} == {"ok"}
    assert "r-150.json" in done.stdout
    assert "--corpus" in done.stdout


def test_the_parameters_are_those_of_the_largest(two):
    _, files = two
    small, large = ({row.plan.kind: row.search.parameters for row in files[size].measurements} for size in SIZES)
    assert small["annoy"] == large["annoy"]
    lists = [[(row.search.shortlist, row.search.rerank_dim) for row in found.measurements] for found in files.values()]
    assert lists[0] == lists[1]
    assert lists[0][-1][0] >= 10  # signs are ranked again
    assert (small["ivf"]["lists"], large["ivf"]["lists"]) == (list_count(150), list_count(600))
    assert small["ivf"]["cluster_dim"] == large["ivf"]["cluster_dim"]
    shares = [found["ivf"]["probes"] / found["ivf"]["lists"] for found in (small, large)]
    assert shares[0] == pytest.approx(shares[1], abs=1 / list_count(150))
    assert files[150].settings["like"]["source"] == "r-600.json"
    assert "like" not in files[600].settings
    assert "--like r-600.json" in command_of(files[150], "again.json")


def test_a_further_size_has_the_same_parameters_in_a_run_of_its_own_too(sized, two):
    bench, folder = sized
    again = bench("150,300,600", "--out", folder / "r.json")
    assert again.returncode == 0, again.stderr
    assert {*re.findall(r"among (\d+)", again.stderr)} == {"300"}  # the others are there
    alone = bench("300", "--like", folder / "r-600.json", "--index", "ivf", "--out", folder / "alone.json")
    assert alone.returncode == 0, alone.stderr
    found, beside = read_results(folder / "alone.json"), read_results(folder / "r-300.json")
    (row,), (_, other, _) = found.measurements, beside.measurements
    assert (row.search.parameters, row.quality) == (other.search.parameters, other.quality)
    assert found.settings["like"] == beside.settings["like"]


def test_a_complete_sweep_of_sizes_is_run_again_and_widened(sized, two):
    bench, folder = sized
    for size in SIZES:
        shutil.copy(folder / f"r-{size}.json", folder / f"wide-{size}.json")
    again = bench("150,600", "--out", folder / "wide.json")
    assert again.returncode == 0, again.stderr
    assert "measuring" not in again.stderr
    assert "preparing" not in again.stderr
    wider = bench("150,600", "--dims", "16,32", "--out", folder / "wide.json")
    assert wider.returncode == 0, wider.stderr
    assert {*re.findall(r"measuring \d+/\d+: int8 (\w+)-L2", wider.stderr)} == {"d16"}
    _, before = two
    wide = {}
    for size in SIZES:
        rows = read_results(folder / f"wide-{size}.json").measurements
        wide[size] = {(row.dim, row.plan.kind): row.search for row in rows}
        assert {*wide[size]} == {(dim, kind) for dim in (16, 32) for kind in KINDS}
        for row in before[size].measurements:
            assert wide[size][32, row.plan.kind] == row.search
    assert wide[150][16, "annoy"].parameters == wide[600][16, "annoy"].parameters


def test_rows_of_other_parameters_than_those_held_are_refused_and_none_is_held_of_a_row_that_ranks_again(sized, two):
    bench, folder = sized
    _, files = two
    (annoy, *_) = files[600].measurements
    other = {**annoy.search.parameters, "search_k": annoy.search.parameters["search_k"] + 1}
    search = msgspec.structs.replace(annoy.search, parameters=other)
    tuned = msgspec.structs.replace(files[600], measurements=(msgspec.structs.replace(annoy, search=search),))
    write_results(folder / "tuned.json", tuned)
    shutil.copy(folder / "r-150.json", folder / "kept.json")
    refused = bench("150", "--index", "annoy", "--like", folder / "tuned.json", "--out", folder / "kept.json")
    assert "other parameters than tuned.json" in the_one_error_line(refused)
    plan = IndexPlan("annoy", 50, 32)
    again = msgspec.structs.replace(tuned, measurements=(msgspec.structs.replace(annoy, dim=16, plan=plan),))
    assert held_in(again) == ()
    write_results(folder / "again.json", again)
    refused = bench("150", "--index", "annoy", "--dims", "16", "--like", folder / "again.json")
    assert "has no annoy index at dimension 16" in the_one_error_line(refused)


def test_a_funnel_is_held_as_it_was_tuned_and_another_is_refused(tmp_path):
    def tuned(*funnel):
        row = measurement("int8", 8, search_ms=1.0)
        search = msgspec.structs.replace(row.search, shortlist=400, rerank_dim=64, funnel=funnel)
        write_results(tmp_path / "r.json", results(msgspec.structs.replace(row, search=search)))
        return read_results(tmp_path / "r.json")

    steps = Step(400, 32), Step(50, 64)
    (one,) = held_in(tuned(*steps))
    assert (one.shortlist, one.rerank_dim, one.funnel) == (400, 64, steps)
    like = Like("saved.json", (one,))
    refuse_others(tuned(*steps), like, tmp_path / "r.json")
    for other in ((), (Step(400, 32), Step(100, 64))):
        with pytest.raises(ResultsError, match=r"other parameters than saved\.json"):
            refuse_others(tuned(*other), like, tmp_path / "r.json")


def test_labels_alone_are_measured_like_a_file_that_holds_other_indexes(sized, two, tiny_bundle, dev):
    _, folder = sized
    rows = [{"text": text, "label": str(number % 2)} for number, text in enumerate(dev["query"][:20])]
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run_here(
        "bench", tiny_bundle, "--data", folder / "labels.jsonl", "--text", "text", "--label", "label", "--precision",
        "int8", "--dims", "16", "--index", "scan", "--tokens", "0", "--max-seconds", "0.1", "--repeats", "1",
        "--like", folder / "r-600.json", "--out", folder / "labels.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [row.search for row in read_results(folder / "labels.json").measurements] == [None]


def test_what_cannot_be_is_one_line(sized, two):
    bench, folder = sized
    out = ("--out", folder / "none.json")
    large = folder / "r-600.json"
    assert "whole numbers" in the_one_error_line(bench("150,many", *out))
    assert "at least 10" in the_one_error_line(bench("150,9", *out))
    assert "one size" in the_one_error_line(bench("150,600", "--baseline", large, *out))
    assert "--like" in the_one_error_line(bench("150,600", "--device", "pi@board", *out))
    assert "no scan index at dimension 32" in the_one_error_line(bench("150", "--like", large, "--index", "scan", *out))
    assert "expected from 40" in the_one_error_line(bench("20,600", *out))
    told = json.loads(large.read_text())
    for row in told["measurements"]:
        if row["search"]["index"] == "ivf":
            row["search"]["parameters"]["cluster_dim"] = 5
    (folder / "other.json").write_text(json.dumps(told))
    other = bench("150", "--like", folder / "other.json", *out)
    assert "found at dimension 5, which the bundle does not export" in the_one_error_line(other)
    assert not (folder / "none.json").exists()


def test_inverted_lists_are_probed_in_the_same_share():
    large = {"lists": 512, "cluster_dim": 64, "probes": 43}
    small = resized("ivf", large, 100)
    assert small == {"lists": 100, "cluster_dim": 64, "probes": 8}
    assert alike("ivf", small, large)
    assert alike("ivf", large, small)
    assert not alike("ivf", {**small, "cluster_dim": 8}, large)
    assert not alike("ivf", {**small, "probes": 16}, large)
    assert resized("ivf", large, 4)["probes"] == 1
    assert resized("annoy", {"n_trees": 8}, 4) == {"n_trees": 8}
    assert not alike("annoy", {"n_trees": 8}, {"n_trees": 32})


def test_what_is_held_is_each_index_once(two):
    _, files = two
    held = held_in(files[600])
    assert [(one.precision, one.dim, one.plan.kind) for one in held] == [("int8", 32, kind) for kind in KINDS]
