"""The kinds of index that `mrl-edge bench` is asked to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrl_edge.cli import options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.results import IndexPlan


def index_plans(kinds: str, rerank_dim: str | None, shortlist: int, dims: tuple[int, ...]) -> tuple[IndexPlan, ...]:
    """Read `--index` and what is ranked again; `UsageError` for a kind that is unknown or not installed."""
    from mrl_edge.bench.results import IndexPlan
    from mrl_edge.index.tune import check_kinds

    names = options.names(kinds) or ()
    if not names or len(set(names)) < len(names):
        raise UsageError(f"--index {kinds}: name each kind of search once, as in annoy,scan")
    check_kinds("--index", names)
    plans = [IndexPlan(name) for name in names]
    if rerank_dim == "tuned":
        plans += [IndexPlan(name, tuned=True) for name in names]
    elif rerank_dim is not None:
        if rerank_dim not in map(str, dims):
            raise UsageError(f"--rerank-dim {rerank_dim} is none of the bundle's dimensions, nor `tuned`")
        plans += [IndexPlan(name, shortlist, int(rerank_dim)) for name in names]
    return tuple(plans)
