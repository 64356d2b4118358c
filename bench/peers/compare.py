"""Our encoder beside its peers, on the same texts, threads and machine, in turn in one run.

    python bench/peers/compare.py [--folder quickstart] [--dim 64] [--rounds 30] [--json]

Each peer lives in a process of its own, so that its memory is its own. A round asks every peer for one pass
over the same texts, one at a time; the ratio of two peers is taken within a round, where the machine was the
same for both, and its median and 95% interval over the rounds are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mrl_edge.bench.measure.intervals import median_interval
from mrl_edge.bench.memory import read_memory

from mrl_edge.datasets import Columns, read_table

Encode = Callable[[str], np.ndarray]  # a text → its embedding [dim]

_TEXTS = 64
_WARM_PASSES = 3


def ours(folder: Path, dim: int) -> Encode:
    """mrl_edge.load, int8."""
    import mrl_edge

    encoder = mrl_edge.load(folder / "bundle", dim=dim, precision="int8", threads=1)
    return lambda text: encoder.encode([text])[0]


def by_hand(folder: Path, dim: int) -> Encode:
    """Tokenizers and onnxruntime on the same int8 graph, with nothing between."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "bundle" / "tokenizer.json"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "bundle" / "int8" / f"d{dim}.onnx"), options)

    def encode(text: str) -> np.ndarray:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return session.run(["embedding"], inputs)[0][0]

    return encode


def sentence_transformers_torch(folder: Path, dim: int) -> Encode:
    """sentence-transformers with torch on the same trained model folder."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    model = SentenceTransformer(str(folder / "model"), truncate_dim=dim, device="cpu")
    return lambda text: model.encode([text], normalize_embeddings=True, show_progress_bar=False)[0]


PEERS = {
    "mrl-edge int8": ours,
    "tokenizers + onnxruntime by hand, same graph": by_hand,
    "sentence-transformers (torch, fp32)": sentence_transformers_torch,
}

# Peer, figure, and the least that it must be of ours: what `make peers` fails on.
PROMISES = (
    ("sentence-transformers (torch, fp32)", "time_ratio", 6.0),
    ("sentence-transformers (torch, fp32)", "rss_ratio", 4.0),
    ("tokenizers + onnxruntime by hand, same graph", "time_ratio", 1 / 1.1),
)


class Peer:
    """A peer's process: it answers each line on its standard input with the times of one pass."""

    def __init__(self, name: str, folder: Path, dim: int) -> None:
        self.name = name
        command = [sys.executable, __file__, "--worker", name, "--folder", str(folder), "--dim", str(dim)]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **limits}
        )

    def one_pass(self) -> dict[str, list[float]]:
        """Return `ms` of each text, the process's `rss_mb` and the first text's `vector`."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a peer has pipes")
        self._process.stdin.write("pass\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended with exit code {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def worker(name: str, folder: Path, dim: int, texts: list[str]) -> None:
    """Answer passes until the standard input closes."""
    encode = PEERS[name](folder, dim)
    for _ in sys.stdin:
        times = []
        for text in texts:
            started = time.perf_counter_ns()
            vector = encode(text)
            times.append((time.perf_counter_ns() - started) / 1e6)
        answer = {"ms": times, "rss_mb": [read_memory().rss / 1e6], "vector": [float(x) for x in vector]}
        print(json.dumps(answer), flush=True)


def compare(folder: Path, dim: int, rounds: int) -> list[dict[str, Any]]:
    """Run the rounds and return one row a peer, with its ratios to ours."""
    peers = [Peer(name, folder, dim) for name in PEERS]
    try:
        for _ in range(_WARM_PASSES):
            last = [peer.one_pass() for peer in peers]
        medians = np.empty((rounds, len(peers)))
        for number in range(rounds):
            last = [peer.one_pass() for peer in peers]
            medians[number] = [np.median(answer["ms"]) for answer in last]
    finally:
        for peer in peers:
            peer.close()
    rows = []
    for number, peer in enumerate(peers):
        ratios = medians[:, number] / medians[:, 0]
        low, high = median_interval(ratios)
        rows.append(
            {
                "peer": peer.name,
                "p50_ms": float(np.median(medians[:, number])),
                "time_ratio": float(np.median(ratios)),
                "time_ratio_ci95": [low, high],
                "rss_mb": last[number]["rss_mb"][0],
                "rss_ratio": last[number]["rss_mb"][0] / last[0]["rss_mb"][0],
                "cosine_to_ours": float(np.dot(last[number]["vector"], last[0]["vector"])),
            }
        )
    return rows


def shortfalls(rows: list[dict[str, Any]]) -> list[str]:
    """Return which of the promises of `PROMISES` the ratios do not keep."""
    by_peer = {row["peer"]: row for row in rows}
    return [
        f"{figure} of {peer} is {by_peer[peer][figure]:.2f}, promised is at least {least}"
        for peer, figure, least in PROMISES
        if by_peer[peer][figure] < least
    ]


def main() -> None:
    """Print the table, or JSON; exit code 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart ran")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    queries = read_table("builtin:wordnet_nouns/dev", Columns(query="gloss")).roles["query"]
    texts = queries[:: len(queries) // _TEXTS][:_TEXTS]
    if options.worker:
        worker(options.worker, options.folder, options.dim, texts)
        return
    if not (options.folder / "bundle" / "bundle.json").is_file():
        sys.exit(f"{options.folder} holds no bundle: run `make quickstart` first")
    rows = compare(options.folder, options.dim, options.rounds)
    if options.json:
        print(json.dumps(rows, indent=2))
        sys.exit(bool(shortfalls(rows)))
    print(f"{_TEXTS} glosses, one at a time, 1 thread, dimension {options.dim}; ratios are to the first line\n")
    print(f"{'':46}{'p50 ms':>8}{'ratio':>8}{'95% interval':>16}{'RSS MB':>8}{'ratio':>7}{'cosine':>8}")
    for row in rows:
        low, high = row["time_ratio_ci95"]
        print(
            f"{row['peer']:46}{row['p50_ms']:8.2f}{row['time_ratio']:8.2f}{f'{low:.2f} to {high:.2f}':>16}"
            f"{row['rss_mb']:8.0f}{row['rss_ratio']:7.2f}{row['cosine_to_ours']:8.4f}"
        )
    broken = shortfalls(rows)
    print(
        "\n" + ("\n".join(broken) or "every promise is kept: " + ", ".join(f"{f} ≥ {n} ({p})" for p, f, n in PROMISES))
    )
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
