"""What a sweep measures, and the preparation of each variant: shared by all of its configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from mrl_edge.bench import jobs
from mrl_edge.bench.configuration import Configuration
from mrl_edge.bench.held import Held, Like, for_variant, held_of, plain
from mrl_edge.bench.measure.intervals import samples_for
from mrl_edge.bench.processes import run_job
from mrl_edge.bench.results import IndexPlan

from mrl_edge.atomic import write_file
from mrl_edge.bundle import Bundle, Variant
from mrl_edge.progress import Report
from mrl_edge.providers import CPU

_KEPT = "prepared.json"


@dataclass(frozen=True)
class Grid:
    """What to measure."""

    precisions: tuple[str, ...]
    depths: tuple[int, ...]
    dims: tuple[int, ...]
    threads: tuple[int, ...]
    plans: tuple[IndexPlan, ...]
    tokens: tuple[int, ...]  # fixed lengths, measured once a variant and thread count at the largest dimension
    max_seconds: float  # of all processes of a configuration together
    target_recall: float
    storage: str = "fp32"
    repeats: int = 1  # processes a configuration
    batches: tuple[int, ...] = ()  # texts a call, besides 1; measured as the fixed lengths are
    callers: tuple[int, ...] = ()  # threads that call one session at once, besides 1; likewise
    servers: tuple[int, ...] = ()  # threads that answer texts which arrive by chance; likewise
    p99_limit_ms: float | None = None  # of those texts
    runtimes: tuple[tuple[str, ...], ...] = ((),)  # settings of onnxruntime, each measured with everything
    new_ceilings: bool = False  # of the machine, measured again
    providers: tuple[str, ...] = (CPU,)  # each measured with everything; vectors and quality are the processor's
    tail: float | None = None  # a percentile whose interval is to be known, however long that takes
    for_choice: bool = False  # of a row only the figures that a budget can ask for
    like: Like | None = None  # parameters of indexes that are taken over instead of tuned
    asked: dict[str, str] = field(default_factory=dict)  # the data and its columns, by option: for who measures again

    def processes(self, configuration: Configuration) -> int:
        """Return how many processes a configuration is measured in: the search for a server's rate is a long one."""
        return 1 if configuration.p99_limit_ms is not None else self.repeats

    def least_samples(self, configuration: Configuration) -> int:
        """Return how many samples each process of a configuration takes at least: they count together.

        Twice as many as would do if none were alike: those of one text are, and those of a slow moment.
        """
        return 0 if self.tail is None else -(-2 * samples_for(self.tail) // self.processes(configuration))


class Kept(msgspec.Struct, frozen=True):
    """What there is of a variant: its vectors, and the configurations whose index is built and scored."""

    embedded: jobs.EmbedResult
    configurations: tuple[jobs.Prepared, ...] = ()


class Preparations:
    """The embedding of the task, the indexes and their hits, of each variant as far as they are asked for.

    A whole sweep makes all indexes of a variant at once, a grid that is `for_choice` those that are asked for. They lie
    in a work folder with `task.json`, from which an interrupted run goes on; `spend` is told the seconds. `known` are
    the parameters of rows that are there: they are not tuned again.
    """

    def __init__(
        self,
        bundle: Bundle,
        grid: Grid,
        work: Path,
        known: Sequence[Held],
        spend: Callable[[str, float], None],
        report: Report,
    ) -> None:
        self._bundle, self._grid, self._work, self._spend, self._report = bundle, grid, work, spend, report
        self._known = known
        self._kept: dict[tuple[str, int], Kept | jobs.Failure] = {}  # by precision and depth

    def of(self, variant: Variant, dim: int, plan: IndexPlan | None) -> jobs.Prepared | jobs.Failure:
        """Return a configuration's search and quality, prepared with what shares its index where it is not there."""
        if plan is None:
            answer = self.embedded(variant, "none")
            found = answer if isinstance(answer, jobs.Failure) else answer.configurations
        else:
            wanted = [(dim, plan)] if self._grid.for_choice else self._pairs(self._grid.dims)
            found = self.indexed(variant, wanted)
        if isinstance(found, jobs.Failure):
            return found
        return next(one for one in found if (one.dim, one.plan) == (dim, plan))

    def embedded(self, variant: Variant, documents: jobs.Documents) -> jobs.EmbedResult | jobs.Failure:
        """Return the vectors of a variant, those of so many of the documents among them; a failure stays one."""
        there = self._there(variant)
        if isinstance(there, jobs.Failure):
            return there
        if there is not None and _holds(there.embedded, documents):
            return there.embedded
        name = _name(variant)
        made = self._embed(variant, name, self._grid.dims, documents, there.embedded if there else None)
        self._keep(variant, made if isinstance(made, jobs.Failure) else Kept(made))
        return made

    def indexed(
        self, variant: Variant, wanted: Sequence[tuple[int, IndexPlan]]
    ) -> tuple[jobs.Prepared, ...] | jobs.Failure:
        """Return what is known of some dimensions and plans of a variant; those that are not there are built."""
        embedded = self.embedded(variant, "all")
        there = self._there(variant)
        if isinstance(embedded, jobs.Failure) or not isinstance(there, Kept):
            return embedded if isinstance(embedded, jobs.Failure) else jobs.Failure("failed", "nothing was embedded")
        known = {(one.dim, one.plan) for one in there.configurations}
        missing = tuple(pair for pair in self._with_sharing(wanted) if pair not in known)
        if missing:
            job = jobs.IndexJob(
                bundle=str(self._bundle.folder.absolute()),
                precision=variant.precision,
                depth=variant.depth,
                task=str(self._work / "task.json"),
                embedded=embedded,
                wanted=missing,
                plans=self._grid.plans,
                target_recall=self._grid.target_recall,
                storage=self._grid.storage,
                like=self._like(variant, missing),
                work=str(self._work / _name(variant)),
            )
            # numpy's threads are those that are measured with: indexes are tuned by their latency.
            answer = run_job(job, jobs.IndexResult, self._work, self._grid.threads[0])
            if isinstance(answer, jobs.Failure):
                if not there.configurations:  # else what is there can still be measured
                    self._kept[variant.precision, variant.depth] = answer
                return answer
            self._spent(answer.spent_s)
            there = Kept(embedded, (*there.configurations, *answer.configurations))
            self._keep(variant, there)
        return there.configurations

    def _with_sharing(self, wanted: Sequence[tuple[int, IndexPlan]]) -> list[tuple[int, IndexPlan]]:
        """Return dimensions and plans with those that search the same file: tuned again, it would be another one."""
        return list(
            dict.fromkeys(
                (dim, other)
                for dim, plan in wanted
                for _, other in self._pairs((dim,))
                if (other.kind, other.tuned) == (plan.kind, plan.tuned)
            )
        )

    def _pairs(self, dims: Sequence[int]) -> list[tuple[int, IndexPlan]]:
        full = self._bundle.manifest.dims[-1]
        return [(dim, plan) for dim in dims for plan in self._grid.plans if plan.applies_to(dim, full)]

    def _embed(
        self,
        variant: Variant,
        name: str,
        dims: tuple[int, ...],
        documents: jobs.Documents,
        there: jobs.EmbedResult | None,
    ) -> jobs.EmbedResult | jobs.Failure:
        exact = [dim for dim in self._bundle.manifest.dims if dim >= self._grid.dims[0]]
        job = jobs.EmbedJob(
            bundle=str(self._bundle.folder.absolute()),
            precision=variant.precision,
            depth=variant.depth,
            dims=dims,
            exact_dims=tuple(exact) if self._grid.for_choice else (),
            task=str(self._work / "task.json"),
            reference=None if not dims or there or self._grid.for_choice else self._reference(variant),
            documents=documents,
            there=there,
            work=str(self._work / name),
        )
        self._report("preparing", 0, 1, name)
        answer = run_job(job, jobs.EmbedResult, self._work, self._grid.threads[0])
        self._report("preparing", 1, 1, name)
        if isinstance(answer, jobs.EmbedResult):
            self._spent(answer.spent_s)
        return answer

    def _reference(self, variant: Variant) -> str | None:
        """Return the file with the query vectors of fp32 at full depth, or None where it cannot be run."""
        full_depth = self._bundle.manifest.depths[-1]
        if (variant.precision, variant.depth) == ("fp32", full_depth) or "fp32" not in self._bundle.precisions():
            return None
        fp32 = self._bundle.variant("fp32", full_depth)
        there = self._there(fp32)
        if there is None and (there := self._read("reference")) is None:
            answer = self._embed(fp32, "reference", (), "none", None)
            if isinstance(answer, jobs.EmbedResult):
                there = Kept(answer)
                self._write("reference", there)
        return there.embedded.query_vectors if isinstance(there, Kept) else None

    def held(self, variant: Variant) -> tuple[Held, ...]:
        """Return the parameters of all of a variant's indexes; where rows do not say them, they are tuned and built."""
        own = self._own(variant)
        wanted = self._pairs(self._grid.dims)
        if {(dim, plain(plan)) for dim, plan in wanted} <= {(one.dim, one.plan) for one in own}:
            return own
        made = self.indexed(variant, wanted)
        found = () if isinstance(made, jobs.Failure) else held_of(made, variant)
        return tuple({(one.dim, one.plan): one for one in (*found, *own)}.values())

    def _like(self, variant: Variant, wanted: Sequence[tuple[int, IndexPlan]]) -> tuple[Held, ...]:
        """Return the parameters to take over: those that are held, else of its rows and of a first precision."""
        if self._grid.like is not None:
            return for_variant(self._grid.like.held, variant)
        own = self._own(variant)
        there = {(one.dim, one.plan) for one in own}
        rest = [(dim, plan) for dim, plan in wanted if (dim, plain(plan)) not in there]
        return (*own, *(self._like_first(variant, rest) if rest else ()))

    def _like_first(self, variant: Variant, wanted: Sequence[tuple[int, IndexPlan]]) -> tuple[Held, ...]:
        """Return the parameters of the first precision before this at its depth.

        The vectors of that are nearly the same; where its documents are not embedded, as no budget fits it, there are
        none.
        """
        for precision in sorted(self._grid.precisions, key=lambda name: name != "fp32"):  # as they are measured
            if precision == variant.precision:
                break
            first = self._bundle.variant(precision, variant.depth)
            there = self._there(first)
            if isinstance(there, Kept) and there.embedded.document_vectors:
                found = self.indexed(first, list(dict.fromkeys((dim, plain(plan)) for dim, plan in wanted)))
                return () if isinstance(found, jobs.Failure) else held_of(found, first)
        return ()

    def _own(self, variant: Variant) -> tuple[Held, ...]:
        return tuple(one for one in self._known if (one.precision, one.depth) == (variant.precision, variant.depth))

    def _there(self, variant: Variant) -> Kept | jobs.Failure | None:
        """Return what was prepared by this run, or by an interrupted one."""
        key = variant.precision, variant.depth
        if key not in self._kept and (kept := self._read(_name(variant))):
            self._kept[key] = kept
        return self._kept.get(key)

    def _keep(self, variant: Variant, what: Kept | jobs.Failure) -> None:
        self._kept[variant.precision, variant.depth] = what
        if isinstance(what, Kept):
            self._write(_name(variant), what)

    def _read(self, name: str) -> Kept | None:
        file = self._work / name / _KEPT
        return msgspec.json.decode(file.read_bytes(), type=Kept) if file.is_file() else None

    def _write(self, name: str, what: Kept) -> None:
        write_file(self._work / name / _KEPT, msgspec.json.encode(what))

    def _spent(self, seconds: dict[str, float]) -> None:
        for what, each in seconds.items():
            self._spend(what, each)


def _holds(embedded: jobs.EmbedResult, documents: jobs.Documents) -> bool:
    """Whether so many of the documents are embedded."""
    return documents == "none" or bool(embedded.document_vectors or (documents == "answers" and embedded.exact))


def _name(variant: Variant) -> str:
    return f"{variant.precision}-L{variant.depth}"
