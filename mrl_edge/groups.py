"""Which rows of a table belong together because they hold the same text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def linked_rows(columns: Iterable[Sequence[str]], count: int) -> list[list[int]]:
    """Return `count` rows in groups, in the order of the groups' first rows.

    Two rows are of one group when they share a text, in whatever columns, directly or over other rows.
    """
    parents = list(range(count))

    def first(row: int) -> int:
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    seen: dict[str, int] = {}
    for texts in columns:
        for row, text in enumerate(texts):
            low, high = sorted((first(row), first(seen.setdefault(text, row))))
            parents[high] = low
    groups: dict[int, list[int]] = {}
    for row in range(count):
        groups.setdefault(first(row), []).append(row)
    return list(groups.values())
