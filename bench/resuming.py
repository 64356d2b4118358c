"""One results file, one run at a time: what an interrupted run leaves, and what the next one takes up."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrl_edge.bench.results import SCHEMA_VERSION, BundleRef, Results, read_results
from mrl_edge.devices.local import describe

from mrl_edge.bundle import Bundle
from mrl_edge.errors import ResultsError


def work_folder(out: Path) -> Path:
    """Return where vectors and indexes lie while a results file is being made."""
    return out.absolute().parent / f".{out.name}.bench"


@contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Hold the work folder of a results file; it is removed when the sweep is complete, and kept for a resumption.

    Raises `ResultsError` when another process measures into the same file.
    """
    folder = work_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ResultsError(f"another mrl-edge bench writes {out}: wait for it, or choose another --out") from None
        try:
            yield
        except BaseException:
            if [path.name for path in folder.iterdir()] == ["lock"]:  # nothing was done that could be continued
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def discard(out: Path) -> None:
    """Remove a results file and what an interrupted run left beside it."""
    out.unlink(missing_ok=True)
    shutil.rmtree(work_folder(out), ignore_errors=True)


def resume(out: Path, bundle: Bundle, settings: dict[str, Any]) -> Results:
    """Return the results in `out`, or empty ones when there is no such file."""
    reference = BundleRef(bundle.manifest.name, bundle.identity(), bundle.manifest.training)
    fresh = Results(SCHEMA_VERSION, reference, describe(), settings, ())
    if not out.exists():
        return fresh
    there = read_results(out)
    for name, ours, theirs in (
        ("bundle", fresh.bundle.sha256, there.bundle.sha256),
        ("machine", (fresh.device.cpu, fresh.device.versions), (there.device.cpu, there.device.versions)),
        ("data or settings", fresh.settings, there.settings),
    ):
        if ours != theirs:
            raise ResultsError(f"{out} was measured with another {name}: choose another --out, or use --overwrite")
    return there
