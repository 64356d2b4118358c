"""Every graph of a bundle, unmodified, in Node and in Chromium, against onnxruntime for Python.

`make browser` runs this and prints how near they are; `make test` leaves it out.
"""

import json
import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import mrl_edge
from mrl_edge.bundle import open_bundle
from mrl_edge.encoder import open_session
from mrl_edge.tokens import pad

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
ALONE, TOGETHER = 24, 8  # texts that run one at a time, as queries do, and in one padded batch

# fp32 differs in the last bits, 4e-7 of an embedding and 5e-6 of a logit. So does int8 for most texts; where such a
# bit moves an activation over a rounding step, the layers after it follow. Raising the LayerNorms' weights by one bit
# does the same in Python alone: 19% of 200 texts moved, to a cosine of 0.998 at worst; in WebAssembly 28% and 0.997.
SAME = {"embedding": 1e-5, "logits": 1e-4}
INT8_COSINE = 0.99


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_every_graph_in_node_equals_python(bundle, batches, precision, capsys):
    task = task_for(bundle, precision, batches)
    answer = run("node.mjs", bundle / precision, task=task)
    assert_near(answer, task, bundle, precision, capsys)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_every_graph_in_chromium_equals_python(bundle, batches, site, precision, capsys):
    task = task_for(bundle, precision, batches)
    chromium = tool(os.environ.get("CHROMIUM", "chromium"))
    answer = run("chromium.mjs", chromium, f"{site}/tests/", f"{site}/bundle/{precision}", task=task)
    assert_near(answer, task, bundle, precision, capsys)


@pytest.fixture(scope="module")
def batches(bundle, dev):
    """The token ids of real texts, in batches."""
    texts = mrl_edge.load(bundle).tokenise(dev["query"][: ALONE + TOGETHER])
    return [[ids] for ids in texts[:ALONE]] + [texts[ALONE:]]


@pytest.fixture(scope="module")
def site(bundle, tmp_path_factory):
    """The URL of a plain file server that has this folder as tests/ and the bundle as bundle/."""
    root = tmp_path_factory.mktemp("site")
    (root / "tests").symlink_to(HERE)
    (root / "bundle").symlink_to(bundle)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=root)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def task_for(bundle, precision, batches):
    """What the scripts read: the graphs of a precision and what to run through each."""
    opened = open_bundle(bundle)
    graphs = [Path(graph.file).name for graph in opened.variant(precision, None).graphs]
    return {"graphs": graphs, "batches": batches, "padId": opened.manifest.encoder.pad_id}


def run(script, *arguments, task):
    """Run a script in Node and return its answer, `embedAll`'s in embed.mjs."""
    if not (HERE / "node_modules").is_dir():
        pytest.fail("npm's packages are missing; `make browser` installs them", pytrace=False)
    command = [tool("node"), HERE / script, *arguments]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tool(name):
    """Return where a program is; a test that was asked for by its mark fails without it."""
    return shutil.which(name) or pytest.fail(f"{name} is missing", pytrace=False)


def assert_near(answer, task, bundle, precision, capsys):
    """Compare all outputs with Python's, and say how near they are."""
    pairs = list(with_python(answer["values"], task, bundle / precision))
    versions = ", ".join(" ".join(item) for item in {**answer["versions"], "python": onnxruntime.__version__}.items())
    for kind, same in SAME.items():
        got, expected = zip(*((got, expected) for name, got, expected in pairs if name.startswith(kind)), strict=True)
        apart = np.concatenate([np.abs(a - b).max(axis=1) for a, b in zip(got, expected, strict=True)])
        cosines = np.concatenate([cosine(a, b) for a, b in zip(got, expected, strict=True)])
        figures = f"max |difference| {apart.max():.1e}, cosine ≥ {cosines.min():.4f}, same {np.mean(apart < same):.1%}"
        with capsys.disabled():
            print(f"\n{versions}: {precision} {kind}, {len(apart)} rows, {figures}", end="")
        if precision == "fp32":
            assert apart.max() < same
        else:
            assert np.median(apart) < same
            assert cosines.min() > INT8_COSINE


def with_python(values, task, folder):
    """Yield (output, the script's array, Python's array), each [batch, columns]."""
    for graph in task["graphs"]:
        session = open_session(folder / graph, threads=1)
        inputs, outputs = ([node.name for node in nodes] for nodes in (session.get_inputs(), session.get_outputs()))
        for texts, found in zip(task["batches"], values[graph], strict=True):
            assert sorted(found) == sorted(outputs)
            for name, expected in zip(outputs, session.run(outputs, pad(texts, task["padId"], inputs)), strict=True):
                yield name, np.array(found[name], dtype=np.float32).reshape(expected.shape), expected


def cosine(a, b):
    """Return the cosine of each row [n] of two [n, columns]."""
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
