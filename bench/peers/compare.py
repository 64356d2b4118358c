"""Our encoder beside its peers, on the same texts, threads and machine, in turn in one run.

    python bench/peers/compare.py [--folder quickstart] [--dim 64] [--rounds 30] [--json]

Each peer lives in a process of its own, so that its memory is its own. A round asks every peer for one pass
over the same texts, one at a time; the ratio of two peers is taken within a round, where the machine was the
same for both, and its median and 95% interval over the rounds are printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from mrl_edge.bench.measure.intervals import in_words
from mrl_edge.bench.measure.turns import Pass, ratio_of, take_turns
from mrl_edge.bench.processes import Living
from mrl_edge.bench.serving import serve

from mrl_edge.datasets import Columns, read_table

Encode = Callable[[str], np.ndarray]  # a text → its embedding [dim]

_TEXTS = 64


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


def compare(folder: Path, dim: int, rounds: int) -> list[dict[str, Any]]:
    """Run the rounds and return one row a peer, with its ratios to ours."""
    last: dict[str, dict[str, Any]] = {}

    def asking(peer: Living) -> Pass:
        def one_pass() -> float:
            last[peer.name] = peer.ask("pass")
            return float(np.median(last[peer.name]["ms"]))

        return one_pass

    with ExitStack() as stack:
        passes = []
        for name in PEERS:
            command = (__file__, "--worker", name, "--folder", str(folder), "--dim", str(dim))
            passes.append(asking(stack.enter_context(Living(name, command))))
        medians = take_turns(passes, rounds)
    rows = []
    ours = last[next(iter(PEERS))]
    for number, name in enumerate(PEERS):
        found = ratio_of(medians[:, number], medians[:, 0])
        rows.append(
            {
                "peer": name,
                "p50_ms": float(np.median(medians[:, number])),
                "time_ratio": found.ratio,
                "time_ratio_ci95": found.ci95,
                "rss_mb": last[name]["rss_mb"],
                "rss_ratio": last[name]["rss_mb"] / ours["rss_mb"],
                "cosine_to_ours": float(np.dot(last[name]["vector"], ours["vector"])),
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
        encode = PEERS[options.worker](options.folder, options.dim)
        serve(lambda number: encode(texts[number]), len(texts))
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
        print(
            f"{row['peer']:46}{row['p50_ms']:8.2f}{row['time_ratio']:8.2f}{in_words(row['time_ratio_ci95']):>16}"
            f"{row['rss_mb']:8.0f}{row['rss_ratio']:7.2f}{row['cosine_to_ours']:8.4f}"
        )
    broken = shortfalls(rows)
    print(
        "\n" + ("\n".join(broken) or "every promise is kept: " + ", ".join(f"{f} ≥ {n} ({p})" for p, f, n in PROMISES))
    )
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
