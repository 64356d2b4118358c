"""Where a sweep measures: under a device's RAM, on boards that are named, and what of an emulator is believed."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from conftest import run_here, the_one_error_line
from mrl_edge.bench import jobs, place
from mrl_edge.bench.agreement import compare, vectors_of
from mrl_edge.bench.place import Place
from mrl_edge.bench.preparing import Grid
from mrl_edge.bench.reproduce import command_of
from mrl_edge.bench.results import read_results, write_results
from mrl_edge.bench.sweep import sweep
from mrl_edge.devices.local import describe
from mrl_edge.devices.reach import capped, cgroups
from mrl_edge.devices.reach.address import read_address
from rows import measurement, results

from mrl_edge.bundle import open_bundle
from mrl_edge.cli.bench_boards import read_boards, results_file
from mrl_edge.cli.bench_place import open_place
from mrl_edge.errors import UnsupportedError

PROFILE = """\
schema_version = 1
name = "tiny"
title = "A board of {mb} MB"
precision = "int8"
providers = ["CPUExecutionProvider"]

[cpu]
name = "one core"
arch = "x86_64"
features = []
clusters = [{{ core = "any", cores = 1 }}]

[memory]
ram_bytes = {ram}
application_bytes = {mb}_000_000
"""


@pytest.fixture
def task(dev, tmp_path):
    path = tmp_path / "task.jsonl"
    rows = zip(dev["query"][:20], dev["positive"][:20], strict=True)
    path.write_text("".join(json.dumps({"q": q, "p": p}) + "\n" for q, p in rows))
    return path


def bench(bundle, task, *options):
    columns = ("--query", "q", "--positive", "p", "--dims", "16", "--tokens", "0", "--index", "scan")
    return run_here("bench", bundle, "--data", task, *columns, "--repeats", "1", "--max-seconds", "0.2", *options)


@pytest.fixture(scope="module")
def capping():
    """Skip where this machine does not let us cap, for the reason that it gives."""
    try:
        cgroups.make(1 << 26).remove()
    except UnsupportedError as error:
        pytest.skip(str(error))


def test_what_does_not_fit_is_a_row_and_the_sweep_ends(capping, bundle, task, tmp_path):
    statuses, own = [], {}
    for _ in range(2):  # in plenty, then in what lies between the memory of the two that no file backs
        mb = round(sum(own.values()) / 2e6) if own else 400
        board, out = tmp_path / f"{mb}.toml", tmp_path / f"{mb}.json"
        board.write_text(PROFILE.format(mb=mb, ram=(mb + 50) * 10**6))
        done = bench(bundle, task, "--device", board, "--capped", "--out", out)
        assert done.returncode == 0, done.stderr
        found = read_results(out)
        assert (found.device.capped_to, found.device.cores, found.device.ram_bytes) == ("tiny", 1, mb * 10**6)
        statuses.append({row.precision: row.status for row in found.measurements})
        own = own or {row.precision: row.memory.anonymous_bytes for row in found.measurements}
    assert statuses == [{"fp32": "ok", "int8": "ok"}, {"fp32": "out_of_memory", "int8": "ok"}]


def test_a_choice_is_looked_for_under_a_boards_limits(capping, tiny_bundle, task, tmp_path):
    """In plenty something fits; in what Python alone takes every process is killed, which is no budget's fault."""
    board, said = tmp_path / "tiny.toml", {}
    for mb in (400, 20):
        board.write_text(PROFILE.format(mb=mb, ram=(mb + 50) * 10**6))
        said[mb] = run_here(
            "tune", tiny_bundle, "--data", task, "--query", "q", "--positive", "p", "--dims", "32", "--index", "scan",
            "--max-p50-ms", "1000", "--repeats", "1", "--max-seconds", "0.2", "--device", board, "--capped",
            "--out", tmp_path / f"{mb}.json", "--json",
        )  # fmt: skip
    assert said[400].returncode == 0, said[400].stderr
    assert "this machine, held to 400 MB and 1 cores as tiny has for an application" in said[400].stderr
    assert json.loads(said[400].stdout)["fits"]
    fitted, failed = (read_results(tmp_path / f"{mb}.json") for mb in (400, 20))
    assert (fitted.device.capped_to, fitted.device.cores, fitted.device.ram_bytes) == ("tiny", 1, 400 * 10**6)
    assert "--device tiny --capped" in command_of(fitted, "again.json")
    assert "nothing could be measured: the kernel killed the process" in the_one_error_line(said[20])
    assert set(failed.narrowing.failed) == {"the kernel killed the process (SIGKILL)"}
    assert failed.measurements == ()


def test_a_machine_agrees_with_itself_and_not_with_other_vectors(tiny_bundle, dev, tmp_path):
    opened = open_bundle(tiny_bundle)
    variants = [opened.variant(precision, None) for precision in ("fp32", "int8")]
    sample = jobs.LatencySample(dev["query"][:20], "query")
    found = vectors_of(opened, variants, sample, tmp_path)
    for variant, (name, raw) in zip(variants, found.items(), strict=True):
        assert name == f"{variant.precision}-L2"
        vectors = np.frombuffer(raw, "<f4").reshape(16, 32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert compare(opened, variant, sample, raw, tmp_path) == pytest.approx(1, abs=1e-5)
        other = vectors.copy()
        other[7] = vectors[8]
        answer = compare(opened, variant, sample, other.tobytes(), tmp_path)
        assert isinstance(answer, jobs.Failure)
        assert answer.reason.startswith("vectors differ from the host's: cosine ")
    wrong = compare(opened, variants[0], sample, np.full((16, 32), np.nan, "<f4").tobytes(), tmp_path)
    assert isinstance(wrong, jobs.Failure)
    assert "15 vectors" in compare(opened, variants[0], sample, raw[:-128], tmp_path).reason


def test_a_precision_whose_vectors_are_not_the_hosts_has_a_row_that_says_so_and_no_times(tiny_bundle, tmp_path):
    """Of a sweep as a board runs it; the host's int8 vectors are another text's."""
    opened, texts = open_bundle(tiny_bundle), ["some words", "a text", "words in a row", "x"]
    precisions = ("fp32", "int8")
    variants = [opened.variant(precision, None) for precision in precisions]
    task = jobs.Task(texts, [], [], [], [])
    expected = vectors_of(opened, variants, task.latency_sample(), tmp_path)
    expected["int8-L2"] = np.roll(np.frombuffer(expected["int8-L2"], "<f4").reshape(4, 32), 1, axis=0).tobytes()
    short = Grid(precisions, (2,), (32,), (1,), (), (), 0.1, 0.9, for_choice=True)
    found = sweep(opened, task, "t.jsonl", short, tmp_path / "r.json", place=Place(describe(), expected=expected))
    rows = {row.precision: row for row in found.measurements}
    assert {precision: row.status for precision, row in rows.items()} == {"fp32": "ok", "int8": "failed"}
    assert rows["fp32"].host_cosine == pytest.approx(1, abs=1e-5)
    assert rows["int8"].reason.startswith("vectors differ from the host's: cosine ")
    assert rows["int8"].reason.endswith("; nothing was timed")
    assert (rows["int8"].encode, rows["int8"].memory, rows["int8"].cold_start_ms) == (None, None, None)


@pytest.mark.parametrize("command", ["pick", "report"])
def test_an_emulators_times_are_not_shown_as_a_boards(command, tmp_path):
    path = tmp_path / "results.json"
    ours = results(measurement("fp32", 16))
    write_results(path, msgspec.structs.replace(ours, device=msgspec.structs.replace(ours.device, emulated=True)))
    assert "emulated machine" in the_one_error_line(run_here(command, path))


@pytest.mark.parametrize("providers", [("cpu",), ("cuda",)])
def test_a_profile_of_a_gpu_says_how_one_is_measured_unless_it_is(monkeypatch, capsys, providers):
    monkeypatch.setattr(capped, "cap_of", lambda _: nullcontext(SimpleNamespace(ram_bytes=10**9, cores=1)))
    monkeypatch.setattr(place, "held_to", lambda *_: None)
    with open_place("jetson-orin-nano", providers):
        said = capsys.readouterr().err
    assert ("computes with cuda: with --provider cuda" in said) is (providers != ("cuda",))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--capped"], "--capped needs one --device"),
        (["--device", "pi-zero-2w"], "is a profile: add --capped"),
        (["--device", "pi-zero-2w", "--device", "pi-5-8gb", "--capped"], "--capped needs one --device"),
        (["--device", "t4", "--capped"], "t4 is a card"),
        (["--device", "pi@a b"], "is no address"),
        (["--device", "pi@a", "--device", "pi@a"], "pi@a is named twice"),
        (["--fleet", "none.toml"], "--fleet none.toml cannot be read"),
        (["--device", "pi@a", "--baseline", "old.json"], "--baseline compares on this machine"),
    ],
)
def test_devices_that_make_no_sense_are_one_error(tiny_bundle, task, options, said, tmp_path):
    done = bench(tiny_bundle, task, *options, "--out", tmp_path / "r.json")
    assert said in the_one_error_line(done)
    assert not (tmp_path / "r.json").exists()


def test_a_fleet_is_a_table_of_hosts(tmp_path):
    fleet = tmp_path / "fleet.toml"
    fleet.write_text('[[board]]\nhost = "pi@kitchen"\n\n[[board]]\nhost = "[::1]:2222"\n')
    assert [str(address) for address in read_boards(["pi@shed"], fleet)] == ["pi@shed", "pi@kitchen", "[::1]:2222"]
    out = tmp_path / "results.json"
    assert results_file(out, read_address("pi@kitchen"), 1) == out
    assert results_file(out, read_address("[::1]:2222"), 2).name == "results-_1_2222.json"


@pytest.mark.parametrize("text", ["", "board = 1", '[[board]]\nname = "x"', '[[board]]\nhost = ""', "x ="])
def test_a_file_that_is_no_fleet_says_what_one_is(tiny_bundle, task, text, tmp_path):
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(text)
    assert "write a table [[board]]" in the_one_error_line(bench(tiny_bundle, task, "--fleet", fleet))
