"""Growing Annoy's forests: in their file, not in memory, and so that Ctrl-C stops them.

Annoy grows its trees in C++, where Python does not hear of Ctrl-C: minutes at a million rows. What takes longer than
a moment is therefore grown by a process of its own, `python -m mrl_edge.index.forest ORDER`, which says on its
standard error how far it is, and which can be killed.
"""

from __future__ import annotations

import errno
import os
import re
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
    where the disk is full, and `UnsupportedError` where the process that grows it is killed.
    """
    if metric not in METRICS:
        raise UsageError(f"Annoy has no metric {metric}: there is {', '.join(METRICS)}")
    try:
        if vectors.shape[0] * n_trees <= AT_ONCE:
            _grow(vectors, n_trees, path, metric)
        else:
            _grow_apart(vectors, n_trees, path, metric, report)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


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
        [sys.executable, "-m", "mrl_edge.index.forest", msgspec.json.encode(order).decode()],
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
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
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


if __name__ == "__main__":
    main()
