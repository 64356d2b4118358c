"""What a person sees: progress on stderr, tables and notes on stdout. With --json stdout is JSON alone.

Tables fit the terminal, and 80 columns where the output is none. Where it takes ASCII alone our own signs are spelled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from mrl_edge.cli.table import GAP, Block, Column, fold
from mrl_edge.progress import Report

_SPELLED = str.maketrans({"–": "-", "−": "-", "→": "->", "×": "x", "…": "...", "✓": "+", "≤": "<=", "⁹": "^9"})
_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Print a line of the answer."""
    _out.print(_readable(line, _out), markup=False)


def note(line: str) -> None:
    """Print a line about the work, on stderr."""
    _err.print(_readable(line, _err), markup=False)


def print_json(value: Any) -> None:
    """Print a value (dataclasses and structs included) as indented JSON."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    _out.file.write((text if _takes(_out, text) else json.dumps(json.loads(text), indent=2)) + "\n")


def print_facts(facts: Sequence[tuple[str, str]], indent: int) -> None:
    """Print a line a fact, its name before it, wrapped at words under itself."""
    for name, value in facts:
        first, *rest = wrap(value, max(_out.width - indent, 20)) or [""]
        say(f"{name:<{indent}}{first}")
        for line in rest:
            say(" " * indent + line)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], keys: int = 1) -> None:
    """Print rows under column heads; numbers are right-aligned, None is a dash.

    A column of dashes alone is left out. What is too wide goes on in further tables, which begin with the first
    `keys` columns again: those that name a row.
    """
    told = [i for i in range(len(columns)) if i < keys or not rows or any(row[i] is not None for row in rows)]
    cells = [tuple(_readable(cell(row[i]), _out) for row in rows) for i in told]
    numeric = [all(isinstance(row[i], (int, float, type(None))) for row in rows) for i in told]
    laid = [
        Column(_readable(columns[i], _out), texts, right) for i, texts, right in zip(told, cells, numeric, strict=True)
    ]
    if title:
        _out.print(_readable(title, _out), markup=False, soft_wrap=False)
    for number, block in enumerate(fold(laid, _out.width, min(keys, len(laid)))):
        if number:
            _out.print()
        _out.print(_drawn(laid, block), markup=False, soft_wrap=False)


def _drawn(columns: Sequence[Column], block: Block) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    there = [columns[i] for i in block.columns]
    for column, width in zip(there, block.widths, strict=True):
        table.add_column(column.head, justify="right" if column.numeric else "left", overflow="fold", width=width)
    for row in zip(*(column.cells for column in there), strict=True):
        table.add_row(*row)
    return table


def cell(value: object) -> str:
    """Format one value of a table."""
    if value is None:
        return "–"
    if isinstance(value, float):
        if value and abs(value) < 1e-3:
            return f"{value:.1e}"
        return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"
    return printable(str(value))


def printable(text: str) -> str:
    """Return a text whose control characters are spaces: a results file may be another machine's."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def _readable(text: str, console: Console) -> str:
    shown = printable(text)
    return shown if _takes(console, shown) else shown.translate(_SPELLED)


def _takes(console: Console, text: str) -> bool:
    try:
        text.encode(getattr(console.file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def progress_bar() -> Iterator[Report]:
    """Yield a `Report` that draws one bar a stage on stderr (a plain line a stage when that is no terminal)."""
    if not _err.is_terminal:
        yield _PlainReport()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_err, transient=False) as progress:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int, now: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total, description=f"{stage} {now}".rstrip())

        yield report


class _PlainReport:
    """Says each stage, and each thing at work in it, once, for logs."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def __call__(self, stage: str, done: int, total: int, now: str = "") -> None:
        if not now and any(said == stage for said, _ in self._said):
            return
        if (stage, now) not in self._said:
            self._said.add((stage, now))
            note(f"  {stage} {done + 1}/{total}: {now}" if now else f"  {stage} ({total})")
