"""The process of one entry of `ladder.py`: it answers a line with a line until its standard input closes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ladder_entries import PRECISIONS, Graph, Ours, texts, timed_texts
from mrl_edge.bench.memory import read_memory


def worker(name: str, folder: Path) -> None:
    """Answer requests until the standard input closes."""
    started = time.perf_counter()
    entry = Ours(folder, name) if name in PRECISIONS else Graph(folder, name)
    load_ms = (time.perf_counter() - started) * 1e3
    calls: list[Callable[[], object]] = []
    for line in sys.stdin:
        what, _, path = line.strip().partition(" ")
        answer: dict[str, Any] = {"load_ms": load_ms}
        if what == "first":
            entry.once("a small musical phrase")()
        elif what == "pass":
            calls = calls or [entry.once(text) for text in timed_texts()]
            answer = {"ms": [_ms(call) for call in calls], "rss_mb": read_memory().rss / 1e6}
        else:
            glosses, documents = texts()
            np.savez(path, glosses=entry.vectors(glosses), documents=entry.vectors(documents))
        print(json.dumps(answer), flush=True)


def _ms(call: Callable[[], object]) -> float:
    started = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - started) / 1e6


if __name__ == "__main__":
    worker(sys.argv[1], Path(sys.argv[2]))
