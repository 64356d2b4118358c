"""Growing Annoy's forests: in their file, not in memory, and so that Ctrl-C stops them.

Annoy grows its trees in C++, where Python does not hear of Ctrl-C: minutes at a million rows. What takes longer than
a moment is therefore grown by a process of its own, `main` here, which says on its standard error how far it is, and
which can be killed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from mrl_edge.description import VectorsInfo
from mrl_edge.errors import UnsupportedError, UsageError
from mrl_edge.index.annoy import METRIC, METRICS, Metric, new_forest
from mrl_edge.index.vectors import StoredPrefix, VectorStore
from mrl_edge.progress import Report, silent

AT_ONCE: Final = 400_000  # rows · trees that are grown in this process: half a second, as long as starting another
_SEED = 1
_TREE_BYTES = 24  # of a row in a tree: 9 to 18 were measured, at 2 to 384 dimensions with each metric
# Not `-m`, which looks for modules in the working directory first; Python 3.10 has no -P.
_PROGRAM = "import sys; sys.path[:] = [p for p in sys.path if p]; from mrl_edge.index.forest import main; main()"
_STEP = re.compile(r"(row|pass) (\d+)")  # `pass` is Annoy's own word for a tree


class _Order(msgspec.Struct, frozen=True):
    """What the process is to grow: a forest over the rows of a store's files."""

    info: VectorsInfo
    vectors: str
    lengths: str
    dim: int
    n_trees: int
    metric: Metric
    path: str


def build_annoy(
    vectors: StoredPrefix, n_trees: int, path: Path, metric: Metric = METRIC, report: Report = silent
) -> None:
    """Write a forest over all rows to `path`; one thread and a fixed seed: always the same.

    Nothing is left there by an error or Ctrl-C. Raises `UsageError` for a metric that Annoy does not have, `OSError`
    where the disk has no room, and `UnsupportedError` where the process that grows it is killed.
    """
    if metric not in METRICS:
        raise UsageError(f"Annoy has no metric {metric}: there is {', '.join(METRICS)}")
    try:
        if vectors.shape[0] * n_trees <= AT_ONCE:
            _check_room(vectors, n_trees, path)
            _grow(vectors, n_trees, path, metric)
        else:
            _grow_apart(vectors, n_trees, path, metric, report)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check_room(vectors: StoredPrefix, n_trees: int, path: Path) -> None:
    """Raise where the file may not fit: a page of a mapped file for which there is no room ends this process."""
    rows, dim = vectors.shape
    if shutil.disk_usage(path.parent).free < rows * (4 * dim + 64 + _TREE_BYTES * n_trees):
        raise _no_room(path)


def _no_room(path: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _grow(vectors: StoredPrefix, n_trees: int, path: Path, metric: Metric, verbose: bool = False) -> None:
    forest = new_forest(vectors.dim, metric)
    forest.set_seed(_SEED)
    forest.on_disk_build(str(path))
    for first, piece in vectors.store.pieces(vectors.dim):
        if verbose:
            sys.stderr.write(f"row {first}\n")
        rows = piece > 0 if metric == "hamming" else piece
        for number, row in enumerate(rows.tolist(), first):  # a list, which Annoy reads sooner than a row of numpy's
            forest.add_item(number, row)
    forest.verbose(verbose)
    forest.build(n_trees, 1)
    forest.unload()


def _grow_apart(vectors: StoredPrefix, n_trees: int, path: Path, metric: Metric, report: Report) -> None:
    """Let another process do it, and kill it where this one is interrupted."""
    store, dim = vectors.store, vectors.dim
    vectors_file, lengths_file = map(str, store.files)
    order = _Order(store.info, vectors_file, lengths_file, dim, n_trees, metric, str(path))
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, msgspec.json.encode(order).decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends the other below
    )
    stage = f"annoy of {dim}"
    try:
        last = _followed(process, stage, {"row": store.n, "pass": n_trees}, report)
        code = process.wait()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if code == -signal.SIGBUS:  # a page of the mapped file for which the disk has no room
        raise _no_room(path)
    if code:
        why = signal.Signals(-code).name if code < 0 else last
        raise UnsupportedError(f"annoy of dimension {dim} with {n_trees} trees could not be built: {why}")
    report(f"{stage}: trees", n_trees, n_trees)


def _followed(process: subprocess.Popen[str], stage: str, totals: dict[str, int], report: Report) -> str:
    """Report each step that the process tells, until it ends; return its last line."""
    stages = {"row": f"{stage}: rows", "pass": f"{stage}: trees"}
    last = ""
    for line in process.stderr or ():
        last = line.strip() or last
        step = _STEP.match(line)
        if step:
            if step[1] == "pass" and step[2] == "0":
                report(stages["row"], totals["row"], totals["row"])
            report(stages[step[1]], int(step[2]), totals[step[1]])
    return last


def main() -> None:
    """Grow what the argument orders."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who ordered it is gone: the next word ends this process
    order = msgspec.json.decode(sys.argv[1], type=_Order)
    store = VectorStore(order.info, Path(order.vectors), Path(order.lengths))
    _grow(StoredPrefix(store, order.dim), order.n_trees, Path(order.path), order.metric, verbose=True)
