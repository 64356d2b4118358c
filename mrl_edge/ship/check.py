"""Whether every level of a shipped folder answers as the bundle does, where only its requirements are installed."""

from __future__ import annotations

import json
import math
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

from mrl_edge.errors import BundleError, UnsupportedError
from mrl_edge.progress import Report
from mrl_edge.ship.reference import Expected, Reference

_TOLERANCE = 1e-5  # of cosines: blocks of columns are added in another order
_LEAST_RECALL = 0.5  # of an exact scan: a picked index may miss some, rows of other documents miss nearly all
_RUNS = 5  # whose median is the time that a user sees
_PIP_S, _EXAMPLE_S = 1800, 600  # and then something hangs


@dataclass(frozen=True)
class LevelCheck:
    """What one level's answers were, and the memory of the process that gave them."""

    level: str
    difference: float  # of two scores
    recall_at_10: float | None  # `Reference.recall_at_10`
    peak_rss_bytes: int | None  # none where the system does not say


@dataclass(frozen=True)
class Check:
    """Where the folder answered as the bundle does, and how long one text takes from the start of a process."""

    texts: int
    fresh: bool  # in an environment of its requirements alone
    levels: tuple[LevelCheck, ...]
    first_ms: float  # of all texts, by the caller, when nothing was compiled
    caller_ms: float  # of one text, the median of further runs, by the caller's clock
    printed_ms: float  # the same as the example prints it
    cpu_ms: float  # the same in processor time, which other work on the machine moves little

    @property
    def difference(self) -> float:
        """The largest of any level."""
        return max(level.difference for level in self.levels)


@dataclass(frozen=True)
class _Seen:
    """One run of the example: how long, by the clock and the processor, and its answers."""

    ms: float
    cpu_ms: float
    answers: list[dict[str, Any]]


def check(folder: Path, references: Sequence[Reference], fresh: bool, report: Report) -> Check:
    """Run the folder's example on texts at every level and compare; `fresh` where its requirements alone are installed.

    Raises `BundleError` for an answer that is not the bundle's, `UnsupportedError` where pip cannot install.
    """
    with tempfile.TemporaryDirectory(prefix="mrl-edge-ship-") as name:
        work, python = Path(name), Path(sys.executable)
        if fresh:
            report("installing what the folder requires", 0, 1)
            python = _environment(folder, work / "env")
            report("installing what the folder requires", 1, 1)
        texts = [each.text for each in references[0].expected]
        levels, first_ms = [], 0.0
        for number, reference in enumerate(references):
            report("comparing answers with the bundle's", number, len(references))
            seen = _run(python, folder, texts, work, reference.level)
            first_ms = first_ms or seen.ms
            levels.append(_level(reference, seen))
        report("comparing answers with the bundle's", len(references), len(references))
        runs = [_run(python, folder, texts[:1], work, None) for _ in range(_RUNS if fresh else 1)]
    return Check(
        texts=len(texts),
        fresh=fresh,
        levels=tuple(levels),
        first_ms=first_ms,
        caller_ms=statistics.median(seen.ms for seen in runs),
        cpu_ms=statistics.median(seen.cpu_ms for seen in runs),
        printed_ms=statistics.median(float(seen.answers[0]["ms_since_start"]) for seen in runs),
    )


def _environment(folder: Path, path: Path) -> Path:
    """Make an environment with the folder's requirements and return its Python."""
    venv.create(path, with_pip=False)
    python = path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    # Not compiled: `_run` has a place of its own for what Python compiles, where it would not be found.
    command += ["install", "--quiet", "--no-input", "--no-compile", "--requirement", str(folder / "requirements.txt")]
    instead = "the check can be made with this Python instead: --no-verify"
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PIP_S)
    except subprocess.TimeoutExpired:
        raise UnsupportedError(f"pip did not install what the folder requires in {_PIP_S} s; {instead}") from None
    if done.returncode == 0:
        return python
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    said = [line for line in lines if line.lower().lstrip().startswith("error")]
    message = (said or lines or ["no message"])[0]
    raise UnsupportedError(f"pip cannot install what the folder requires: {message}; {instead}")


def _run(python: Path, folder: Path, texts: Sequence[str], work: Path, level: str | None) -> _Seen:
    """Run the example as a user does."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    own["PYTHONPYCACHEPREFIX"] = str(work / "compiled")  # so that nothing but what is listed stands in the folder
    own["XDG_CACHE_HOME"] = str(work / "cache")  # prepacked weights of a folder that will be elsewhere
    command = [str(python), str(folder / "example.py"), "--json", "-"]
    command += ["--level", level] if level else []
    before, started = _children_ms(), time.perf_counter()
    try:
        done = subprocess.run(
            command, env=own, input=json.dumps(texts), capture_output=True, text=True, check=False, timeout=_EXAMPLE_S
        )
    except subprocess.TimeoutExpired:
        raise BundleError(f"the shipped example did not answer {len(texts)} texts in {_EXAMPLE_S} s") from None
    ms, cpu_ms = 1000 * (time.perf_counter() - started), _children_ms() - before
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BundleError(f"the shipped example fails: {last}")
    return _Seen(ms, cpu_ms, [json.loads(line) for line in done.stdout.splitlines()])


def _children_ms() -> float:
    times = os.times()
    return 1000 * (times.children_user + times.children_system)


def _level(reference: Reference, seen: _Seen) -> LevelCheck:
    """Compare one level's answers; what they cannot be is a `BundleError`."""
    name, expected = reference.level, reference.expected
    if [answer["level"] for answer in seen.answers] != [name] * len(expected):
        raise BundleError(f"the shipped folder does not answer {len(expected)} texts at its level {name}")
    differences, found = [], []
    for each, answer in zip(expected, seen.answers, strict=True):
        numbers = [int(row[0]) for row in answer["rows"]]
        differences.append(_compared(name, each, [(int(row[0]), float(row[1])) for row in answer["rows"]]))
        if [row[2] for row in answer["rows"]] != reference.texts_of(numbers):
            raise BundleError(f"level {name} of the shipped folder gives other texts to {each.text!r} than the bundle")
        found.append(numbers)
    recall = reference.recall_at_10(found)
    if recall is not None and recall < _LEAST_RECALL:
        raise BundleError(
            f"level {name} finds {recall:.0%} of what an exact scan of freshly embedded documents does: the bundle's "
            "index is of other documents, or of another encoder; run mrl-edge index again"
        )
    return LevelCheck(name, max(differences), recall, seen.answers[-1]["peak_rss_bytes"])


def _compared(level: str, expected: Expected, found: Sequence[tuple[int, float]]) -> float:
    """Return the largest difference of scores; ids may change places only where their scores are equal."""
    text = expected.text
    if len(found) != len(expected.rows) or len({number for number, _ in found}) != len(found):
        different = len({number for number, _ in found})
        raise BundleError(f"level {level} gives {different} answers to {text!r}, not {len(expected.rows)}")
    differences = [abs(ours - theirs) for (_, ours), (_, theirs) in zip(found, expected.rows, strict=True)]
    scores = dict(expected.rows)
    last = expected.rows[-1][1] if expected.rows else 0.0
    moved = [abs(score - scores.get(number, last)) for number, score in found]
    largest = max([*differences, *moved], default=0.0)
    finite = all(math.isfinite(score) for _, score in (*found, *expected.rows))  # max() may pass over what is no number
    if not finite or not largest <= _TOLERANCE:
        raise BundleError(f"level {level} does not answer {text!r} as the bundle does: {largest:.1e} off")
    return largest
