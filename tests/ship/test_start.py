"""The start of a shipped folder: what is done beside each other, what is imported, and that nothing is reported."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
from ship.opens import counted_opens
from ship.shipping import ship

from mrl_edge import app as app_module
from mrl_edge import opened as opened_module
from mrl_edge.app import open_app
from mrl_edge.errors import BundleError
from mrl_edge.later import Later

READ = {  # by native code, mapped or line by line
    "graph": "model/d10.onnx",
    "weights": "model/weights.bin",
    "tokenizer": "tokenizer.json",
    "index": "index/vectors.bin",
    "lengths": "index/lengths.f32",
    "documents": "index/documents.jsonl",
    "offsets": "index/offsets.i64",
}

linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@linux
@pytest.mark.parametrize("least", [0, app_module._SMALL], ids=["beside", "before"])
@pytest.mark.parametrize("kind", READ)
def test_what_was_changed_is_read_for_its_hash_and_never_again(shipped, tmp_path, monkeypatch, kind, least):
    """Its hash is made the last to be known: whatever does not wait for it has all the time to open the file."""
    folder = tmp_path / "app"
    shutil.copytree(shipped, folder)
    path = folder / READ[kind]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    honest = app_module.sha256

    def slow(each):
        time.sleep(0.2 if each == path else 0)
        return honest(each)

    monkeypatch.setattr(app_module, "sha256", slow)
    monkeypatch.setattr(app_module, "_SMALL", least)
    with counted_opens([folder / name for name in READ.values()]) as count:
        with pytest.raises(BundleError, match=f"{path.name} is not the file that was shipped"):
            open_app(folder).search("abc de f")
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join(5)
        opened = count()
    assert opened[path] == 1
    unasked = {name for name in READ.values() if name != "tokenizer.json"}
    assert all(opened[folder / name] <= 1 for name in unasked)  # no level was opened before all were compared


@linux
def test_what_was_not_changed_is_read_for_its_hash_first(shipped):
    """The account that the test above relies on sees each kind of file opened again."""
    paths = [shipped / name for name in READ.values()]
    with counted_opens(paths) as count:
        app = open_app(shipped)
        compared = count()
        app.search("abc de f")
        answered = count()
    assert compared.pop(shipped / "tokenizer.json") == 2
    assert set(compared.values()) == {1}
    assert all(answered[path] >= 2 for path in paths)


def test_an_index_that_does_not_open_leaves_no_graph_half_read(shipped, monkeypatch):
    def slow(*arguments):
        time.sleep(0.3)
        raise BundleError("nobody waits for this")

    def broken(*arguments):
        raise OSError("too many open files")

    app, before = open_app(shipped), threading.active_count()
    monkeypatch.setattr(opened_module, "open_session", slow)
    monkeypatch.setattr(opened_module, "_open_index", broken)
    with pytest.raises(OSError, match="too many open files"):
        app.search("abc de f")
    assert threading.active_count() == before


def test_large_files_are_compared_while_numpy_and_onnxruntime_are_imported(shipped):
    """What `open_app` needs to begin has neither; a scan needs no other kind of index."""
    program = (
        f"import sys, json; sys.path.insert(0, {str(shipped)!r})\n"
        "from mrl_edge.app import open_app\n"
        "first = sorted(sys.modules)\n"
        f"open_app({str(shipped)!r}).search('abc de f')\n"
        "import os; print(json.dumps([first, sorted(sys.modules), os.environ['OPENBLAS_NUM_THREADS']]))"
    )
    first, then, threads = json.loads(run(program))
    assert not {"numpy", "onnxruntime", "tokenizers"} & set(first)
    assert {"numpy", "onnxruntime", "tokenizers"} <= set(then)
    others = ("index.annoy", "index.binary", "index.hnsw", "index.ivf", "cascade", "prepacked", "atomic")
    assert not {f"mrl_edge.{name}" for name in others} & set(then)
    assert threads == "1"


def test_numpy_has_as_many_threads_as_were_measured_unless_it_is_told_otherwise(small, choose, tmp_path):
    ship(small, choose(threads=3, index=None, vectors=None), tmp_path / "app")
    program = (
        f"import sys, os; sys.path.insert(0, {str(tmp_path / 'app')!r}); import mrl_edge\n"
        "print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    assert run(program).split() == ["3", "1"]
    assert run(program, OPENBLAS_NUM_THREADS="2", ORT_DISABLE_TELEMETRY="0").split() == ["2", "0"]


def test_onnxruntime_reports_nothing(shipped, tmp_path):
    """It writes down who it is in the user's cache before it sends anything: there it is looked for."""

    def home(name, program):
        (tmp_path / name).mkdir()
        folders = {variable: str(tmp_path / name) for variable in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
        run(program, **folders)
        return sorted(path.name for path in (tmp_path / name).rglob("*"))

    if not home("alone", "import onnxruntime"):
        pytest.skip("this onnxruntime reports nothing by itself")
    assert home("ours", "import mrl_edge.runtime") == []
    ask = f"import sys; sys.path.insert(0, {str(shipped)!r}); from mrl_edge.app import open_app\n"
    assert home("shipped", f"{ask}open_app({str(shipped)!r}).search('abc')") == []


def test_a_call_that_began_returns_or_raises_where_it_is_waited_for():
    free = threading.Event()
    begun = Later(lambda: free.wait(5) and 7)
    free.set()  # after it began: it does not run in the thread that made it
    assert (begun.get(), begun.get()) == (7, 7)

    def wrong():
        raise BundleError("the file is damaged")

    failed = Later(wrong)
    for _ in range(2):
        with pytest.raises(BundleError, match="damaged"):
            failed.get()


def test_what_was_printed_arrives_although_the_process_frees_nothing():
    ends = "import atexit; atexit.register(print, 'freed'); from mrl_edge.app import leave; print('told', end='')\n"
    assert run(f"{ends}leave()") == "told"
    closed = f"import os, sys\n{ends}os.dup2(os.pipe()[1], 1); os.closerange(3, 9); sys.stdout.write('x'); leave()"
    assert run(closed) == ""


def run(program, **variables):
    """Run a program in a process that knows nothing of this one's settings, and return what it printed."""
    quiet = ("ORT_", "OPENBLAS", "OMP", "PYTHON", "CI", "GITHUB", "TF_BUILD", "XDG_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(quiet)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env={**own, **variables}, capture_output=True, text=True, check=True, cwd="/").stdout
