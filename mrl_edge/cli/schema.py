"""`mrl-edge schema`: what our files hold, as JSON Schema."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from mrl_edge.cli import console

_EPILOG = """Examples:

mrl-edge schema results > results.schema.json

mrl-edge schema bundle
"""


class File(str, Enum):
    """The files that have a schema."""

    bundle = "bundle"
    results = "results"
    budget = "budget"
    choice = "choice"
    app = "app"
    model = "model"
    device = "device"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("schema", epilog=_EPILOG)(schema)


def schema(
    file: Annotated[
        File,
        typer.Argument(
            help="bundle.json, results.json, choice.json, app.json, mrl.json, or the TOML of a budget or device."
        ),
    ],
) -> None:
    """Print the JSON Schema of a file that mrl-edge writes or reads."""
    console.print_json(json_schema(file))


def json_schema(file: File) -> dict[str, Any]:
    """Return the schema (draft 2020-12) that a file is validated by when it is read; a choice, as it is written.

    Keys that a newer version may add are allowed, except in the TOML of a device or a budget.
    """
    import msgspec

    made, types = msgspec.json.schema_components(types_of(file), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"mrl-edge {file.value}",
        **_plain({**(made[0] if len(made) == 1 else {"anyOf": [*made]}), "$defs": types}),
    }


def types_of(file: File) -> tuple[Any, ...]:
    """Return the types that a file may be of."""
    if file is File.bundle:
        from mrl_edge.bundle import Manifest

        return (Manifest,)
    if file is File.results:
        from mrl_edge.bench.results import Results

        return (Results,)
    if file is File.budget:
        from mrl_edge.bench.budget import Budget

        return (Budget,)
    if file is File.choice:
        from mrl_edge.bench.answer import Boards, Chosen

        return Chosen, Boards
    if file is File.app:
        from mrl_edge.ship.manifest import AppManifest

        return (AppManifest,)
    if file is File.model:
        from mrl_edge.train.record import Record

        return (Record,)
    from mrl_edge.devices.profiles import Profile

    return (Profile,)


def _plain(value: Any) -> Any:
    r"""Write the end of a text in patterns as JSON Schema's dialect has it: `$`, where Python has `\Z`."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: part.replace(r"\Z", "$") if key == "pattern" and isinstance(part, str) else _plain(part)
        for key, part in value.items()
    }
