"""Which configuration a row is of: what decides whether two rows measure the same."""

from __future__ import annotations

from dataclasses import dataclass

from mrl_edge.bench.results import IndexPlan, Measurement

from mrl_edge.providers import CPU, short_name


@dataclass(frozen=True)
class Configuration:
    """What one process measures."""

    precision: str
    depth: int
    dim: int
    threads: int
    plan: IndexPlan | None
    tokens: int | None  # None: the task's texts in their own lengths
    batch: int = 1
    callers: int = 1
    runtime: tuple[str, ...] = ()
    p99_limit_ms: float | None = None  # of texts that arrive by chance; None: callers wait for their answer
    provider: str = CPU

    @property
    def encodes_only(self) -> bool:
        """Whether neither search nor quality belong to it: those are the same as of single texts."""
        return self.tokens is not None or self.batch > 1 or self.callers > 1 or self.p99_limit_ms is not None

    def __str__(self) -> str:
        """Name the configuration in one line."""
        parts = [f"{self.precision} d{self.dim}-L{self.depth}"]
        if self.provider != CPU:
            parts.append(f"on {self.provider}")
        if self.plan:
            parts.append(str(self.plan))
        if self.threads > 1:
            parts.append(f"{self.threads} threads")
        if self.batch > 1:
            parts.append(f"batch {self.batch}")
        if self.callers > 1:
            parts.append(f"{self.callers} {'callers' if self.p99_limit_ms is None else 'at once'}")
        if self.p99_limit_ms is not None:
            parts.append(f"arrivals, p99 ≤ {self.p99_limit_ms:g} ms")
        if self.runtime:
            parts.append("+".join(self.runtime))
        if self.tokens:
            parts.append(f"{self.tokens} tokens")
        return " ".join(parts)


def configuration_of(row: Measurement) -> Configuration:
    """Return what a row measured."""
    shape = row.tokens, row.batch, row.callers
    how = row.runtime, row.p99_limit_ms, short_name(row.provider)
    return Configuration(row.precision, row.depth, row.dim, row.threads, row.plan, *shape, *how)
