"""How a table fits a terminal: long texts wrap at words, and what is still too wide becomes several tables.

Nothing is left out and nothing is cut off: tables below each other each begin with the columns that name a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

GAP = 2  # blanks between columns
_SHORTEST = 12  # a wrapped text, unless all of it is shorter
_LONGEST_WORD = 24  # a longer one, a path or a URL, is broken


@dataclass(frozen=True)
class Column:
    """A head and the cells under it; only texts, and heads, may wrap."""

    head: str
    cells: tuple[str, ...]
    numeric: bool

    @property
    def natural(self) -> int:
        """The width at which nothing wraps."""
        return max(map(cell_len, (self.head, *self.cells)))

    @property
    def least(self) -> int:
        """The width from which on it can be read."""
        head = max(map(cell_len, self.head.split()), default=0)
        if self.numeric:
            return max(head, *map(cell_len, self.cells), 0)
        words = [cell_len(word) for text in (self.head, *self.cells) for word in text.split()]
        return min(self.natural, max(_SHORTEST, head, min(_LONGEST_WORD, max(words, default=0))))


@dataclass(frozen=True)
class Block:
    """One of the tables: which columns stand in it, and how wide each is."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]


def fold(columns: Sequence[Column], width: int, keys: int) -> list[Block]:
    """Lay columns out within `width`, in one block if that can be read; each begins with the first `keys` of them."""
    if _total([column.least for column in columns]) <= width:
        return [Block(tuple(range(len(columns))), _shrink(columns, width))]
    rest = list(range(keys, len(columns)))
    blocks: list[Block] = []
    while rest or not blocks:
        taken = list(range(keys))
        while rest and (len(taken) == keys or _total([columns[i].natural for i in (*taken, rest[0])]) <= width):
            taken.append(rest.pop(0))
        blocks.append(Block(tuple(taken), _shrink([columns[i] for i in taken], width)))
    return blocks


def _shrink(columns: Sequence[Column], width: int) -> tuple[int, ...]:
    """Take from the widest column that has something to give until all of them fit, or none has."""
    widths = [column.natural for column in columns]
    least = [column.least for column in columns]
    while _total(widths) > width:
        widest = max(range(len(widths)), key=lambda i: (widths[i] > least[i], widths[i]))
        if widths[widest] <= least[widest]:
            break
        others = [widths[i] for i in range(len(widths)) if i != widest and widths[i] > least[i]]
        floor = max(least[widest], max(others, default=0) - 1)  # then it is another's turn
        widths[widest] = max(min(floor, widths[widest] - 1), widths[widest] - (_total(widths) - width))
    return tuple(widths)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)
