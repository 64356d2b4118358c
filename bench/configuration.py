"""Which configuration a row is of: what decides whether two rows measure the same."""

from __future__ import annotations

from dataclasses import dataclass

from mrl_edge.bench.results import IndexPlan, Measurement


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

    @property
    def encodes_only(self) -> bool:
        """Whether neither search nor quality belong to it: those are the same as of single texts."""
        return self.tokens is not None or self.batch > 1 or self.callers > 1

    def __str__(self) -> str:
        """Name the configuration in one line."""
        parts = [f"{self.precision} d{self.dim}-L{self.depth}"]
        if self.plan:
            parts.append(str(self.plan))
        if self.threads > 1:
            parts.append(f"{self.threads} threads")
        if self.batch > 1:
            parts.append(f"batch {self.batch}")
        if self.callers > 1:
            parts.append(f"{self.callers} callers")
        if self.runtime:
            parts.append("+".join(self.runtime))
        if self.tokens:
            parts.append(f"{self.tokens} tokens")
        return " ".join(parts)


def configuration_of(row: Measurement) -> Configuration:
    """Return what a row measured."""
    return Configuration(
        row.precision, row.depth, row.dim, row.threads, row.plan, row.tokens, row.batch, row.callers, row.runtime
    )
