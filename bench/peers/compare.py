"""Our encoder beside other software, on the same model, texts, threads and machine, in turn in one run.

    python bench/peers/compare.py [--folder quickstart] [--dim 64] [--rounds 30] [--json]   (`make peers` installs all)

Each peer lives in a process of its own, with the Python of a virtual environment of its own. A round asks every one
for a pass over the same texts, one at a time; the ratio of two is taken within a round, where the machine was the
same for both, and its median and 95% interval over the rounds are printed. Peers of onnxruntime run the graphs that
sentence-transformers exports of the same trained model, int8 as it quantises for this processor.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from environments import ENVIRONMENTS, python_of
from mrl_edge.bench.measure.intervals import LEAST_PASSES, in_words
from mrl_edge.bench.measure.turns import Pass, ratio_of, take_turns
from mrl_edge.bench.processes import Living
from mrl_edge.devices.local import describe
from verdicts import held

from mrl_edge.bundle import open_bundle
from mrl_edge.cpu import features, target_of
from mrl_edge.datasets import Columns, read_table
from mrl_edge.errors import ResultsError
from mrl_edge.metrics import mean_and_min_cosine

_HERE = Path(__file__).parent
_TEXTS = 64
_EXPORTER = "sentence-transformers"  # the environment that exports the peers' graphs
_TARGETS = {"avx512-vnni": "avx512_vnni", "avx512": "avx512", "avx2": "avx2", "arm64": "arm64"}


@dataclass(frozen=True)
class Peer:
    """What is measured: `kind` as the worker calls it, in which virtual environment (None: ours)."""

    name: str
    kind: str
    precision: str
    environment: str | None


OURS = Peer("mrl-edge int8", "ours", "int8", None)
_OURS_FP32 = Peer("mrl-edge fp32", "ours", "fp32", None)
_TORCH = Peer("sentence-transformers torch fp32", "sentence-transformers torch", "fp32", _EXPORTER)
_BY_HAND = Peer("onnxruntime by hand, our int8", "by hand", "int8", "onnxruntime")
PEERS = (
    OURS,
    _OURS_FP32,
    _BY_HAND,
    Peer("onnxruntime by hand, our fp32", "by hand", "fp32", "onnxruntime"),
    _TORCH,
    Peer("sentence-transformers ONNX fp32", "sentence-transformers ONNX", "fp32", _EXPORTER),
    Peer("sentence-transformers ONNX int8", "sentence-transformers ONNX", "int8", _EXPORTER),
    Peer("optimum ORTModel fp32", "optimum", "fp32", _EXPORTER),
    Peer("optimum ORTModel int8", "optimum", "int8", _EXPORTER),
    Peer("fastembed fp32", "fastembed", "fp32", "fastembed"),
    Peer("fastembed int8", "fastembed", "int8", "fastembed"),
)

# Peer, figure, and the least that it must be: what `make peers` fails on.
PROMISES = (
    (_TORCH, "time_ratio", 6.0),
    (_TORCH, "rss_ratio", 4.0),
    (_BY_HAND, "time_ratio", 1 / 1.1),
)


def export(folder: Path, environments: Path) -> None:
    """Let the peers' own tools export the trained model into `folder/peers`; what fails there, fails there."""
    out, device = folder / "peers", describe()
    shutil.rmtree(out, ignore_errors=True)  # of an earlier model
    target = _TARGETS.get(target_of(device.arch, frozenset(features())), "avx2")
    if not (environments / _EXPORTER / "installed").is_file():
        return
    command = [environments / _EXPORTER / "bin" / "python", _HERE / "peer_export.py", folder / "model", out, target]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"the peers' graphs could not be exported: {told}", file=sys.stderr)


def compare(folder: Path, dim: int, rounds: int, environments: Path, peers: Sequence[Peer]) -> list[dict[str, Any]]:
    """Run the rounds and return one row a peer, with its ratios to ours; `failed` says why one has none.

    Ours in int8 and fp32 are among the peers: they are what times and vectors are compared with, and `ResultsError`
    says why one of them does not run. So it does for a peer that ends in the midst of the rounds.
    """
    texts = folder / "peers-texts.json"
    texts.write_text(json.dumps(_texts()), encoding="utf-8")
    failed: dict[str, str] = {}
    last: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        running: list[tuple[Peer, Living]] = []
        for peer in peers:
            command = (_HERE / "encode_worker.py", peer.kind, peer.precision, folder, dim, texts)
            try:
                python = _python(peer, environments)
                living = stack.enter_context(Living(peer.name, tuple(map(str, command)), python=python))
                last[peer.name] = living.ask("pass")
                running.append((peer, living))
            except ResultsError as error:
                if peer in (OURS, _OURS_FP32):
                    raise
                failed[peer.name] = str(error)
        medians = take_turns([_asking(living, last) for _, living in running], rounds)
    measured = {peer.name: medians[:, place] for place, (peer, _) in enumerate(running)}
    return [_row(peer, peers, measured, last, failed) for peer in peers]


def _asking(living: Living, last: dict[str, dict[str, Any]]) -> Pass:
    def one_pass() -> float:
        last[living.name] = living.ask("pass")
        return float(np.median(last[living.name]["ms"]))

    return one_pass


def _python(peer: Peer, environments: Path) -> Path:
    """Return the peer's interpreter; `ResultsError` with pip's last word where it could not be installed."""
    if peer.environment is None:
        return Path(sys.executable)
    return python_of(environments / peer.environment, "peers")


def _row(
    peer: Peer,
    peers: Sequence[Peer],
    measured: dict[str, np.ndarray],
    last: dict[str, dict[str, Any]],
    failed: dict[str, str],
) -> dict[str, Any]:
    if peer.name in failed:
        return {"peer": peer.name, "failed": failed[peer.name]}
    medians, answer = measured[peer.name], last[peer.name]
    like = next(one for one in peers if one.kind == "ours" and one.precision == peer.precision)
    to_ours, to_like = ratio_of(medians, measured[OURS.name]), ratio_of(medians, measured[like.name])
    mean, least = mean_and_min_cosine(np.array(answer["vectors"]), np.array(last[_OURS_FP32.name]["vectors"]))
    return {
        "peer": peer.name,
        "p50_ms": float(np.median(medians)),
        "time_ratio": to_ours.ratio,
        "time_ratio_ci95": to_ours.ci95,
        "same_precision_ratio": to_like.ratio,
        "same_precision_ratio_ci95": to_like.ci95,
        "peak_rss_mb": answer["peak_rss_bytes"] / 1e6,
        "rss_ratio": answer["peak_rss_bytes"] / last[OURS.name]["peak_rss_bytes"],
        "cosine_mean": mean,
        "cosine_min": least,
    }


def shortfalls(rows: list[dict[str, Any]]) -> list[str]:
    """Return which of the promises of `PROMISES` are not kept; what could not be measured is not.

    A ratio of times whose interval holds what was promised is undecided: another run may say otherwise.
    """
    by_peer = {row["peer"]: row for row in rows}
    found = []
    for peer, figure, least in PROMISES:
        row = by_peer[peer.name]
        seen = row.get(figure)
        if seen is None:
            found.append(f"NOT CHECKED: {figure} of {peer.name}, promised is at least {least:.2f}")
            continue
        verdict = held(row.get(f"{figure}_ci95", (seen, seen)), least)
        if verdict != "kept":
            found.append(f"{verdict}: {figure} of {peer.name} is {seen:.2f}, promised is at least {least:.2f}")
    return found


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print one line a peer, and why where there is none."""
    print(
        f"{'':34}{'p50 ms':>8}{'× int8':>8}{'95% interval':>16}{'× same':>8}{'95% interval':>16}"
        f"{'RSS MB':>8}{'×':>6}{'cosine':>8}{'least':>8}"
    )
    for row in rows:
        if "failed" in row:
            print(f"{row['peer']:34}  {row['failed']}")
            continue
        print(
            f"{row['peer']:34}{row['p50_ms']:8.2f}{row['time_ratio']:8.2f}{in_words(row['time_ratio_ci95']):>16}"
            f"{row['same_precision_ratio']:8.2f}{in_words(row['same_precision_ratio_ci95']):>16}"
            f"{row['peak_rss_mb']:8.0f}{row['rss_ratio']:6.2f}{row['cosine_mean']:8.4f}{row['cosine_min']:8.4f}"
        )


def _texts() -> list[str]:
    queries = read_table("builtin:wordnet_nouns/dev", Columns(query="gloss")).roles["query"]
    return queries[:: len(queries) // _TEXTS][:_TEXTS]


def main() -> None:
    """Print the table, or JSON; exit code 1 when a promise is not kept or undecided."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart ran")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30, help="at least 6: fewer have no interval")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.rounds < LEAST_PASSES:
        parser.error(f"--rounds {options.rounds}: expected at least {LEAST_PASSES}, fewer have no interval")
    if not (options.folder / "bundle" / "bundle.json").is_file():
        sys.exit(f"{options.folder} holds no bundle: run `make quickstart` first")
    environments = ENVIRONMENTS
    export(options.folder, environments)
    try:
        rows = compare(options.folder, options.dim, options.rounds, environments, PEERS)
    except ResultsError as error:
        sys.exit(str(error))
    broken = shortfalls(rows)
    if options.json:
        name = open_bundle(options.folder / "bundle").manifest.name
        where = {"machine": describe().cpu, "bundle": name, "dim": options.dim, "threads": 1}
        print(json.dumps({**where, "rows": rows, "shortfalls": broken}, indent=2))
    else:
        print(f"\n{_TEXTS} glosses, one at a time, 1 thread, dimension {options.dim}, {options.rounds} rounds in turn")
        print("× int8: times ours in int8; × same: times ours in the same precision; RSS: the peak, times ours in int8")
        print("cosine, and the least: to the vectors of ours in fp32\n")
        print_rows(rows)
        promises = ", ".join(f"{figure} of {peer.name} ≥ {least:.2f}" for peer, figure, least in PROMISES)
        print("\n" + ("\n".join(broken) or f"every promise is kept: {promises}"))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
