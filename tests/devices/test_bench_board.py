"""`mrl-edge bench --device` over a real sshd: what is measured there comes back, through cuts and kills."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from conftest import run_mrl_edge, the_one_error_line
from mrl_edge.bench.results import read_results

from mrl_edge.providers import PROVIDERS

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.skipif(shutil.which("x86_64-linux-gnu-g++") is None, reason="compiles Annoy for x86-64"),
]
QUERIES = 40
ROWS = 4  # two precisions, on real texts and with 8 tokens


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    """What passes between here and a board is the same with a tiny encoder, and sooner over."""
    return tiny_bundle


@pytest.fixture(scope="module")
def task(dev, tmp_path_factory):
    """A file of pairs."""
    path = tmp_path_factory.mktemp("task") / "task.jsonl"
    rows = zip(dev["query"][:QUERIES], dev["positive"][:QUERIES], strict=True)
    path.write_text("".join(json.dumps({"q": q, "p": p}) + "\n" for q, p in rows))
    return path


def arguments(bundle, task, out, *options, board="board", seconds="0.5"):
    short = ("--dims", "16", "--tokens", "8", "--index", "scan", "--repeats", "1", "--max-seconds", seconds)
    return ("bench", bundle, "--data", task, "--query", "q", "--positive", "p", *short, "--device", board, "--out", out,
            *options)  # fmt: skip


def bench(board, *all_arguments):
    return run_mrl_edge(*arguments(*all_arguments), env=board.environment)


def begin(board, *all_arguments, here=None, **options):
    """Start a bench on the board, and wait until it has measured a row and is at the next; `here`: variables here."""
    command = [sys.executable, "-m", "mrl_edge", *map(str, arguments(*all_arguments, **options))]
    environment = {**board.environment, **(here or {})}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    said = []
    for line in process.stderr:
        said.append(line)
        if "measuring 2/" in line:
            return process
    raise AssertionError("".join(said))


def worker(board):
    """The process that measures on the board."""
    return psutil.Process(json.loads((board.home / ".mrl-edge" / "bench.lock").read_bytes())["pid"])


def complete(out):
    rows = read_results(out).measurements
    assert [row.status for row in rows] == ["ok"] * ROWS
    return rows


def on_board(board, bundle):
    """The results on the board while it measures."""
    (path,) = (board.home / ".mrl-edge" / "runs" / bundle.name).glob("*/results.json")
    return read_results(path).measurements


def test_a_board_measures_itself_and_its_vectors_are_the_hosts(lasting_board, bundle, task, tmp_path):
    out = tmp_path / "results.json"
    done = bench(lasting_board, bundle, task, out)
    assert done.returncode == 0, done.stderr
    assert "measuring" in done.stderr
    assert read_results(out).device.name == "board"
    rows = complete(out)
    assert all(row.host_cosine > 0.9999 for row in rows)
    assert not list((lasting_board.home / ".mrl-edge" / "runs" / bundle.name).iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def own_build(wheels, folder):
    """The onnxruntime that is gathered for this machine, under a name of its own: of a build `1own`."""
    name = f"onnxruntime-{version('onnxruntime')}"
    wheel = next(wheels.glob(f"*/{name}-cp*.whl"))
    return shutil.copy(wheel, folder / wheel.name.replace(name, f"{name}-1own"))


NO_GPU = pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU, and is the board")


@NO_GPU
def test_rows_of_a_gpu_say_what_the_board_lacks_and_the_processors_are_measured(
    lasting_board, bundle, task, tmp_path, wheels
):
    """At first what is brought is the processor's, then a wheel that is named, which has no CUDA either."""
    out, rows, there = tmp_path / "results.json", [], lasting_board.home / ".mrl-edge" / "wheels"
    for named in (False, True):
        options = ("--onnxruntime", own_build(wheels, tmp_path)) if named else ()
        done = bench(lasting_board, bundle, task, out, "--provider", "cpu,cuda", *options)
        assert done.returncode == 0, done.stderr
        assert [path.name.split("-")[2] == "1own" for path in there.glob("onnxruntime-*.whl")] == [named]
        before, rows = rows, read_results(out).measurements
        assert [row.status for row in rows if row.provider == PROVIDERS["cpu"]] == ["ok"] * ROWS
        lacking = [row for row in rows if row.provider == PROVIDERS["cuda"]]
        assert [row.status for row in lacking] == ["unsupported"] * ROWS
        for row in lacking:
            assert row.reason.startswith(f"provider cuda: onnxruntime {version('onnxruntime')}, which is installed, ")
            assert "to a board mrl-edge brings it with --onnxruntime 'onnxruntime-gpu[cuda,cudnn]'" in row.reason
            assert row.encode is None
    assert [row.encode for row in rows] == [row.encode for row in before]  # what was measured is not measured again
    assert run_mrl_edge("deploy", bundle, "board", env=lasting_board.environment).returncode == 0
    assert [path.name.split("-")[2] == "1own" for path in there.glob("onnxruntime-*.whl")] == [False]


@NO_GPU
def test_tuning_a_board_without_a_gpu_chooses_among_what_its_processor_ran(lasting_board, bundle, task, tmp_path):
    done = run_mrl_edge(
        "tune", bundle, "--data", task, "--query", "q", "--positive", "p", "--dims", "16", "--index", "scan",
        "--repeats", "1", "--max-seconds", "0.5", "--max-p50-ms", "1000", "--device", "board", "--provider", "cuda,cpu",
        "--out", tmp_path / "tuned.json", "--json", env=lasting_board.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["configuration"]["provider"] == "cpu"
    assert "brings it with --onnxruntime 'onnxruntime-gpu" in next(iter(answer["failed"]))


def test_a_cut_connection_stops_nothing(lasting_board, bundle, task, tmp_path):
    out = tmp_path / "results.json"
    process = begin(lasting_board, bundle, task, out, "--overwrite", seconds="4")
    measuring = worker(lasting_board)
    assert lasting_board.cut() > 0
    time.sleep(3)  # it is followed again
    assert worker(lasting_board) == measuring
    assert process.wait(120) == 0
    complete(out)


def test_a_board_that_starts_anew_goes_on_after_the_last_row(lasting_board, bundle, task, tmp_path):
    out = tmp_path / "results.json"
    process = begin(lasting_board, bundle, task, out, "--overwrite")
    before = on_board(lasting_board, bundle)
    measuring = worker(lasting_board)
    for one in [measuring, *measuring.children(recursive=True)]:
        one.kill()
    lasting_board.cut()
    assert process.wait(120) == 0
    rows = complete(out)
    assert [row.encode for row in rows[: len(before)]] == [row.encode for row in before]


def test_one_bench_at_a_time_measures_on_a_board(lasting_board, bundle, task, tmp_path, wheels):
    """The same one with another onnxruntime is another: its environment would be made anew under what measures."""
    other = shutil.copytree(bundle, tmp_path / "other")
    assert run_mrl_edge("deploy", other, "board", env=lasting_board.environment).returncode == 0  # the rest is short
    first = begin(lasting_board, bundle, task, tmp_path / "first.json", "--overwrite", "--repeats", "2", seconds="6")
    done = bench(lasting_board, other, task, tmp_path / "second.json")
    assert f"board is measuring 'runs/{bundle.name}/" in the_one_error_line(done)
    assert run_mrl_edge("deploy", other, "board", "--remove", env=lasting_board.environment).returncode == 2
    again = ("--repeats", "2", "--onnxruntime", own_build(wheels, tmp_path))
    same = arguments(bundle, task, tmp_path / "first.json", *again, seconds="6")
    done = run_mrl_edge(*same, env=lasting_board.environment)
    assert f"board is measuring 'runs/{bundle.name}/" in the_one_error_line(done)
    assert not (tmp_path / "second.json").exists()
    stamp = lasting_board.home / ".mrl-edge" / "env" / "installed.json"
    stamp.write_text("as of another numpy or mrl-edge here")
    same = arguments(bundle, task, tmp_path / "first.json", "--repeats", "2", seconds="6")
    done = run_mrl_edge(*same, env=lasting_board.environment)
    assert "board: a run measures there, or another deployment goes on" in the_one_error_line(done)
    assert first.wait(240) == 0


def test_ctrl_c_here_stops_the_run_there_and_the_same_command_goes_on(lasting_board, bundle, task, tmp_path):
    out = tmp_path / "results.json"
    process = begin(lasting_board, bundle, task, out, "--overwrite", seconds="8")
    measuring = worker(lasting_board)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert not measuring.is_running() or measuring.status() == psutil.STATUS_ZOMBIE
    assert len(on_board(lasting_board, bundle)) < ROWS
    done = run_mrl_edge(*arguments(bundle, task, out, seconds="8"), env=lasting_board.environment)
    assert done.returncode == 0, done.stderr
    complete(out)


def test_results_of_another_run_are_kept(lasting_board, bundle, task, tmp_path):
    out = tmp_path / "results.json"
    assert bench(lasting_board, bundle, task, out).returncode == 0
    content = out.read_bytes()
    done = run_mrl_edge(*arguments(bundle, task, out, seconds="0.6"), env=lasting_board.environment)
    assert "of another data or settings: choose another --out" in the_one_error_line(done)
    assert out.read_bytes() == content


def test_a_board_that_fails_stops_no_other(lasting_board, bundle, task, tmp_path):
    done = bench(lasting_board, bundle, task, tmp_path / "r.json", "--device", "127.0.0.1:1")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: 127.0.0.1:1: ")
    complete(tmp_path / "r-board.json")


def test_a_hostile_name_is_a_name(lasting_board, bundle, task, tmp_path):
    hostile = shutil.copytree(bundle, tmp_path / '"; touch x #')
    done = bench(lasting_board, hostile, task, tmp_path / "results.json")
    assert done.returncode == 0, done.stderr
    complete(tmp_path / "results.json")
    assert not list(lasting_board.home.rglob("x"))


def fill(folder):
    """Leave nothing free on a disk, and return the file that takes it all."""
    hog = folder / "hog"
    with hog.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017 (it ends the loop)
    return hog


def test_a_disk_that_is_full_amid_a_deployment_is_one_line_and_the_next_goes_on(lasting_board, bundle):
    """What is sent still finds room, the environment that is made of it does not; a third needs no more."""
    command = [sys.executable, "-m", "mrl_edge", "deploy", str(bundle), "board", "--json"]
    with lasting_board.small_home(400) as resize:
        with subprocess.Popen(command, env=lasting_board.environment, stderr=subprocess.PIPE, text=True) as process:
            while not (lasting_board.home / ".mrl-edge" / "wheels").is_dir():
                assert process.poll() is None
                time.sleep(0.05)
            resize(200)
            said = process.stderr.read()
        done = subprocess.CompletedProcess(command, process.returncode, "", said)
        assert "No space left on device" in the_one_error_line(done)
        resize(400)
        for installed in (True, False):
            done = run_mrl_edge(*command[3:], env=lasting_board.environment)
            assert done.returncode == 0, done.stderr
            again = json.loads(done.stdout)
            assert (again["kept"], again["sent_bytes"], again["installed"]) == (again["files"], 0, installed)
            resize(shutil.disk_usage(lasting_board.home).used // 10**6 + 10)


def test_a_disk_that_fills_while_it_measures_is_one_line_and_the_run_goes_on_later(
    lasting_board, bundle, task, tmp_path
):
    out = tmp_path / "results.json"
    with lasting_board.small_home(400):
        process = begin(lasting_board, bundle, task, out, seconds="3")
        hog = fill(lasting_board.home)
        said = process.stderr.read()
        assert process.wait(120) == 2
        lines = [line for line in said.splitlines() if not line.startswith("  ")]
        assert lines == [
            "error: board: the disk there is full: free some space and run the same command again, which goes on"
        ]
        hog.unlink()
        before = on_board(lasting_board, bundle)
        assert 1 <= len(before) < ROWS
        done = run_mrl_edge(*arguments(bundle, task, out, seconds="3"), env=lasting_board.environment)
        assert done.returncode == 0, done.stderr
        rows = complete(out)
        assert [row.encode for row in rows[: len(before)]] == [row.encode for row in before]


def test_clocks_that_jump_a_year_back_amid_a_run_change_nothing(lasting_board, bundle, task, tmp_path):
    """A board without a clock is set once it finds a network; here both clocks jump, the board's and ours."""
    library, jumped, out = tmp_path / "clock.so", tmp_path / "jumped", tmp_path / "results.json"
    source = Path(__file__).with_name("jumping_clock.c")
    subprocess.run(["x86_64-linux-gnu-g++", "-x", "c", "-shared", "-fPIC", "-o", library, source], check=True)
    clock = {"LD_PRELOAD": str(library), "CLOCK_JUMPED": str(jumped)}
    now = [sys.executable, "-c", "import time; print(time.time())"]
    lasting_board.set_path(os.environ["PATH"], **clock)
    try:
        process = begin(lasting_board, bundle, task, out, "--overwrite", seconds="2", here=clock)
        before = float(subprocess.check_output(now, env={**os.environ, **clock}))
        jumped.touch()
        assert float(subprocess.check_output(now, env={**os.environ, **clock})) < before - 300 * 86_400
        measuring = worker(lasting_board)
        assert measuring.environ()["CLOCK_JUMPED"] == str(jumped)
        assert process.wait(240) == 0
    finally:
        lasting_board.set_path(os.environ["PATH"])
    for row in complete(out):
        assert 0 < row.encode.p50_ms < 10_000
        assert 0 < row.cold_start_ms < 100_000
