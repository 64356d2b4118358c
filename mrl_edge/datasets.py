"""Reading the user's data: named columns out of CSV, JSONL, Parquet or a Hugging Face `datasets` folder.

Images are given as paths in a column, or as a folder whose subfolders are their classes.

A bad row stops the reading at once, with the file, the line and the reason.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mrl_edge.errors import DataError, UsageError
from mrl_edge.groups import linked_rows
from mrl_edge.readers import class_folder_columns, is_class_folder, locate, read_rows

_INPUTS = ("query", "text", "image")
_TEXTS = (*_INPUTS, "positive")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what; the same options name them in every command."""

    text: str | None = None
    image: str | None = None  # paths, absolute or from the table's own folder
    label: str | None = None
    query: str | None = None
    positive: str | None = None
    negative: str | None = None
    score: str | None = None  # graded similarity of query and positive
    superclass: str | None = None  # of the label

    def named(self) -> dict[str, str]:
        """Return the roles that have a column, as role → column."""
        return {role: column for role, column in asdict(self).items() if column is not None}


@dataclass(frozen=True)
class Table:
    """Texts by role (as in `Columns`), row by row, all of one length.

    Each `score` reads as a finite number, and each `image` is the path of a file that is there.
    """

    source: str
    roles: dict[str, list[str]]

    def __len__(self) -> int:
        return len(next(iter(self.roles.values())))

    def split(self, fraction: float, seed: int) -> tuple[Table, Table]:
        """Return the rows in two parts, the second a random `fraction` of them (at least one row).

        No text or image is in both parts, but for hard negatives. Where positives are so few, or link so many queries,
        that this leaves no such part, a positive may be in both. Raises `UsageError` where the
        inputs themselves are too few.
        """
        for roles in (_TEXTS, _INPUTS):
            groups = linked_rows([self.roles[role] for role in roles if role in self.roles], len(self))
            held = _held_out(groups, max(1, round(fraction * len(self))), seed)
            if held:
                return self._rows(i for i in range(len(self)) if i not in held), self._rows(sorted(held))
        raise UsageError(f"{self.source}: too few different inputs to hold some out as dev rows: give them with --dev")

    def first(self, count: int | None) -> Table:
        """Return the first `count` rows (None: all)."""
        return self if count is None else self._rows(range(min(count, len(self))))

    def sample(self, count: int | None) -> Table:
        """Return at most `count` rows (None: all): the first ones, of class folders as many of each as there are.

        The rows of class folders come a class after the other, so their first ones would be of one class.
        """
        if count is None or count >= len(self) or not is_class_folder(Path(self.source)):
            return self.first(count)
        folder = Path(self.source)
        classes = self.roles.get("label") or [Path(path).relative_to(folder).parts[0] for path in self.roles["image"]]
        met: Counter[str] = Counter()
        turns = []  # of each row: its number within its class
        for name in classes:
            turns.append(met[name])
            met[name] += 1
        return self._rows(sorted(sorted(range(len(self)), key=turns.__getitem__)[:count]))

    def _rows(self, order: Any) -> Table:
        chosen = list(order)
        return Table(self.source, {role: [texts[i] for i in chosen] for role, texts in self.roles.items()})


def read_table(source: str, columns: Columns) -> Table:
    """Read the columns that `columns` names from a file, a `datasets` folder or `builtin:NAME/SPLIT`.

    A folder of class folders has the columns `image` and `label`, and both are read where none is named.
    Raises `DataError` for a file or column that is not there, for an empty table, and for the first bad row.
    """
    wanted = columns.named() or class_folder_columns(source)
    if not wanted:
        raise DataError(f"{source}: say which columns to read, with --text, --image, --label, --query or --positive")
    roles: dict[str, list[str]] = {role: [] for role in wanted}
    for line, row in read_rows(source, sorted(set(wanted.values()))):
        for role, column in wanted.items():
            text = _cell(source, line, column, row.get(column))
            if role == "score" and not _is_finite(text):
                raise DataError(f"{source}, line {line}: column {column!r} is no finite number: {text!r}")
            roles[role].append(_image_path(source, line, text) if role == "image" else text)
    if not next(iter(roles.values())):
        raise DataError(f"{source}: no rows")
    return Table(source, roles)


def spread(count: int, wanted: int | None) -> list[int]:
    """Return `wanted` of the numbers from 0 to `count` - 1, evenly spread, the first and the last among them."""
    if wanted is None or wanted >= count:
        return list(range(count))
    return [round(i * (count - 1) / max(1, wanted - 1)) for i in range(wanted)]


def _held_out(groups: list[list[int]], wanted: int, seed: int) -> set[int]:
    """Return the rows of two or more random groups, half to twice as many as `wanted`; none where that cannot be."""
    order = list(groups)
    random.Random(seed).shuffle(order)  # noqa: S311 (a data split, not a secret)
    held: set[int] = set()
    count = 0
    for group in order:
        if len(held) < wanted and len(held) + len(group) <= 2 * wanted:
            held |= {*group}
            count += 1
    fits = count >= min(wanted, 2) and count < len(groups) and 2 * len(held) >= wanted
    return held if fits else set()


def _cell(source: str, line: int, column: str, value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        value = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        kind = "missing" if value is None else f"not a text but {type(value).__name__}"
        raise DataError(f"{source}, line {line}: column {column!r} is {kind}")
    if not value.strip():
        raise DataError(f"{source}, line {line}: column {column!r} is empty")
    return value


def _image_path(source: str, line: int, name: str) -> str:
    """Return the path of an image that a table names, absolute or from the table's own folder."""
    table = locate(source)
    path = (table if table.is_dir() else table.parent) / name
    if not path.is_file():
        raise DataError(f"{source}, line {line}: no such image: {name}")
    return str(path)


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
