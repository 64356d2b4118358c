"""`mrl-edge` alone: what lies in the current folder, and the next command for each of it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mrl_edge.cli import console
from mrl_edge.cli.here import ORDER, Kind, Thing, look

_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_BUILTIN = "builtin:wordnet_nouns/dev"  # where no table is here
_SHOWN = 12
_NAMES = {  # what columns are usually called, the likeliest first
    "--query": ("query", "question", "anchor", "sentence1", "gloss", "premise", "title"),
    "--positive": ("positive", "answer", "document", "passage", "sentence2", "lemmas", "hypothesis", "context"),
    "--text": ("text", "body", "sentence", "content", "review", "comment", "utterance"),
    "--label": ("label", "class", "category", "topic", "intent"),
}
_ROLES = (("--query", "--positive"), ("--text", "--label"), ("--text",))  # what is enough to train on
_HELD_OUT = ("dev", "test", "valid")


def print_next(folder: Path, commands: Collection[str]) -> None:
    """Print what is in a folder, each with its next command, and of all of them the one to run now.

    `commands` are the commands that there are.
    """
    things = look(folder)
    if not things:
        console.say("Nothing here that mrl-edge made or can take: no model, bundle, results or table.")
        console.say("quickstart does all of it on a real encoder and real data, in minutes.")
    for thing in things[:_SHOWN]:
        console.print_facts([(thing.path, thing.what)], max(len(thing.path) + 2, 16))
        if command := next_command(thing, things, commands):
            console.say(f"  {command}")
    if len(things) > _SHOWN:
        console.say(f"and {len(things) - _SHOWN} more")
    console.say(f"{_last_line(things, commands)}\nmrl-edge --help lists every command.")


def _last_line(things: Sequence[Thing], commands: Collection[str]) -> str:
    """Give the command of what is farthest along the work."""
    far = sorted(things, key=lambda thing: ORDER.index(thing.kind), reverse=True)
    for thing in far:
        if command := next_command(thing, things, commands):
            return f"\nnext: {command}"
    return "\nnext: mrl-edge quickstart"


def next_command(thing: Thing, things: Sequence[Thing], commands: Collection[str]) -> str | None:
    """Return the command that takes a thing a step on, beside what else there is; None for what is of no use."""
    if not thing.usable:
        return None
    path, there = _quoted(thing.path), _by_kind(things)
    tables = there.get("table", [])
    if thing.kind == "table":
        return _of_table(thing, tables, there["encoder"][0].path if "encoder" in there else _ENCODER, things)
    if thing.kind == "encoder" and (best := _best(tables, held_out=False)):
        data = f"{_quoted(best.path)} {_roles(best)}"
        return f"mrl-edge train --encoder {path} --data {data} --out {_free('model', things)}"
    if thing.kind in ("encoder", "model"):
        return f"mrl-edge export {path} --out {_free('bundle', things)}"
    if thing.kind == "bundle":
        return _of_bundle(thing, tables, "results" in there)
    if thing.kind == "results":
        if thing.again:
            return None  # only who began it knows its options
        budget = f"mrl-edge pick {path} --max-p50-ms 20 --max-rss-mb 512"
        return f"mrl-edge report {path}" if "choice" in there else f"{budget} --out {_free('choice.json', things)}"
    if thing.kind == "choice":
        return _of_choice(thing, things, commands)
    return f'python {_quoted(_under(thing.path, "example.py"))} "your query"'


def _of_table(thing: Thing, tables: Sequence[Thing], encoder: str, things: Sequence[Thing]) -> str | None:
    """Train on it, unless its name says that it was held out and there is another to train on."""
    others = [table for table in tables if table.usable and _is_held_out(table) and table.columns == thing.columns]
    if _is_held_out(thing) and any(not _is_held_out(table) for table in tables):
        return None
    dev = f" --dev {_quoted(others[0].path)}" if others and others[0] != thing else ""
    data = f"--data {_quoted(thing.path)}{dev} {_roles(thing)}"
    return f"mrl-edge train --encoder {_quoted(encoder)} {data} --out {_free('model', things)}"


def _of_bundle(thing: Thing, tables: Sequence[Thing], measured: bool) -> str:
    path = _quoted(thing.path)
    if not thing.indexed:
        corpus = _best(tables, held_out=False)
        if corpus is None:
            return f"mrl-edge index {path} {_BUILTIN} --positive lemmas"
        return f"mrl-edge index {path} {_quoted(corpus.path)} {_documents(corpus)}"
    task = _best(tables, held_out=True)
    if measured or task is None:
        return f'mrl-edge search {path} "your query" --dim {thing.dims[-1]}'
    return f"mrl-edge bench {path} --data {_quoted(task.path)} {_roles(task)}"


def _of_choice(thing: Thing, things: Sequence[Thing], commands: Collection[str]) -> str | None:
    there = _by_kind(things)
    if not thing.fits:
        results = there.get("results")
        return f"mrl-edge pick {_quoted(results[0].path)} --max-rss-mb 1024" if results else None
    bundles = [bundle for bundle in there.get("bundle", []) if bundle.usable and bundle.bundle == thing.bundle]
    if bundles and "ship" in commands:
        shipped = _free("app", things)
        return f"mrl-edge ship {_quoted(bundles[0].path)} --pick {_quoted(thing.path)} --out {shipped}"
    return None


def _best(tables: Sequence[Thing], held_out: bool) -> Thing | None:
    """Return the table to take: by its name one that was held out, or not; else the first that can be read."""
    usable = [table for table in tables if table.usable and table.columns]
    wanted = [table for table in usable if _is_held_out(table) == held_out]
    return next(iter([*wanted, *usable]), None)


def _is_held_out(table: Thing) -> bool:
    return any(word in table.path.lower() for word in _HELD_OUT)


def _roles(table: Thing) -> str:
    """Name the columns that are called as such columns usually are; else the first as texts."""
    found = _columns(table)
    for needed in _ROLES:
        if all(option in found for option in needed):
            return " ".join(f"{option} {_quoted(found[option])}" for option in needed)
    return f"--text {_quoted(table.columns[0])}" if table.columns else "--text text"


def _documents(table: Thing) -> str:
    found = _columns(table)
    for option in ("--positive", "--text"):
        if option in found:
            return f"{option} {_quoted(found[option])}"
    return f"--text {_quoted(table.columns[0])}"


def _columns(table: Thing) -> Mapping[str, str]:
    lower = {column.lower(): column for column in table.columns}
    found = {}
    for option, names in _NAMES.items():
        column = next((lower[name] for name in names if name in lower), None)
        if column is not None:
            found[option] = column
    return found


def _by_kind(things: Sequence[Thing]) -> dict[Kind, list[Thing]]:
    found: dict[Kind, list[Thing]] = {}
    for thing in things:
        found.setdefault(thing.kind, []).append(thing)
    return found


def _free(name: str, things: Sequence[Thing]) -> str:
    """Return a name for what a command writes that is not taken: `bundle`, else `bundle-2` and so on."""
    stem, dot, suffix = name.partition(".")
    taken = {thing.path for thing in things}
    number = 1
    while (free := name if number == 1 else f"{stem}-{number}{dot}{suffix}") in taken:
        number += 1
    return free


def _under(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _quoted(path: str) -> str:
    return shlex.quote(f"./{path}" if path.startswith("-") else path)
