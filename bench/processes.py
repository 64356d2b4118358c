"""Fresh processes that measure: one that does a job and ends, and one that lives and answers line by line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from mrl_edge.bench import jobs

from mrl_edge.errors import ResultsError

CACHE = "cache"
Answer = TypeVar(
    "Answer",
    jobs.EmbedResult,
    jobs.IndexResult,
    jobs.FirstResult,
    jobs.MeasureResult,
    jobs.CountResult,
    jobs.CeilingsResult,
    jobs.VectorsResult,
)


def run_job(
    job: jobs.Job,
    kind: type[Answer],
    work: Path,
    threads: int,
    within: Callable[[list[str]], list[str]] = list,
    cache: str = CACHE,
) -> Answer | jobs.Failure:
    """Run one job in a fresh process and return its answer; a killed or crashed process is a `Failure`.

    `within` makes of its command one that runs it under limits, in the same process; `cache` is a folder of `work`.
    """
    question, reply = work / "job.json", work / "answer.json"
    reply.unlink(missing_ok=True)
    jobs.write(question, job)
    spawned = str(time.monotonic_ns())
    process = subprocess.Popen(
        within([sys.executable, "-m", "mrl_edge.bench.child", str(question), str(reply), spawned]),
        env={**environment(threads), "XDG_CACHE_HOME": str(work / cache)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches the parent alone, which ends the child below
    )
    try:
        _, errors = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode == -signal.SIGKILL:
        return jobs.Failure("out_of_memory", "the kernel killed the process (SIGKILL)")
    if process.returncode != 0 or not reply.is_file():
        return jobs.Failure(
            "failed", f"exit code {process.returncode}: {_last_line(errors.decode('utf-8', 'replace'))}"
        )
    return msgspec.json.decode(reply.read_bytes(), type=kind | jobs.Failure)


def cached(work: Path, cache: str = CACHE) -> list[Path]:
    """Return the files that jobs of a work folder have kept in their cache, which is there and not the user's."""
    return [path for path in sorted((work / cache).rglob("*")) if path.is_file()]


def clear_cache(work: Path) -> None:
    """Remove them."""
    shutil.rmtree(work / CACHE, ignore_errors=True)


class Living:
    """A process that answers each line on its standard input with a line of JSON; `with` ends it."""

    def __init__(
        self, name: str, command: Sequence[str], threads: int = 1, python: str | Path = sys.executable
    ) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (as long as the process lives)
        self._process = subprocess.Popen(
            [python, *command],
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )

    def ask(self, what: str) -> dict[str, Any]:
        """Send one line and return the answer; `ResultsError` when the process has ended."""
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("a living process has pipes")
        try:
            self._process.stdin.write(what + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended: there is no answer below either
        answer = self._process.stdout.readline()
        if not answer.endswith("\n"):  # it ended, perhaps amid a line
            code = self._process.wait()
            self._errors.seek(0)
            raise ResultsError(f"{self.name} ended with exit code {code}: {_last_line(self._errors.read())}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def __enter__(self) -> Living:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def environment(threads: int) -> dict[str, str]:
    """Return this environment, numpy's and the tokenizer's own threads held to what a configuration may use."""
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(limits, str(threads))}


def _last_line(errors: str) -> str:
    return (errors.strip().splitlines() or ["no message"])[-1]
