"""The entries of `ladder.py` timed in turn, and their vectors compared: a row each, and differences text by text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ladder_entries import PEERS, peer_graph, retrieval
from mrl_edge.bench.measure.intervals import median_interval
from scipy.stats import bootstrap

from mrl_edge.bundle import open_bundle
from mrl_edge.metrics import (
    exact_top_k,
    mean_and_min_cosine,
    paired_cosines,
    retrieval_quality,
)
from mrl_edge.nesting import normalise

DIMS = (64, 384)
_QUERIES = 1000
_WARM_PASSES = 3
_WORKER = Path(__file__).with_name("ladder_worker.py")


class Entry:
    """The process of one entry; it answers a line with a line."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, str(_WORKER), name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **limits},
        )
        self.load_ms = self.ask("first")["load_ms"]
        self.cold_ms = (time.perf_counter() - started) * 1e3

    def ask(self, what: str) -> dict[str, Any]:
        """Send one request and return its answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("an entry has pipes")
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended with exit code {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def measure(folder: Path, names: tuple[str, ...], rounds: int, vectors: dict[str, dict[str, np.ndarray]]) -> list[dict]:
    """Time the entries in turn, the first being what the ratios are to; return one row an entry."""
    entries = [Entry(name, folder) for name in names]
    try:
        for _ in range(_WARM_PASSES):
            last = [entry.ask("pass") for entry in entries]
        medians = np.empty((rounds, len(entries)))
        for number in range(rounds):
            last = [entry.ask("pass") for entry in entries]
            medians[number] = [np.median(answer["ms"]) for answer in last]
            print(f"  round {number + 1} of {rounds}", end="\r", file=sys.stderr)
        for entry in entries:
            print(f"  vectors of {entry.name:40}", end="\r", file=sys.stderr)
            place = folder / "ladder" / "vectors.npz"
            entry.ask(f"vectors {place}")
            vectors[entry.name] = dict(np.load(place))
            place.unlink()
    finally:
        for entry in entries:
            entry.close()
    return [
        _row(folder, entry, medians[:, number], medians[:, 0], last[number]["rss_mb"], vectors)
        for number, entry in enumerate(entries)
    ]


def _row(
    folder: Path,
    entry: Entry,
    medians: np.ndarray,
    first: np.ndarray,
    rss_mb: float,
    vectors: dict[str, dict[str, np.ndarray]],
) -> dict[str, Any]:
    ours, fp32 = vectors[entry.name], vectors["fp32"]
    mean, least = mean_and_min_cosine(ours["glosses"], fp32["glosses"])
    ratios = first / medians
    recall = {dim: _recall(ours, dim) for dim in DIMS}
    return {
        "name": entry.name,
        "disk_mb": _disk_mb(folder, entry.name),
        "load_ms": entry.load_ms,
        "cold_start_ms": entry.cold_ms,
        "rss_mb": rss_mb,
        "p50_ms": float(np.median(medians)),
        "faster": float(np.median(ratios)),
        "faster_ci95": median_interval(ratios),
        "cosine_mean": mean,
        "cosine_min": least,
        **{f"recall_at_10_d{dim}": value for dim, value in recall.items()},
        **{f"kept_d{dim}": value / _recall(fp32, dim) for dim, value in recall.items()},
    }


def _recall(vectors: dict[str, np.ndarray], dim: int) -> float:
    return float(_hits(vectors, dim).mean())


def _hits(vectors: dict[str, np.ndarray], dim: int) -> np.ndarray:
    """Return the recall@10 of each query, [queries]."""
    task = retrieval()
    queries, documents = (normalise(vectors[part][:, :dim]) for part in ("glosses", "documents"))
    found = exact_top_k(queries[:_QUERIES], documents, 10)
    return np.array(
        [retrieval_quality([f], [r])["recall_at_10"] for f, r in zip(found, task.relevant[:_QUERIES], strict=True)]
    )


def differences(vectors: dict[str, dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    """Return by how much our int8 graph is more faithful than each peer's, text by text, with 95% intervals."""
    fp32, ours = vectors["fp32"], vectors["int8 graph"]
    rows = []
    for name in PEERS:
        theirs = vectors[name]
        own, other = (paired_cosines(each["glosses"], fp32["glosses"]) for each in (ours, theirs))
        pairs = {"cosine": own - other}
        pairs |= {f"recall@10, d{dim}": _hits(ours, dim) - _hits(theirs, dim) for dim in DIMS}
        for what, values in pairs.items():
            interval = bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
            row = {"peer": name, "what": what, "difference": float(values.mean()), "ci95": tuple(map(float, interval))}
            rows.append(
                {**row, "texts": len(values), "better": int((values > 0).sum()), "worse": int((values < 0).sum())}
            )
    return rows


def _disk_mb(folder: Path, name: str) -> float:
    """Return the megabytes of weights and one graph; the tokenizer (0.5 MB) is every entry's alike."""
    if name in PEERS:
        return peer_graph(folder, name).stat().st_size / 1e6
    bundle = open_bundle(folder / "ladder" / "bundle")
    variant = bundle.variant("int8" if name == "int8 graph" else name, None)
    files = (variant.weights, bundle.graph(variant, 384).file)
    return sum(bundle.manifest.files[file].bytes for file in files) / 1e6
