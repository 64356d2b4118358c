"""What a budget demands of a task, a bundle and a machine: refused before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mrl_edge.bench import jobs
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.candidates import scores_of
from mrl_edge.bench.known import metrics_of
from mrl_edge.bench.limits import NO_ENERGY
from mrl_edge.bench.preparing import Grid
from mrl_edge.bench.results import Measurement, Quality
from mrl_edge.bench.run import Run
from mrl_edge.devices.energy import find_rapl
from mrl_edge.devices.nvidia import find_gpus
from mrl_edge.devices.power import find_power

from mrl_edge.bundle import Bundle, Variant
from mrl_edge.errors import ResultsError, UsageError
from mrl_edge.metrics import TITLES
from mrl_edge.providers import CPU


def refuse_unanswerable(budget: Budget, task: jobs.Task, bundle: Bundle, grid: Grid) -> None:
    """Raise `UsageError` for an objective or a floor that the task does not score, or a share of a model not there."""
    scored = metrics_of(task, bundle)
    weighed = [name for name in budget.utility if name in TITLES]
    wanted = {"objective": [budget.objective] if budget.objective else [], "utility": weighed}
    for where, names in {**wanted, "min": [*budget.min], "keep": [*budget.keep]}.items():
        for name in names:
            if name not in scored:
                there = ", ".join(scored) or "nothing"
                raise UsageError(f"{where} {name}: this task does not score it; with its columns there is {there}")
    if not scored:
        raise UsageError("the task scores nothing to choose by: give --query and --positive, or --text and --label")
    if budget.keep and all((v.precision, v.depth) != ("fp32", grid.depths[-1]) for v in bundle.manifest.variants):
        raise UsageError(f"a share of the full model is to be kept, and {bundle.folder} has no fp32 of all layers")


def refuse_without_sensor(budget: Budget, providers: Sequence[str]) -> None:
    """Raise `UsageError` for energy where this machine has nothing to read it from, whichever provider computes."""
    if "energy_mj" not in budget.max and "energy_mj" not in budget.utility:
        return
    lacking = [why for one in providers if (why := _lacking_sensor(one)) is not None]
    if len(lacking) == len(providers):
        raise UsageError(f"{NO_ENERGY}: {'; '.join(dict.fromkeys(lacking))}")


def _lacking_sensor(provider: str) -> str | None:
    """Say why a provider's energy cannot be read; None where something says it. RAPL does not count a GPU."""
    if provider != CPU:
        gpus = find_gpus()
        return gpus if isinstance(gpus, str) else None
    counter, sensor = find_rapl(), find_power()
    return f"{counter}; {sensor}" if isinstance(counter, str) and isinstance(sensor, str) else None


def full_quality(run: Run, budget: Budget) -> dict[str, float]:
    """Return what fp32 at the largest depth and dimension that were asked for scores, by the best of the plans.

    It need not be among the precisions that are measured. Raises `ResultsError` where it cannot be run.
    """
    grid, metric = run.grid, next(iter(budget.keep))
    variant, dim = run.bundle.variant("fp32", grid.depths[-1]), grid.dims[-1]
    plans = [plan for plan in run.plans if plan is None or plan.applies_to(dim, run.bundle.manifest.dims[-1])]
    there = {row.plan: row.quality for row in run.results.measurements if row.quality and _is(row, variant, dim)}
    if all(plan in there for plan in plans):
        return _best(there.values(), metric)
    found: jobs.Failure | tuple[jobs.Prepared, ...]
    if run.task.documents:
        found = run.preparations.indexed(variant, [(dim, plan) for plan in plans if plan])
    else:
        answer = run.preparations.embedded(variant, "none")
        found = answer if isinstance(answer, jobs.Failure) else answer.configurations
    if isinstance(found, jobs.Failure):
        raise ResultsError(f"the full model, whose share is to be kept, could not be run: {found.reason}")
    return _best((one.quality for one in found if one.dim == dim), metric)


def _is(row: Measurement, variant: Variant, dim: int) -> bool:
    return row.status == "ok" and (row.precision, row.depth, row.dim) == (variant.precision, variant.depth, dim)


def _best(each: Iterable[Quality], metric: str) -> dict[str, float]:
    return max((scores_of(quality) for quality in each), key=lambda scores: scores.get(metric, 0.0))
