"""Every graph of a bundle, unmodified, in Node and in Chromium, against onnxruntime for Python.

`make browser` runs this and prints how near they are; `make test` leaves it out.
"""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from browser.scripts import run, tool

import mrl_edge
from mrl_edge.bundle import open_bundle
from mrl_edge.encoder import open_session
from mrl_edge.tokens import pad

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
ALONE, TOGETHER = 24, 8  # texts that run one at a time, as queries do, and in one padded batch

# fp32 differs in the last bits, by 5e-7 in an embedding and 5e-6 in a logit. So does int8 for most texts; where such a
# bit moves an activation over a rounding step, the layers after it follow, no farther from fp32 than before. Raising
# the LayerNorms' weights by one bit does the same in Python alone: 19% of 200 texts moved at 64 dimensions, to a cosine
# of 0.998 at worst; in WebAssembly 28% and 0.997.
SAME = {"embedding": 1e-5, "logits": 1e-4}
INT8_SAME = 0.2  # of the rows: none where an integer is wrong, all but for roundings that flip otherwise
INT8_COSINE = 0.99
INT8_MEAN = 5e-4  # between the two mean cosines to fp32


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_every_graph_in_node_equals_python(bundle, batches, precision, capsys):
    task = task_for(bundle, precision, batches)
    answer = run("node.mjs", bundle / precision, task=task)
    assert_near(answer, task, bundle, precision, capsys)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_every_graph_in_chromium_equals_python(bundle, batches, site, precision, capsys):
    task = task_for(bundle, precision, batches)
    chromium = tool(os.environ.get("CHROMIUM", "chromium"))
    answer = run("chromium.mjs", chromium, f"{site}/tests/", f"../bundle/{precision}", task=task)
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


def assert_near(answer, task, bundle, precision, capsys):
    """Compare all outputs with Python's, and say how near they are."""
    versions = ", ".join(" ".join(item) for item in {**answer["versions"], "python": onnxruntime.__version__}.items())
    python, exact = in_python(task, bundle / precision), in_python(task, bundle / "fp32")
    flat = by_output(answer["values"])
    assert flat.keys() == python.keys()
    theirs = {key: flat[key].reshape(array.shape) for key, array in python.items()}
    for kind, same in SAME.items():
        rows = [key for key in python if key[-1].startswith(kind)]
        apart = np.concatenate([np.abs(theirs[key] - python[key]).max(axis=1) for key in rows])
        near, truth, python_truth = (
            cosines(theirs, python, rows),
            cosines(theirs, exact, rows),
            cosines(python, exact, rows),
        )
        with capsys.disabled():
            print(
                f"\n{versions}: {precision} {kind}, {len(apart)} rows, max |difference| {apart.max():.1e}, "
                f"same {np.mean(apart < same):.1%}, cosine ≥ {near.min():.4f}; "
                f"mean cosine to fp32 {truth.mean():.4f}, Python's {python_truth.mean():.4f}",
                end="",
            )
        if precision == "fp32":
            assert apart.max() < same
        else:
            assert np.mean(apart < same) > INT8_SAME
            assert near.min() > INT8_COSINE
            assert truth.mean() == pytest.approx(python_truth.mean(), abs=INT8_MEAN)


def by_output(values):
    """Return the flat values of an answer by (graph, batch, output)."""
    return {
        (graph, batch, name): np.array(flat, dtype=np.float32)
        for graph, batches in values.items()
        for batch, outputs in enumerate(batches)
        for name, flat in outputs.items()
    }


def in_python(task, folder):
    """Return the outputs, each [batch, columns], by (graph, batch, output) with onnxruntime for Python."""
    found = {}
    for graph in task["graphs"]:
        session = open_session(folder / graph, threads=1)
        inputs, outputs = ([node.name for node in nodes] for nodes in (session.get_inputs(), session.get_outputs()))
        for batch, texts in enumerate(task["batches"]):
            arrays = session.run(outputs, pad(texts, task["padId"], inputs))
            found |= {(graph, batch, name): array for name, array in zip(outputs, arrays, strict=True)}
    return found


def cosines(some, others, keys):
    """Return the cosine of every row of `others` to the same row of `some`."""
    pairs = [(some[key], others[key]) for key in keys]
    return np.concatenate([(a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1) for a, b in pairs])
