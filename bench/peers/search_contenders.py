"""The indexes that `searching.py` times: ours as tuned, and other libraries' at full dimension."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from environments import ENVIRONMENTS, python_of
from mrl_edge.bench.processes import Living
from search_corpus import TUNED, say

from mrl_edge.errors import ResultsError, UsageError
from mrl_edge.index.build import LENGTHS, VECTORS
from mrl_edge.index.tuning import Ground, Target, tune
from mrl_edge.metrics import Ids, overlap_at_k

DIMS = {"ivf": (64, 128), "binary": (128, 256), "hnsw": (64, 128), "scan": (32, 64)}  # of ours
EFFORTS = {
    "annoy": (1_000, 4_000, 16_000, 32_000, 64_000, 128_000),
    "usearch": (16, 32, 64, 128, 256, 512, 1024),
    "hnswlib": (16, 32, 64, 128, 256, 512, 1024),
    "faiss flat": (0,),
}
EXACT = ("exact", "faiss flat")  # kinds that compare every vector as it is
_WORKER = Path(__file__).with_name("search_worker.py")
_ENVIRONMENTS = ENVIRONMENTS / "search"  # one each, by the first word of its name
_TARGET = 0.982  # a little above what is promised: the scored queries are others


@dataclass(frozen=True)
class Contender:
    """An index that is timed."""

    name: str
    kind: str  # as the worker calls it
    folder: Path
    effort: int
    build_s: float
    disk_bytes: int
    python: str = sys.executable

    def serve(self, queries: Path) -> Living:
        """Start its process; ask it with a JSON list of queries' numbers.

        It answers `ms`, `cpu_ms` and `ids` of each, and the index's `rss_bytes` so far.
        """
        command = (_WORKER, "serve", self.kind, self.folder, queries, self.effort)
        return Living(self.name, tuple(map(str, command)), python=self.python)


def ours(ground: Ground, work: Path, kinds: Sequence[str], max_bytes: float) -> Iterator[Contender]:
    """Tune each kind, within the memory where it can be, and yield its fastest dimension."""
    for kind in kinds:
        dims = DIMS[kind]
        folder = work / kind
        folder.mkdir()
        try:
            sizes, trials = tune(ground, dims, Target(_TARGET, int(max_bytes), (kind,)), folder, say)
        except UsageError:  # it does not fit, and is compared all the same
            sizes, trials = tune(ground, dims, Target(_TARGET, None, (kind,)), folder, say)
        reached = [size for size in sizes if size.recall_at_10_full >= _TARGET]
        size = min(reached, key=lambda s: s.p50_ms) if reached else max(sizes, key=lambda s: s.recall_at_10_full)
        file = None if size.file is None else ((work if kind == "ivf" else folder) / size.file).absolute()
        chosen = replace(size, file=None if file is None else str(file))
        (folder / "chosen.json").write_bytes(msgspec.json.encode(chosen))
        (folder / "trials.json").write_bytes(msgspec.json.encode(trials))
        own = file.stat().st_size if file else 0
        stored = sum((work / name).stat().st_size for name in (VECTORS, LENGTHS))
        build_s = max(trial.build_s for trial in trials if trial.dim == size.dim)
        settings = "".join(f", {name} {value}" for name, value in size.parameters.items())
        rerank = "".join(f", {step.shortlist} → {step.dim}" for step in size.steps)
        yield Contender(f"ours: {kind} at {size.dim}{settings}{rerank}", "ours", folder, 0, build_s, own + stored)


def peers(work: Path, reference: Ids, names: Sequence[str], failed: dict[str, str]) -> Iterator[Contender]:
    """Build each peer at full dimension; yield it with the least effort that reaches the target, or the greatest.

    What could not be installed is left out, and `failed` told why.
    """
    for name in names:
        try:
            python = str(python_of(_ENVIRONMENTS / name.split()[0], "search-peers"))
        except ResultsError as error:
            failed[name] = str(error)
            continue
        folder = work / name.replace(" ", "-")
        folder.mkdir()
        print(f"  building {name}", file=sys.stderr)
        command = [python, str(_WORKER), "build", name, str(folder)]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        build_s = json.loads(told)["build_s"]
        for effort in EFFORTS[name]:
            label = f"{name} at full dimension" + (f", effort {effort}" if effort else "")
            found = Contender(label, name, folder, effort, build_s, (folder / "index").stat().st_size, python)
            with found.serve(work / "tuned.npy") as process:
                ids = process.ask(json.dumps(list(range(TUNED))))["ids"]
            if overlap_at_k(np.array(ids), reference) >= _TARGET:
                break
        yield found
