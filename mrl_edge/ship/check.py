"""Whether a shipped folder answers as the bundle does, where only its requirements are installed."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrl_edge.errors import BundleError
from mrl_edge.progress import Report

_TOLERANCE = 1e-5  # of cosines: blocks of columns are added in another order
_RUNS = 5  # whose median is the time that a user sees


@dataclass(frozen=True)
class Expected:
    """What the bundle answers to a text: numbers of documents, classes or columns, and their scores, best first."""

    text: str
    rows: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Check:
    """Where the folder answered as the bundle does, and how long one text takes from the start of a process."""

    texts: int
    difference: float  # of two scores
    fresh: bool  # in an environment of its requirements alone
    where: str  # if not, why
    first_ms: float  # of all texts, by the caller, when nothing was compiled
    caller_ms: float  # of one text, the median of further runs, by the caller's clock
    printed_ms: float  # the same as the example prints it
    cpu_ms: float  # the same in processor time, which other work on the machine moves little


@dataclass(frozen=True)
class _Seen:
    """One run of the example: how long, by the clock and the processor, and its answers."""

    ms: float
    cpu_ms: float
    answers: list[dict[str, Any]]


def check(folder: Path, expected: Sequence[Expected], fresh: bool, report: Report) -> Check:
    """Run the folder's example on texts and compare; `fresh` in an environment that has its requirements alone.

    Where the packages cannot be had this Python runs it, and the result says so. Raises `BundleError` for an answer
    that is not the bundle's.
    """
    with tempfile.TemporaryDirectory(prefix="mrl-edge-ship-") as work:
        python, where = Path(sys.executable), "not in a fresh environment, as was asked"
        if fresh:
            report("installing what the folder requires", 0, 1)
            made = _environment(folder, Path(work, "env"))
            fresh = isinstance(made, Path)
            python, where = (made, "") if isinstance(made, Path) else (python, made)
            report("installing what the folder requires", 1, 1)
        cache = Path(work, "compiled")
        report("comparing answers with the bundle's", 0, len(expected))
        first = _run(python, folder, [each.text for each in expected], cache)
        difference = max(_compared(each, answer["rows"]) for each, answer in zip(expected, first.answers, strict=True))
        report("comparing answers with the bundle's", len(expected), len(expected))
        runs = [_run(python, folder, [expected[0].text], cache) for _ in range(_RUNS if fresh else 1)]
    return Check(
        texts=len(expected),
        difference=difference,
        where=where,
        fresh=fresh,
        first_ms=first.ms,
        caller_ms=statistics.median(seen.ms for seen in runs),
        cpu_ms=statistics.median(seen.cpu_ms for seen in runs),
        printed_ms=statistics.median(float(seen.answers[0]["ms_since_start"]) for seen in runs),
    )


def _environment(folder: Path, path: Path) -> Path | str:
    """Make an environment with the folder's requirements; return its Python, or why it cannot be made."""
    venv.create(path, with_pip=False)
    python = path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    command += ["install", "--quiet", "--requirement", str(folder / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return python
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    said = [line for line in lines if line.lower().lstrip().startswith("error")]
    return f"not in a fresh environment, as pip cannot install its requirements: {(said or lines or ['no message'])[0]}"


def _run(python: Path, folder: Path, texts: Sequence[str], cache: Path) -> _Seen:
    """Run the example as a user does."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    own["PYTHONPYCACHEPREFIX"] = str(cache)  # so that nothing but what is listed stands in the folder
    command = [str(python), str(folder / "example.py"), "--json", "--", *texts]
    before, started = _children_ms(), time.perf_counter()
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    ms, cpu_ms = 1000 * (time.perf_counter() - started), _children_ms() - before
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BundleError(f"the shipped example fails: {last}")
    return _Seen(ms, cpu_ms, [json.loads(line) for line in done.stdout.splitlines()])


def _children_ms() -> float:
    times = os.times()
    return 1000 * (times.children_user + times.children_system)


def _compared(expected: Expected, rows: object) -> float:
    """Return the largest difference of scores; ids may change places only where their scores are equal."""
    found = [(int(number), float(score)) for number, score, *_ in rows] if isinstance(rows, list) else []
    if len(found) != len(expected.rows):
        raise BundleError(
            f"the shipped folder gives {len(found)} answers to {expected.text!r}, not {len(expected.rows)}"
        )
    differences = [abs(ours - theirs) for (_, ours), (_, theirs) in zip(found, expected.rows, strict=True)]
    scores = dict(expected.rows)
    last = expected.rows[-1][1] if expected.rows else 0.0
    moved = [abs(score - scores.get(number, last)) for number, score in found]
    largest = max([*differences, *moved], default=0.0)
    if not largest <= _TOLERANCE:
        raise BundleError(f"the shipped folder does not answer {expected.text!r} as the bundle does: {largest:.1e} off")
    return largest
