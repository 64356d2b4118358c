"""A sweep that is interrupted and run again, on a tiny encoder: what is there is kept, and nothing is done twice."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import msgspec
import psutil
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.results import read_results, write_results
from mrl_edge.bench.resuming import resume
from mrl_edge.devices.local import describe
from sweeps import sweep_arguments, write_task

from mrl_edge.bundle import open_bundle
from mrl_edge.errors import ResultsError

DIMS = (16, 32)


@pytest.fixture(scope="module")
def task(dev, tmp_path_factory):
    """A file of pairs with classes."""
    return write_task(tmp_path_factory.mktemp("task") / "task.jsonl", dev, 120)


def arguments(bundle, task, out, *options):
    return sweep_arguments(bundle, task, out, DIMS, *options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_and_run_again_it_goes_on_where_it_was(tiny_bundle, task, tmp_path, number):
    out = tmp_path / "results.json"
    options = arguments(
        tiny_bundle, task, out, "--precision", "int8", "--index", "scan", "--tokens", "0", "--max-seconds", "0.3",
        "--repeats", "3",
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "mrl_edge", *map(str, options)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    while not out.exists():
        time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert process.wait(timeout=30) == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number)
    assert b"Traceback" not in process.stderr.read()
    assert psutil.wait_procs(family, timeout=5)[1] == []
    (first,) = json.loads(out.read_bytes())["measurements"]
    assert len(first["encode"]["processes"]) == 1  # one round of three
    (prepared,) = tmp_path.rglob("int8-L2/prepared.json")
    os.truncate(prepared.parent / "queries.f32", 0)  # a second preparation would write it anew
    again = run_here(*options)
    assert again.returncode == 0, again.stderr
    assert "measuring 1/6" not in again.stderr
    assert "measuring 2/6" in again.stderr
    rows = json.loads(out.read_bytes())["measurements"]
    assert rows[0]["encode"]["processes"][:1] == first["encode"]["processes"]
    assert [len(row["encode"]["processes"]) for row in rows] == [3, 3]
    assert rows[0]["cold_start_dropped_ms"] == first["cold_start_dropped_ms"]
    assert [row["dim"] for row in rows] == list(DIMS)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_what_one_precision_left_behind_serves_a_run_of_both(tiny_bundle, task, tmp_path):
    """An int8 run prepares fp32's query vectors alone; a later run of both needs more of fp32 than that."""
    out = tmp_path / "results.json"
    options = arguments(tiny_bundle, task, out, "--index", "scan", "--tokens", "0")
    process = subprocess.Popen(
        [sys.executable, "-m", "mrl_edge", *map(str, options), "--precision", "int8"],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while not out.exists():
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    mrl_edge_here(*options)
    assert sorted((r.precision, r.dim) for r in read_results(out).measurements) == [
        ("fp32", 16), ("fp32", 32), ("int8", 16), ("int8", 32),
    ]  # fmt: skip


def test_a_resumed_run_takes_the_parameters_of_a_precision_that_is_complete(tiny_bundle, task, tmp_path):
    """Interrupted while int8 is prepared, when all rows of fp32 are there: nothing of fp32 is prepared again."""
    out = tmp_path / "results.json"
    options = arguments(tiny_bundle, task, out, "--index", "annoy", "--dims", "16", "--tokens", "0")
    process = subprocess.Popen(
        [sys.executable, "-m", "mrl_edge", *map(str, options)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    while not list(tmp_path.rglob("int8-L2")):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert [row.precision for row in read_results(out).measurements] == ["fp32"]
    assert not list(tmp_path.rglob("int8-L2/prepared.json"))
    again = run_here(*options)
    assert again.returncode == 0, again.stderr
    assert "preparing 1/1: int8-L2" in again.stderr
    assert "reference" not in again.stderr
    rows = read_results(out).measurements
    assert [(row.precision, row.search.tuned_on) for row in rows] == [("fp32", "fp32"), ("int8", "fp32")]
    assert rows[1].fidelity.cosine_mean < 1


def test_two_runs_do_not_write_one_file(tiny_bundle, task, tmp_path):
    out = tmp_path / "results.json"
    first = subprocess.Popen(
        [sys.executable, "-m", "mrl_edge", *map(str, arguments(tiny_bundle, task, out))],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(tmp_path.rglob("lock")):
        time.sleep(0.02)
    time.sleep(0.2)
    for option in ((), ("--overwrite",)):
        second = run_here(*arguments(tiny_bundle, task, out, *option))
        assert "another mrl-edge bench writes" in the_one_error_line(second)
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=30) == 130


def test_rows_of_another_onnxruntime_are_not_mixed_and_both_are_named(tiny_bundle, tmp_path):
    out, bundle, here = tmp_path / "results.json", open_bundle(tiny_bundle), describe()
    write_results(out, resume(out, bundle, here, {}))
    assert resume(out, bundle, here, {}).device == here
    other = msgspec.structs.replace(here, versions={**here.versions, "onnxruntime": "1.0"})
    said = (
        f"measured with onnxruntime {here.versions['onnxruntime']}, and here is onnxruntime 1.0: choose another --out"
    )
    with pytest.raises(ResultsError, match=re.escape(said)):
        resume(out, bundle, other, {})


def test_overwrite_measures_anew(tiny_bundle, task, tmp_path):
    out = tmp_path / "results.json"
    out.write_text("no results")
    options = ("--precision", "int8", "--index", "scan", "--tokens", "0")
    assert "damaged" in the_one_error_line(run_here(*arguments(tiny_bundle, task, out, *options)))
    mrl_edge_here(*arguments(tiny_bundle, task, out, *options, "--overwrite"))
    assert len(read_results(out).measurements) == len(DIMS)
