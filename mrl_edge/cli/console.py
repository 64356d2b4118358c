"""What a person sees: progress on stderr, tables and notes on stdout. With --json stdout is JSON alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from mrl_edge.progress import Report

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Print a line of the answer."""
    _out.print(printable(line), markup=False)


def note(line: str) -> None:
    """Print a line about the work, on stderr."""
    _err.print(printable(line), markup=False)


def print_json(value: Any) -> None:
    """Print a value (dataclasses and structs included) as indented JSON."""
    _out.file.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under column heads; numbers are right-aligned, None is a dash."""
    table = Table(title=title or None, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    numeric = [all(isinstance(row[i], (int, float, type(None))) for row in rows) for i in range(len(columns))]
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    _out.print(table, markup=False, soft_wrap=False)


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
