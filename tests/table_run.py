"""A run whose processes, vectors and indexes come from a table of made figures: what is under test is the search.

The table holds every configuration, so that the whole sweep is known; a process of a configuration sees the same
whenever it is asked for.
"""

import random
from pathlib import Path

import msgspec
import numpy as np
from mrl_edge.bench import jobs
from mrl_edge.bench.configuration import configuration_of
from mrl_edge.bench.measure.timing import summarise
from mrl_edge.bench.preparing import Grid
from mrl_edge.bench.repeats import together
from mrl_edge.bench.results import (
    SCHEMA_VERSION,
    BundleRef,
    Disk,
    Encode,
    IndexPlan,
    Memory,
    Process,
    Quality,
    Query,
    Results,
    SearchResult,
)
from mrl_edge.bench.run import Run, settings_of
from mrl_edge.bench.sweep import variants_of

from mrl_edge.bundle import MANIFEST, Bundle, Fidelity, FileEntry, Graph, Manifest, Variant, write_manifest
from mrl_edge.description import EncoderInfo, SizedIndex, VectorsInfo

DIMS, DEPTHS, PRECISIONS = (8, 32, 64), (3, 6), ("fp32", "int8")
QUERIES, DOCUMENTS = 400, 3000
PLANS = (IndexPlan("scan"), IndexPlan("annoy"), IndexPlan("scan", 100, 64))
PATTERN = np.linspace(-0.01, 0.01, 7)[:, None] * np.ones(9)  # passes around their median, which is exactly 1


def task(labelled=False):
    queries = [f"q{number}" for number in range(QUERIES)]
    documents = [f"d{number}" for number in range(DOCUMENTS)]
    relevant = [[number] for number in range(QUERIES)]
    return jobs.Task(queries, documents, relevant, queries if labelled else [], ["a"] * QUERIES if labelled else [])


def grid(**changes):
    given = {
        "precisions": PRECISIONS, "depths": DEPTHS, "dims": DIMS, "threads": (1, 2), "plans": PLANS, "tokens": (),
        "max_seconds": 1.0, "target_recall": 0.95, "repeats": 3, "for_choice": True,
    }  # fmt: skip
    return Grid(**{**given, **changes})


def bundle(folder: Path, classes=()):
    """A manifest of variants whose files are not there."""
    fidelity = Fidelity(0.0, 1.0, 1.0, 1)
    files, variants = {"tokenizer.json": FileEntry(1000, "")}, []
    for precision, size in (("fp32", 90_000_000), ("int8", 23_000_000)):
        weights = f"{precision}/weights.bin"
        files[weights] = FileEntry(size, "")
        for depth in DEPTHS:
            graphs = tuple(Graph(f"{precision}/d{dim}-L{depth}.onnx", dim, (), (), fidelity) for dim in DIMS)
            files |= {graph.file: FileEntry(100_000, "") for graph in graphs}
            variants.append(Variant(precision, "any", depth, weights, graphs))
    encoder = EncoderInfo("made", "bert", "mean", True, {}, None, 64, 0)
    folder.mkdir(exist_ok=True)
    write_manifest(
        folder,
        Manifest(2, "made", encoder, True, DIMS, DEPTHS, tuple(classes), tuple(variants), files, {}, {}),
    )
    assert (folder / MANIFEST).is_file()
    return Bundle(folder, msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest))


class Table:
    """Every figure of every configuration, drawn at random by a seed."""

    def __init__(self, seed, where, asked, failing=()):
        self.seed, self.bundle, self.grid, self.failing = seed, where, asked, failing
        self.task = task()
        rng = random.Random(seed)
        self.encode_ms, self.exact, self.rss_mb = {}, {}, {}
        for variant in variants_of(where, asked):
            key = variant.precision, variant.depth
            base = rng.uniform(3, 6) * (0.45 if variant.precision == "int8" else 1) * variant.depth / 6
            for threads in asked.threads:
                self.encode_ms[(*key, threads)] = base / (1 if threads == 1 else rng.uniform(1.1, 1.9))
            best = rng.uniform(0.4, 0.6) * (1 if variant.depth == 6 else rng.uniform(0.8, 0.99))
            self.exact[key] = {dim: best * {8: 0.4, 32: 0.85, 64: 1.0}[dim] for dim in DIMS}
            self.rss_mb[key] = rng.uniform(150, 200) if variant.precision == "fp32" else rng.uniform(100, 130)

    def quality(self, precision, depth, dim, plan):
        """Approximate search may score a little above exact search, as the margin allows."""
        exact = self.exact[precision, depth][max(dim, plan.rerank_dim or 0)]
        if plan == PLANS[0]:
            return exact
        noise = self._rng(precision, depth, dim, plan).gauss(-0.004, 0.004)
        return exact + max(-0.02, min(0.012, noise))

    def search_ms(self, dim, plan):
        return {"scan": 0.2 + dim / 200, "annoy": 0.15}[plan.kind] + (0.1 if plan.rerank_dim else 0)

    def prepared(self, variant, dim, plan):
        value = self.quality(variant.precision, variant.depth, dim, plan)
        info = VectorsInfo("", "", "fp32", DIMS, DOCUMENTS)
        ms = self.search_ms(dim, plan)
        sized = SizedIndex(dim, plan.kind, None, {}, None, 0.97, ms, 0, plan.shortlist, plan.rerank_dim)
        search = SearchResult(plan.kind, DOCUMENTS, plan.shortlist, plan.rerank_dim, None, None, 0.0, 0.97)
        columns = 4 * DOCUMENTS * max(dim, plan.rerank_dim or 0)
        own = 9 * DOCUMENTS * dim if plan.kind == "annoy" else 0
        disk = Disk(self.bundle.model_bytes(variant, dim), own, 0 if plan.kind == "annoy" else columns)
        files = jobs.IndexFiles(sized, None, info, "", "", None)
        quality = Quality(ndcg_at_10=value, recall_at_10=value * 1.1, mrr_at_10=value * 0.9, map_at_10=value * 0.9)
        return jobs.Prepared(dim, plan, files, None, dim, disk, search, quality, None)

    def process(self, configuration, number, row):
        """What one process of a configuration sees; one in eight is disturbed, and says so."""
        key = configuration.precision, configuration.depth
        if (*key, "measuring") in self.failing and configuration.plan:
            return msgspec.structs.replace(row, status="out_of_memory", reason="the kernel killed the process")
        rng = self._rng(configuration, number)
        disturbed = rng.random() < 0.125
        speed = rng.gauss(1, 0.01) * (rng.uniform(1.3, 1.8) if disturbed else 1)
        encode_ms = self.encode_ms[(*key, configuration.threads)] * speed
        doubts = ("busy",) if disturbed else ()
        encode = Encode(**timed(encode_ms, doubts), tokenise_p50_ms=0.1)
        row = msgspec.structs.replace(
            row, encode=encode, cold_start_ms=300 * speed, load_ms=200.0, first_ms=5.0,
            memory=Memory(round(1e6 * (self.rss_mb[key] + rng.uniform(0, 2))), 1, None, None, 1),
        )  # fmt: skip
        if configuration.plan is None:
            return row
        variant = self.bundle.variant(*key)
        made = self.prepared(variant, configuration.dim, configuration.plan)
        search_ms = self.search_ms(configuration.dim, configuration.plan) * speed
        return msgspec.structs.replace(
            row, query=Query(**timed(encode_ms + search_ms, doubts)), disk=made.disk, quality=made.quality,
            search=msgspec.structs.replace(made.search, p50_ms=search_ms, p99_ms=search_ms),
        )  # fmt: skip

    def sweep(self, run):
        """Every row, each of all its processes."""
        rows = []
        for variant in variants_of(self.bundle, self.grid):
            for configuration in run.all(variant):
                blank = run.row(variant, configuration)
                each = [self.process(configuration, number, blank) for number in range(self.grid.repeats)]
                rows.append(together(each))
        settings = settings_of(self.task, "made", self.grid)
        reference = BundleRef("made", self.bundle.identity(), {})
        return Results(SCHEMA_VERSION, reference, run.results.device, settings, tuple(rows))

    def _rng(self, *what):
        return random.Random(f"{self.seed} {what}")


def timed(p50_ms, doubts):
    """The fields of a timing whose median is exactly this."""
    timing = summarise(1e6 * p50_ms * (1 + PATTERN))
    names = ("p50_ms", "p90_ms", "p99_ms", "mean_ms", "ci95_ms", "samples")
    found = {name: getattr(timing, name) for name in names}
    passes = (p50_ms * (1 + PATTERN)).tolist()
    return {**found, "stable": not doubts, "doubts": doubts, "processes": (Process(p50_ms, passes),)}


class TableRun(Run):
    """A run that asks a table; `stop_after` so many processes it is interrupted."""

    def __init__(self, table, out, place, stop_after=None):
        super().__init__(table.bundle, table.task, "made", table.grid, out, lambda *_: None, place)
        self.table, self.stop_after, self.asked = table, stop_after, []
        self.preparations = self

    def all(self, variant):
        """Every configuration of a variant, whatever is in the file."""
        kept, self.results = self.results, msgspec.structs.replace(self.results, measurements=())
        found = self.missing(variant)
        self.results = kept
        return found

    def _note(self, *what):
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(what)

    def glimpse(self, configuration, seconds):
        self._note("glimpse", configuration)
        if (configuration.precision, configuration.depth, "glimpse") in self.table.failing:
            return jobs.Failure("unsupported", "no kernel for it")
        variant = self.bundle.variant(configuration.precision, configuration.depth)
        number = -sum(1 for one in self.asked if one == ("glimpse", configuration))
        row = self.table.process(configuration, number, self.row(variant, configuration))
        return jobs.MeasureResult(row.cold_start_ms, 1, 1, row.encode, None, None, row.memory, None, None, "none")

    def embedded(self, variant, documents):
        self._note("embedded", variant.precision, variant.depth, documents)
        if (variant.precision, variant.depth, "embedding") in self.table.failing:
            return jobs.Failure("failed", "its graph is damaged")
        alone = tuple(jobs.Prepared(dim, None, None, None, dim, Disk(0, 0, 0), None, Quality(), None) for dim in DIMS)
        more = 1.0 if documents == "all" else 1.3  # among the answers alone there is less to confuse them with
        exact = {
            dim: Quality(**{
                name: min(1.0, more * share * value)
                for name, share in (("ndcg_at_10", 1), ("recall_at_10", 1.1), ("mrr_at_10", 0.9), ("map_at_10", 0.9))
            })
            for dim, value in self.table.exact[variant.precision, variant.depth].items()
        }  # fmt: skip
        return jobs.EmbedResult("", alone, "there" if documents == "all" else None, exact)

    def indexed(self, variant, wanted):
        self._note("indexed", variant.precision, variant.depth, tuple(wanted))
        return tuple(self.table.prepared(variant, dim, plan) for dim, plan in wanted)

    def measure(self, variant, configuration):
        number = len(self.processes.rows(configuration))
        self._note("measured", configuration, number)
        row = self.table.process(configuration, number, self.row(variant, configuration))
        assert configuration_of(row) == configuration
        return row
