"""A budget: what a device allows, what quality must be kept, and what to maximise; from a TOML file and from options.

[max]                      # of a whole query, on the machine that was measured
p50_ms = 20
peak_rss_mb = 512

[min]
recall_at_10 = 0.5

[keep]                     # at least this share of the full model's
recall_at_10 = 0.97
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import msgspec
from mrl_edge.bench.candidates import OBJECTIVES, Candidate, choose_objective, wilson

from mrl_edge.errors import UsageError
from mrl_edge.metrics import TITLES

Z95 = NormalDist().inv_cdf(0.975)
MOST_CONFIDENCE = 0.975  # the upper end of a measured 95% interval: above it nothing was measured


@dataclass(frozen=True)
class Cost:
    """A figure that a budget can cap; what is not known is infinite, and fits no limit."""

    name: str
    option: str
    title: str
    unit: str
    read: Callable[[Candidate], float]


COSTS = (
    Cost("p50_ms", "--max-p50-ms", "p50 of a query", "ms", lambda row: row.p50_ms),
    Cost("p99_ms", "--max-p99-ms", "p99 of a query", "ms", lambda row: row.p99_ms),
    Cost("cold_start_ms", "--max-cold-ms", "cold start", "ms", lambda row: row.cold_start_ms),
    Cost("peak_rss_mb", "--max-rss-mb", "peak RSS", "MB", lambda row: row.peak_rss_mb),
    Cost("disk_mb", "--max-disk-mb", "disk", "MB", lambda row: row.disk_mb),
    Cost(
        "energy_mj",
        "--max-energy-mj",
        "energy of a query",
        "mJ",
        lambda row: math.inf if row.energy_mj is None else row.energy_mj,
    ),
)
_BY_NAME = {cost.name: cost for cost in COSTS}


def option(name: str) -> str:
    """Return the command line's option for a cost."""
    return _BY_NAME[name].option


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Upper limits by name of `COSTS`, lower limits by quality metric; what is absent is free.

    `keep` are lower limits as shares of the full model's metric. `objective` is the metric to maximise (None: the
    task's own), or `utility` the weights of metrics and costs in a sum to maximise. With `confidence` a limit is held
    by the one-sided bound of a figure's interval, else by the figure.
    """

    max: dict[str, float] = {}
    min: dict[str, float] = {}
    keep: dict[str, float] = {}
    objective: str | None = None
    utility: dict[str, float] = {}
    confidence: float | None = None
    corpus: int | None = None  # documents that there will be
    corpus_now: int | None = None  # documents that there are; limits are held at the larger of the two

    def __post_init__(self) -> None:
        for table, value, known in (("max", self.max, _BY_NAME), ("min", self.min, OBJECTIVES)):
            _check_names(table, value, known)
        _check_names("keep", self.keep, OBJECTIVES)
        for name, limit in self.max.items():
            if not 0 <= limit < math.inf:
                raise UsageError(f"{_BY_NAME[name].option} {limit:g}: expected a number from 0")
        for table, floors in (("min", self.min), ("keep", self.keep)):
            for name, floor in floors.items():
                if not 0 <= floor <= 1:
                    raise UsageError(f"{table}.{name} = {floor:g}: expected a share from 0 to 1")
        if self.confidence is not None and not 0.5 < self.confidence <= MOST_CONFIDENCE:
            raise UsageError(
                f"--confidence {self.confidence:g}: expected more than 0.5 and at most {MOST_CONFIDENCE}, the end of "
                "the intervals that are measured"
            )
        for option, size in (("--corpus", self.corpus), ("--corpus-now", self.corpus_now)):
            if size is not None and size < 1:
                raise UsageError(f"{option} {size}: expected a number of documents from 1")
        self._check_utility()

    @property
    def corpora(self) -> tuple[int, ...]:
        """The numbers of documents that it must hold at, ascending: limits are held at the last. Empty: as measured."""
        return tuple(sorted({size for size in (self.corpus_now, self.corpus) if size is not None}))

    def _check_utility(self) -> None:
        _check_names("utility", self.utility, (*_BY_NAME, *OBJECTIVES))
        if self.utility and self.objective is not None:
            raise UsageError(f"a budget has an objective ({self.objective}) or a utility, not both")
        if self.utility and not any(self.utility.values()):
            raise UsageError("utility: every weight is 0, so that all configurations are worth the same")
        for name, weight in self.utility.items():
            if not math.isfinite(weight) or (name in _BY_NAME and weight > 0) or (name in OBJECTIVES and weight < 0):
                wanted = "0 or less, as it is a cost" if name in _BY_NAME else "0 or more, as it is a quality"
                raise UsageError(f"utility.{name} = {weight:g}: expected {wanted}")


def _check_names(table: str, values: dict[str, float], known: Sequence[str] | dict[str, Cost]) -> None:
    for name in values:
        if name not in known:
            raise UsageError(f"{table}.{name}: no such figure; there is {', '.join(known)}")


def read_budget(path: Path) -> Budget:
    """Read a budget file; `UsageError` says what in it is wrong."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Budget)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such budget file") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no budget: {error}") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def contradictions(budget: Budget) -> list[str]:
    """Say which of the limits do nothing beside others, or cannot all be meant."""
    said = [
        f"min.{name} and keep.{name} are both floors on {TITLES[name]}: the higher one decides"
        for name in budget.min
        if name in budget.keep
    ]
    p50, p99, cold = (budget.max.get(name) for name in ("p50_ms", "p99_ms", "cold_start_ms"))
    if p50 is not None and p99 is not None and p50 >= p99:
        said.append(f"--max-p50-ms {p50:g} does nothing beside --max-p99-ms {p99:g}: half of the queries take less")
    if cold is not None and p50 is not None and cold < p50:
        said.append(
            f"--max-cold-ms {cold:g} is below --max-p50-ms {p50:g}: a cold start ends with a first vector, and a query "
            "so slow would not fit it"
        )
    if len(budget.corpora) > 1 and budget.corpora[-1] == budget.corpus_now:
        said.append(
            f"--corpus {budget.corpus} is below --corpus-now {budget.corpus_now}: limits are held at the larger"
        )
    single = [_BY_NAME[name].title for name in budget.max if name not in ("p50_ms", "disk_mb")]
    if budget.confidence is not None and single and not budget.corpora:  # a prediction has intervals of all
        said.append(
            f"--confidence {budget.confidence:g} is of p50 and quality: what was measured of {', '.join(single)} "
            "is held by its value"
        )
    for name, cost in _BY_NAME.items():
        if name in budget.utility and name in budget.max:
            said.append(f"{cost.title} is limited by {cost.option} and also weighed: both hold")
    return said


@dataclass(frozen=True)
class Objective:
    """What is maximised: a metric, or a weighted sum of metrics and costs."""

    name: str
    title: str
    weights: dict[str, float]

    def value(self, row: Candidate) -> float:
        """Return what a row is worth."""
        return sum(weight * figure(row, name) for name, weight in self.weights.items())

    def points(self, difference: float) -> str:
        """Say a difference as a person would: a metric's in points of a hundred."""
        return (
            f"{difference:.4g} of utility"
            if self.name == "utility"
            else f"{100 * difference:.2f} points of {self.title}"
        )


def objective_of(rows: Sequence[Candidate], budget: Budget) -> Objective:
    """Return what a budget maximises over some rows; raises as `choose_objective`, and for unknown figures."""
    if not budget.utility:
        metric = choose_objective(rows, budget.objective)
        return Objective(metric, TITLES[metric], {metric: 1.0})
    for name in budget.utility:
        if any(not math.isfinite(figure(row, name)) for row in rows):
            raise UsageError(f"utility.{name}: not every row of the results has it")
    return Objective("utility", "utility", dict(budget.utility))


def order_of(row: Candidate, objective: Objective) -> tuple[float, ...]:
    """Return what is least of the row to choose: equals in the objective are decided by time, memory, disk."""
    return -objective.value(row), row.p50_ms, row.peak_rss_mb, row.disk_mb


def figure(row: Candidate, name: str) -> float:
    """Return a cost or a metric of a row; a cost that is not known is infinite, a metric NaN."""
    return _BY_NAME[name].read(row) if name in _BY_NAME else row.quality.get(name, math.nan)


def interval(row: Candidate, name: str, confidence: float = MOST_CONFIDENCE) -> tuple[float, float] | None:
    """Return the interval of a figure whose ends are one-sided bounds at a confidence; None where none was measured.

    A latency's is its measured one, in logarithms narrowed as a normal distribution's: with few processes Student's
    would narrow more. A metric's is Wilson's for so many queries, which holds for any scores from 0 to 1.
    """
    z = NormalDist().inv_cdf(confidence)
    if name == "p50_ms" and row.p50_ci95_ms is not None:
        low, high = row.p50_ci95_ms
        if row.predicted or row.p50_ms <= 0:  # by models, not by a distribution
            return low, high
        narrowed = z / Z95
        return row.p50_ms * (low / row.p50_ms) ** narrowed, row.p50_ms * (high / row.p50_ms) ** narrowed
    if name in row.bounds:
        return row.bounds[name]
    if name in row.quality and row.samples.get(name):
        return wilson(row.quality[name], row.samples[name], z)
    return None


def upper(row: Candidate, cost: Cost, confidence: float | None) -> float:
    """Return what a limit is held against: the figure, or its upper bound where a confidence is asked for.

    A p50 without an interval has no bound, and fits no limit then; of the other costs a single value is measured.
    """
    value = cost.read(row)
    if confidence is None:
        return value
    found = interval(row, cost.name, confidence)
    if found is None:
        return math.inf if cost.name == "p50_ms" else value
    return found[1]


def lower(row: Candidate, metric: str, confidence: float | None) -> float:
    """Return what a floor is held against: the metric, or its lower bound where a confidence is asked for."""
    found = interval(row, metric, confidence) if confidence is not None else None
    return row.quality[metric] if found is None else found[0]
