"""A choice as JSON: what `mrl-edge pick --json` prints and `--out` writes, and `mrl-edge tune` likewise.

These types are what is written and what `mrl-edge schema choice` is made of. Of it `mrl-edge ship` and `serve` read
what `mrl_edge.choice.Choice` names.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from mrl_edge.bench.candidates import OBJECTIVES, Candidate
from mrl_edge.bench.pick import Choice
from mrl_edge.bench.results import BundleRef, Narrowing
from msgspec import UNSET, UnsetType

from mrl_edge.choice import BundleName, Configuration


class Row(Configuration, frozen=True, kw_only=True):
    """One configuration with its figures; a metric that the task does not score is not there."""

    name: str  # in words
    p50_ms: float  # of a query, as is the next
    p99_ms: float | None  # null where it is not known: it fits no limit then
    encode_p50_ms: float
    search_p50_ms: float
    cold_start_ms: float | None  # null of a board that was not measured
    peak_rss_mb: float  # MB are 10^6 bytes
    disk_mb: float  # of model, index and vectors
    energy_mj: float | None  # of a query
    p50_ci95_ms: tuple[float, float] | None
    stable: bool  # the p50's interval is narrow
    samples: dict[str, int]  # queries, or texts, that each metric is a mean over
    ndcg_at_10: float | UnsetType = UNSET
    recall_at_10: float | UnsetType = UNSET
    mrr_at_10: float | UnsetType = UNSET
    map_at_10: float | UnsetType = UNSET
    accuracy: float | UnsetType = UNSET
    knn_top1: float | UnsetType = UNSET
    plan: str | None  # what was asked of the search
    target_recall: float | None  # that the index was tuned to
    shallow: bool  # another row runs more layers
    measured: bool  # else the costs are the least that they can be, and the metrics the most
    scored: bool  # its metrics are its own, measured or not
    processes: int | None  # that it was measured in, where they are fewer than was asked for
    predicted: bool
    bounds: dict[str, tuple[float, float]]  # of predicted figures, by name


class Missed(msgspec.Struct, frozen=True):
    """How far a configuration misses one limit; what is not known is null."""

    figure: str  # a cost, or a metric with a floor
    limit: float
    value: float | None
    share: float | None  # of the limit, by which the value lies beyond
    text: str


class Traded(msgspec.Struct, frozen=True):
    """What another limit would buy, or another configuration save."""

    figure: str
    amount: float  # in the figure's unit
    gain: float  # in the objective
    row: Row
    text: str


class Relaxed(msgspec.Struct, frozen=True):
    """The least that one limit alone would have to give for something to fit."""

    figure: str
    limit: float
    to: float | None  # null where it alone cannot help
    row: Row | None
    text: str


class Full(msgspec.Struct, frozen=True):
    """The model that shares are of."""

    name: str
    depth: int
    dim: int
    quality: dict[str, float]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was chosen and why. Where something fits, the fields of its `Row` stand beside these."""

    fits: bool
    bundle: BundleName
    configuration: Configuration | None  # null where nothing fits
    objective: str  # a metric, or `utility`
    value: float | None  # of the objective
    why: list[str]
    uncertain: list[str]
    trades: list[Traded]
    relaxations: list[Relaxed]  # of a budget that nothing fits
    next_better: Row | None  # it does not fit
    nearest: Row | None  # of a budget that nothing fits
    full: Full | None  # the model that shares are of; null where none was asked for
    over: list[Missed]  # what the nearest misses
    corpora: list[Row]  # the chosen at each of a budget's two corpora, the smaller first
    pareto: list[Row]
    left_out: dict[str, int] | UnsetType = UNSET  # of a tuning: what was not measured, by why
    stopped: dict[str, int] | UnsetType = UNSET  # likewise: what was measured in fewer processes
    failed: dict[str, int] | UnsetType = UNSET  # likewise: what could not be run


Chosen = Annotated[
    Answer,
    msgspec.Meta(extra_json_schema={"if": {"properties": {"fits": {"const": True}}}, "then": {"$ref": "#/$defs/Row"}}),
]


class Boards(msgspec.Struct, frozen=True):
    """A choice for each of several boards; no file that `--out` writes."""

    boards: dict[str, Chosen]  # by name


def answer(choice: Choice, bundle: BundleRef, narrowing: Narrowing | None = None) -> dict[str, Any]:
    """Return an `Answer` as an object, the chosen row's figures beside the rest; of a tuning with its `narrowing`."""
    chosen, nearest, following, full = choice.chosen, choice.nearest, choice.next_better, choice.full
    said = Answer(
        fits=chosen is not None,
        bundle=BundleName(bundle.name, bundle.sha256),
        configuration=configuration(chosen) if chosen else None,
        objective=choice.objective.name,
        value=choice.objective.value(chosen) if chosen else None,
        why=choice.why,
        uncertain=choice.uncertain,
        trades=[Traded(one.figure, one.amount, one.gain, _row(one.row), one.text) for one in choice.trades],
        relaxations=[
            Relaxed(one.figure, one.limit, one.to, _row(one.row) if one.row else None, one.text)
            for one in choice.relaxations
        ],
        next_better=_row(following) if following else None,
        nearest=_row(nearest) if nearest else None,
        full=Full(full.name, full.depth, full.dim, full.quality) if full else None,
        over=[Missed(one.figure, one.limit, one.value, one.share, one.text) for one in choice.over],
        corpora=[_row(row) for row in choice.corpora],
        pareto=[_row(row) for row in choice.pareto],
        left_out=narrowing.left_out if narrowing else UNSET,
        stopped=narrowing.stopped if narrowing else UNSET,
        failed=narrowing.failed if narrowing else UNSET,
    )
    first = dict.fromkeys(("fits", "bundle", "configuration"))  # the order of the keys
    return {**first, **(msgspec.to_builtins(_row(chosen)) if chosen else {}), **msgspec.to_builtins(said)}


def configuration(row: Candidate) -> Configuration:
    """Return what a device runs, as `ship` and `serve` read it."""
    return Configuration(**{name: getattr(row, name) for name in Configuration.__struct_fields__})


def _row(row: Candidate) -> Row:
    figures: dict[str, Any] = {name: getattr(row, name) for name in Row.__struct_fields__ if name not in OBJECTIVES}
    return Row(**{**figures, **row.quality})
