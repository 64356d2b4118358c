"""Our tuned indexes beside exact search and beside other libraries, on real embeddings, in turn in one run.

    python bench/peers/searching.py [--folder quickstart] [--items 100000] [--vectors int8-int4] [--json FILE]

The documents are the built-in corpus (WordNet's lemmas), embedded by the trained bundle in `--folder`, and beyond
their number copies of them with noise of the corpus' own covariance. Queries are its glosses, never seen in
training; an index is tuned on some and scored on others. Each index answers in a process of its own, whose memory
is counted over that of its imports; a round asks each for one pass over the same queries, and a ratio is taken
within a round. On a busy machine a long search is interrupted more often than a short one, so that the ratio of
wall times flatters the short: CPU time, the same where the machine is quiet, stands beside it, and a promise is
kept only by both. Peers live in a virtual environment under build/.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from mrl_edge.bench.measure.intervals import in_words, median_interval

import mrl_edge
from mrl_edge.atomic import new_folder
from mrl_edge.bundle import Bundle, VectorsInfo, open_bundle
from mrl_edge.cli import console
from mrl_edge.datasets import Columns, read_table
from mrl_edge.errors import UsageError
from mrl_edge.index.build import LENGTHS, VECTORS, Embedded
from mrl_edge.index.reference import RunningTopK
from mrl_edge.index.tune import order_by_lists, unordered
from mrl_edge.index.tuning import Ground, Target, tune
from mrl_edge.index.vectors import VectorStore, VectorWriter
from mrl_edge.metrics import Ids, overlap_at_k
from mrl_edge.nesting import Floats, normalise

_WORKER = Path(__file__).with_name("search_worker.py")
_WORK = Path("build/search-peers")
_PACKAGES = ("numpy==2.4.6", "annoy==1.17.3", "usearch==2.26.6", "hnswlib==0.8.0", "faiss-cpu==1.15.1")
_NOISE = 0.5  # of a copy's length: its cosine to the original is about 0.9
_TUNED, _SCORED, _PASS = 300, 500, 50  # queries to tune on, to score, and of those in a round
_TARGET = 0.982  # a little above what is promised: the scored queries are others
_DIMS = {"ivf": (64, 128), "binary": (128, 256), "hnsw": (64, 128), "scan": (32, 64)}
_PEERS = ("annoy", "usearch", "hnswlib", "faiss flat")
_EFFORTS = {
    "annoy": (1_000, 4_000, 16_000, 32_000, 64_000, 128_000),
    "usearch": (16, 32, 64, 128, 256, 512, 1024),
    "hnswlib": (16, 32, 64, 128, 256, 512, 1024),
    "faiss flat": (0,),
}

# What is promised of some tuned configuration of ours: recall, and shares of the exact scan's time and memory.
_PROMISES = {100_000: (0.98, 1 / 5, 1 / 4), 1_000_000: (0.98, 1 / 14, 1 / 4)}


@dataclass(frozen=True)
class Contender:
    """An index that is timed."""

    name: str
    kind: str  # as the worker calls it
    folder: Path
    effort: int
    build_s: float
    disk_bytes: int


class Process:
    """A contender's process."""

    def __init__(self, contender: Contender, queries: Path, python: str) -> None:
        self.contender = contender
        arguments = ["serve", contender.kind, str(contender.folder), str(queries), str(contender.effort)]
        self._process = subprocess.Popen(
            [python, str(_WORKER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_one_thread(),
        )

    def ask(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Return `ms`, `cpu_ms` and `ids` of each query, and the index's `rss_bytes` so far."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a contender has pipes")
        self._process.stdin.write(json.dumps(list(numbers)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self.contender.name} ended with exit code {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def embedded(folder: Path, bundle: Bundle) -> tuple[Floats, Floats]:
    """Return the corpus' documents [n, 384] and the queries, embedded once for each model."""
    cache = _WORK / f"embedded-{bundle.identity()[:16]}-{_TUNED + _SCORED}"
    if not cache.is_dir():
        encoder = mrl_edge.load(folder / "bundle", None, "int8")
        texts = [text for part in ("train", "dev") for text in _texts(part, Columns(text="lemmas"), "text")]
        glosses = _texts("dev", Columns(query="gloss", positive="lemmas"), "query")[: _TUNED + _SCORED]
        print(f"embedding {len(texts)} documents", file=sys.stderr)
        with new_folder(cache) as work:
            np.save(work / "documents.npy", encoder.encode(list(dict.fromkeys(texts)), "document"))
            np.save(work / "queries.npy", np.concatenate([encoder.encode([text], "query") for text in glosses]))
    return np.load(cache / "documents.npy"), np.load(cache / "queries.npy")


def _texts(part: str, columns: Columns, role: str) -> list[str]:
    return read_table(f"builtin:wordnet_nouns/{part}", columns).roles[role]


def resampled(documents: Floats, items: int) -> Iterator[Floats]:
    """Yield the documents, then copies of some with noise, until `items` rows were yielded in pieces."""
    yield documents[:items]
    random = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(np.cov(documents.T))
    colour = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32).T
    scale = _NOISE / np.sqrt(values.sum())
    for first in range(len(documents), items, 20_000):
        count = min(20_000, items - first)
        noise = random.standard_normal((count, documents.shape[1]), dtype=np.float32) @ colour
        yield normalise(documents[random.integers(0, len(documents), count)] + np.float32(scale) * noise)


def prepare(
    folder: Path, bundle: Bundle, items: int, storage: str, listed: bool, work: Path
) -> tuple[Ground, Floats, Ids]:
    """Write the vectors as float32 and into our store; return the ground to tune on, all queries, their exact hits.

    `listed` orders the store by inverted lists, as `mrl-edge index --tune` does where `ivf` is among the kinds.
    """
    documents, queries = embedded(folder, bundle)
    full = documents.shape[1]
    dims = (8, 16, 32, 64, 128, 256, full)
    info = VectorsInfo(VECTORS, LENGTHS, storage, dims, items)
    writer = VectorWriter(info, work / VECTORS, work / LENGTHS)
    best, first = RunningTopK(queries, 10), 0
    with (work / "vectors.f32").open("wb") as file:
        for piece in resampled(documents, items):
            piece.tofile(file)
            writer.write(first, piece)
            for start in range(0, len(piece), 20_000):
                best.add(first + start, piece[start : start + 20_000])
            first += len(piece)
    writer.close()
    store = VectorStore(info, work / VECTORS, work / LENGTHS)
    stored = Embedded(store, queries[:_TUNED], best.ids[:_TUNED])
    ground = order_by_lists(stored, work, _say) if listed else unordered(stored)
    (work / "store.json").write_bytes(msgspec.json.encode(ground.store.info))
    np.save(work / "scored.npy", queries[_TUNED:])
    np.save(work / "tuned.npy", queries[:_TUNED])
    return ground, queries, best.ids


def ours(ground: Ground, work: Path, kinds: Sequence[str], max_bytes: float) -> Iterator[Contender]:
    """Tune each kind, within the memory where it can be, and yield its fastest dimension."""
    for kind in kinds:
        dims = _DIMS[kind]
        folder = work / kind
        folder.mkdir(exist_ok=True)
        try:
            sizes, trials = tune(ground, dims, Target(_TARGET, int(max_bytes), (kind,)), folder, _say)
        except UsageError:  # it does not fit, and is compared all the same
            sizes, trials = tune(ground, dims, Target(_TARGET, None, (kind,)), folder, _say)
        reached = [size for size in sizes if size.recall_at_10_full >= _TARGET]
        size = min(reached, key=lambda s: s.p50_ms) if reached else max(sizes, key=lambda s: s.recall_at_10_full)
        file = (
            None if size.file is None else str((work / size.file if kind == "ivf" else folder / size.file).absolute())
        )
        (folder / "chosen.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(size, file=file)))
        (folder / "trials.json").write_bytes(msgspec.json.encode(trials))
        own = Path(file).stat().st_size if file else 0
        stored = sum((work / name).stat().st_size for name in (VECTORS, LENGTHS))
        build_s = max(trial.build_s for trial in trials if trial.dim == size.dim)
        settings = "".join(f", {name} {value}" for name, value in size.parameters.items())
        rerank = f", {size.shortlist} → {size.rerank_dim}" if size.rerank_dim else ""
        yield Contender(f"ours: {kind} at {size.dim}{settings}{rerank}", "ours", folder, 0, build_s, own + stored)


def peers(work: Path, python: str, reference: Ids, names: Sequence[str]) -> Iterator[Contender]:
    """Build each peer at full dimension, and yield it with the least effort that reaches the target."""
    for name in names:
        folder = work / name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        print(f"  building {name}", file=sys.stderr)
        command = [python, str(_WORKER), "build", name, str(folder)]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        build_s = json.loads(told)["build_s"]
        for effort in _EFFORTS[name]:
            label = f"{name} at full dimension" + (f", effort {effort}" if effort else "")
            found = Contender(label, name, folder, effort, build_s, (folder / "index").stat().st_size)
            process = Process(found, work / "tuned.npy", python)
            recall = overlap_at_k(np.array(process.ask(range(_TUNED))["ids"]), reference)
            process.close()
            if recall >= _TARGET:
                break
        yield found


def compare(
    contenders: Sequence[tuple[Contender, str]], work: Path, reference: Ids, rounds: int
) -> list[dict[str, Any]]:
    """Score every contender on all queries, then time them in turn; ratios are to the first, within a round."""
    processes = [Process(contender, work / "scored.npy", python) for contender, python in contenders]
    try:
        rows = []
        for process in processes:
            answer = process.ask(range(_SCORED))
            contender = process.contender
            rows.append(
                {
                    "index": contender.name,
                    "recall_at_10": overlap_at_k(np.array(answer["ids"]), reference),
                    "resident_mb": answer["rss_bytes"] / 1e6,
                    "disk_mb": contender.disk_bytes / 1e6,
                    "build_s": contender.build_s,
                }
            )
        medians = np.empty((2, rounds, len(processes)))  # of wall and of CPU times
        for number in range(rounds):
            at = number * _PASS % _SCORED
            for place, process in enumerate(processes):
                answer = process.ask(range(at, at + _PASS))
                medians[:, number, place] = np.median([answer["ms"], answer["cpu_ms"]], axis=1)
    finally:
        for process in processes:
            process.close()
    for number, row in enumerate(rows):
        row["p50_ms"], row["p50_cpu_ms"] = np.median(medians[:, :, number], axis=1).tolist()
        for name, seen in zip(("time", "cpu"), medians, strict=True):
            ratios = seen[:, number] / seen[:, 0]
            row[f"{name}_ratio"], row[f"{name}_ratio_ci95"] = float(np.median(ratios)), median_interval(ratios)
        row["memory_ratio"] = row["resident_mb"] / rows[0]["resident_mb"]
    return rows


def kept_promise(rows: Sequence[dict[str, Any]], items: int) -> str | None:
    """Return which configuration of ours keeps what is promised for so many items, or None."""
    recall, time, memory = _PROMISES.get(items, _PROMISES[100_000])
    for row in rows:
        ours = row["index"].startswith("ours") and row["recall_at_10"] >= recall
        known = row["time_ratio_ci95"], row["cpu_ratio_ci95"]  # None of fewer than 6 rounds, which decide nothing
        fast = all(interval is not None and interval[1] <= time for interval in known)
        if ours and fast and row["memory_ratio"] <= memory:
            return str(row["index"])
    return None


def _peers_python() -> str:
    """Return the interpreter of the peers' own environment, made once."""
    folder = _WORK / "venv"
    python = folder / "bin" / "python"
    if not (folder / "installed").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
        (folder / "installed").touch()
    return str(python)


def _one_thread() -> dict[str, str]:
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **limits}


def _say(stage: str, done: int, total: int, now: str = "") -> None:
    if done in (0, total):
        print(f"  {stage} {now} {done}/{total}", file=sys.stderr)


def main() -> None:
    """Prepare, tune, build, compare, print; exit 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart wrote")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--vectors", default="int8-int4", help="how ours stores them")
    parser.add_argument("--kinds", default=",".join(_DIMS), help="kinds of ours to tune, separated by commas")
    parser.add_argument("--peers", default=",".join(_PEERS), help="peers to build, separated by commas; empty for none")
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    recall, time, memory = _PROMISES.get(options.items, _PROMISES[100_000])
    bundle = open_bundle(options.folder / "bundle")
    work = _WORK / f"{options.items}-{bundle.identity()[:16]}"
    shutil.rmtree(work, ignore_errors=True)  # what a run that was broken off left is half of something
    work.mkdir(parents=True)
    kinds = options.kinds.split(",")
    ground, _, exact_ids = prepare(options.folder, bundle, options.items, options.vectors, "ivf" in kinds, work)
    python = _peers_python() if options.peers else sys.executable
    size = (work / "vectors.f32").stat().st_size
    exact = Contender("exact scan at full dimension, fp32", "exact", work / "exact", 0, 0.0, size)
    contenders = [(exact, sys.executable)]
    contenders += [(contender, sys.executable) for contender in ours(ground, work, kinds, memory * size)]
    names = [name for name in options.peers.split(",") if name]
    contenders += [(contender, python) for contender in peers(work, python, exact_ids[:_TUNED], names)]
    rows = compare(contenders, work, exact_ids[_TUNED:], options.rounds)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    heads = ["", "recall@10", "p50 ms", "× time", "95%", "× CPU", "95%", "MB", "× memory", "disk MB", "build s"]
    lines = [
        [
            row["index"],
            row["recall_at_10"],
            row["p50_ms"],
            row["time_ratio"],
            in_words(row["time_ratio_ci95"], 3),
            row["cpu_ratio"],
            in_words(row["cpu_ratio_ci95"], 3),
            row["resident_mb"],
            row["memory_ratio"],
            row["disk_mb"],
            row["build_s"],
        ]
        for row in rows
    ]
    console.print_table(
        f"{options.items:,} items, ours in {options.vectors}, one thread, {_SCORED} queries that nothing was tuned on",
        heads,
        lines,
    )
    keeper = kept_promise(rows, options.items)
    promise = f"recall {recall} at {time:.3f} of the exact scan's time and {memory:.2f} of its memory"
    print(f"kept by {keeper}: {promise}" if keeper else f"NOT kept by any of ours: {promise}")
    sys.exit(0 if keeper else 1)


if __name__ == "__main__":
    main()
