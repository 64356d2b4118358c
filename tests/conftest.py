"""One real encoder, trained and exported once a test session on a cut of the built-in data, and a tiny one."""

import csv
import fcntl
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: threads of each would wait for the others'
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Not importorskip: onnxruntime must be imported before usearch.
needs_usearch = pytest.mark.skipif(importlib.util.find_spec("usearch") is None, reason="needs usearch")

DIMS = (8, 16, 32, 64, 128, 384)
ROWS, DEV_ROWS = 3000, 1500
CLASSES = 25  # of the first ROWS rows
BRIEF_DIMS, BRIEF_LAYERS = (8, 64, 384), 2
TINY_DIMS = (8, 16, 32)


def pytest_collection_modifyitems(items):
    """Put first what needs the trained model: one process makes it while the others run what does not."""
    items.sort(key=lambda item: "model" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def minilm():
    """The folder of all-MiniLM-L6-v2."""
    from mrl_edge.cli.quickstart import find_encoder

    return find_encoder()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A function that makes something under a name in a folder that all processes of this session share."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)

    def once(name, make):
        path, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                make(path)
                done.touch()
        return path

    return once


@pytest.fixture(scope="session", autouse=True)
def one_thread_a_worker():
    """What OMP_NUM_THREADS does not hold: onnxruntime's threads, which spin between two calls.

    A worker's sessions that are not told how many take one. With one a core, MiniLM in int8 took 2.5 times the
    processor's time, that of the other worker. The default is tested where this does not reach: in child processes,
    its number of threads by `test_without_a_number_of_threads_it_is_onnxruntimes_own`.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    import onnxruntime

    begin = onnxruntime.InferenceSession.__init__

    def begin_with_one(self, graph, sess_options=None, *rest, **named):
        options = sess_options or onnxruntime.SessionOptions()
        asked = options.intra_op_num_threads
        options.intra_op_num_threads = asked or 1
        try:
            begin(self, graph, options, *rest, **named)
        finally:
            options.intra_op_num_threads = asked  # the caller's own

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxruntime.InferenceSession, "__init__", begin_with_one)
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(made_once):
    """The machine's ceilings are measured once a session, and not into the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(made_once("user-cache", Path.mkdir))


@pytest.fixture(scope="session")
def pairs(made_once):
    """A CSV with the first rows of the built-in training data: gloss, lemmas, label."""
    return made_once("pairs.csv", lambda path: _write_rows(path, "train", ROWS))


@pytest.fixture(scope="session")
def dev_table(made_once):
    """The same of the built-in dev data."""
    return made_once("dev.csv", lambda path: _write_rows(path, "dev", DEV_ROWS))


def _write_rows(path, part, count):
    from mrl_edge.datasets import Columns, read_table

    table = read_table(f"builtin:wordnet_nouns/{part}", Columns(query="gloss", positive="lemmas", label="label"))
    roles = table.first(count).roles
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["gloss", "lemmas", "label"])
        writer.writerows(zip(roles["query"], roles["positive"], roles["label"], strict=True))


@pytest.fixture(scope="session")
def cache(made_once):
    """Where this session's frozen embeddings are kept."""
    return made_once("cache", Path.mkdir)


@pytest.fixture(scope="session")
def model(minilm, pairs, dev_table, cache, made_once):
    """A model folder, trained through the command line on pairs and classes."""

    def train(out):
        mrl_edge(
            "train", "--encoder", minilm, "--data", pairs, "--dev", dev_table, "--cache", cache,
            "--query", "gloss", "--positive", "lemmas", "--text", "gloss", "--label", "label",
            "--dims", ",".join(map(str, DIMS)), "--out", out,
        )  # fmt: skip

    return made_once("model", train)


@pytest.fixture(scope="session")
def bundle(model, made_once):
    """The model's bundle in fp32 and int8; tests must not change it (see `own_bundle`)."""
    return made_once("bundle", lambda out: mrl_edge_here("export", model, "--out", out, "--precision", "fp32,int8"))


@pytest.fixture(scope="session")
def brief_model(model, made_once):
    """The model's first two layers with three of its dimensions and a third of its sample texts: sooner exported."""

    def cut(copy):
        shutil.copytree(model, copy)
        for name, changes in (
            ("mrl.json", {"dims": BRIEF_DIMS, "depths": (BRIEF_LAYERS,)}),
            ("config.json", {"num_hidden_layers": BRIEF_LAYERS}),
        ):
            (copy / name).write_text(json.dumps(json.loads((copy / name).read_text()) | changes))
        texts = copy / "sample_texts.json"
        texts.write_text(json.dumps(json.loads(texts.read_text())[::3]))

    return made_once("brief", cut)


@pytest.fixture(scope="session")
def tiny_export(made_once):
    """A function that makes a bundle in some precisions of a tiny encoder with random weights, by name."""

    def exported(name, precisions):
        from train.encoders import tiny_bert
        from train.untrained import untrained_model

        def export(out):
            made = out.with_name(f"{name}-parts")
            made.mkdir()
            model = untrained_model(made / "model", tiny_bert(made / "bert"), (2,), dims=TINY_DIMS)
            mrl_edge_here("export", model, "--out", out, "--precision", precisions)

        return made_once(name, export)

    return exported


@pytest.fixture(scope="session")
def tiny_bundle(tiny_export):
    """A bundle in fp32 and int8, where it does not matter what vectors say."""
    return tiny_export("tiny-bundle", "fp32,int8")


@pytest.fixture(scope="session")
def indexed(bundle, dev_table, made_once):
    """A copy of the bundle with an index of the dev lemmas; tests must not change it."""

    def index(copy):
        shutil.copytree(bundle, copy)
        mrl_edge_here("index", copy, dev_table, "--positive", "lemmas", "--query", "gloss")

    return made_once("indexed", index)


@pytest.fixture(scope="session")
def tuned(bundle, dev_table, made_once):
    """A copy of the bundle with a tuned index of the dev lemmas, its vectors in int8; tests must not change it."""

    def index(copy):
        shutil.copytree(bundle, copy)
        mrl_edge_here(
            "index", copy, dev_table, "--positive", "lemmas", "--query", "gloss",
            "--tune", "--kinds", "ivf,binary,scan", "--target-recall", "0.95", "--dims", "16,64,384",
        )  # fmt: skip

    return made_once("tuned", index)


@pytest.fixture(scope="session")
def tiny(made_once):
    """A folder with a tiny model, its indexed bundle, results and the table they are of; tests must not change it."""
    return made_once("tiny", _make_tiny)


def _make_tiny(folder):
    from train.encoders import tiny_bert
    from train.untrained import untrained_model

    folder.mkdir()
    words = [f"{a}{b} {c} naïve" for a in "abcd" for b in "efg" for c in ("words in a row", "a little phrase", "x")]
    rows = "".join(f"{word[::-1]},{word},{('one', 'two', 'three')[i % 3]}\n" for i, word in enumerate(words))
    table = folder / "dev.csv"
    table.write_text(f"question,answer,label\n{rows}", encoding="utf-8")
    untrained_model(folder / "model", tiny_bert(folder / "bert"), (1, 2))
    columns = ("--query", "question", "--positive", "answer")
    mrl_edge_here("export", folder / "model", "--out", folder / "bundle", "--precision", "fp32,int8")
    mrl_edge_here("index", folder / "bundle", table, *columns[2:])
    mrl_edge_here(
        "bench", folder / "bundle", "--data", table, *columns, "--text", "answer", "--label", "label",
        "--index", "scan", "--dims", "4,24", "--tokens", "0", "--max-seconds", "0.1", "--repeats", "1",
        "--out", folder / "results.json",
    )  # fmt: skip


@pytest.fixture
def own_bundle(bundle, tmp_path):
    """A copy of the bundle that a test may damage."""
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    return copy


@pytest.fixture(scope="session")
def dev():
    """The built-in dev rows by role."""
    from mrl_edge.datasets import Columns, read_table

    columns = Columns(query="gloss", positive="lemmas", text="gloss", label="label")
    return read_table("builtin:wordnet_nouns/dev", columns).roles


def run_mrl_edge(*arguments, timeout=600, **options) -> subprocess.CompletedProcess:
    """Run the command line as a user does and return what it said."""
    command = [sys.executable, "-m", "mrl_edge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)


def mrl_edge(*arguments, **options) -> str:
    """Run the command line, expect success, and return its standard output."""
    done = run_mrl_edge(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_here(*arguments) -> subprocess.CompletedProcess:
    """Run the command line in this process, which has torch loaded: seconds less than `run_mrl_edge`.

    Not for signals and memory; `train` only with `--mixed-precision no`, as a process trains in one precision.
    """
    from mrl_edge.cli import run

    command = [*map(str, arguments)]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as errors:
        code = run(command)
    return subprocess.CompletedProcess(command, code, out.getvalue(), errors.getvalue())


def mrl_edge_here(*arguments) -> str:
    """Run the command line in this process, expect success, and return its standard output."""
    done = run_here(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def the_one_error_line(done: subprocess.CompletedProcess) -> str:
    """Expect exit code 2 and one line of error, and return it."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("  ")]  # progress is indented
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in done.stderr
    return lines[0]


def leftovers(folder: Path) -> list[str]:
    """Return the hidden files that an unfinished write would leave in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
