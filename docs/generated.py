"""What the site makes of the code when it is built: the command line's reference, and the schemas of files.

A hook of MkDocs (mkdocs.yml). The pages are made of typer's commands and msgspec's types, so none can be out of date.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mrl_edge.devices import local
from typer.cli import get_docs_for_click

from mrl_edge import app as shipped
from mrl_edge import description
from mrl_edge.cli import app, schema
from mrl_edge.index import adaptive

_ROOT = Path(__file__).parents[1]
_LINKED = ("tests/browser/embed.mjs", "tests/browser/node.mjs", "tests/browser/web.mjs")  # from docs/export.md
_FILES = {
    schema.File.bundle: (
        "bundle.json",
        "The manifest of a bundle, as `mrl-edge export` and `mrl-edge index` write it.",
    ),
    schema.File.results: ("results.json", "What `mrl-edge bench` measured on one machine."),
    schema.File.budget: ("budget.toml", "A [budget](../choosing.md#the-budget), in TOML."),
    schema.File.choice: (
        "choice.json",
        "What `mrl-edge pick` writes with `--out`, and prints with `--json` but not of `--leave-one-out`, and "
        "`mrl-edge tune` writes with `--choice`. "
        "`mrl-edge ship` and `mrl-edge serve` read its bundle and its configuration.",
    ),
    schema.File.app: ("app.json", "What a [shipped](../shipping.md) folder is, as `mrl-edge ship` writes it."),
    schema.File.model: ("mrl.json", "What a model folder says of its training, as `mrl-edge train` writes it."),
    schema.File.device: ("NAME.toml", "A [device's profile](../devices.md#a-file-of-your-own), in TOML."),
}
_SHORT = re.compile(r"<code>([^<\n]{1,24})</code>")
_FIELD = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, the schemas as files, and the scripts that pages link to."""
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    files.append(File.generated(config, "reference/formats.md", content=formats_page()))
    for file in schema.File:
        text = json.dumps(schema.json_schema(file), indent=2)
        files.append(File.generated(config, f"schemas/{file.value}.schema.json", content=text))
    for name in _LINKED:
        files.append(File.generated(config, name, abs_src_path=str(_ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that leave docs/ for the repository find the copies in the site."""
    return markdown if "/" in page.file.src_uri else markdown.replace("](../", "](")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mark short code within a line, which `site.css` keeps in one."""
    return _SHORT.sub(r'<code class="short">\1</code>', html)


def commands_page() -> str:
    """Return the reference of every command and option, as typer itself writes it."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="mrl-edge")
    _write_examples(command, context)
    return get_docs_for_click(obj=command, ctx=context, name="mrl-edge", title="Command line")


def _write_examples(command: Any, context: typer.Context) -> None:
    """Turn what stands under each command's help into Markdown, and list the commands by whole sentences."""
    command.short_help = command.short_help or (command.help or "").split("\n\n")[0]  # else cut after 45 letters
    if command.epilog:
        parts = [part.strip() for part in command.epilog.split("\n\n")]
        command.epilog = "\n\n".join(_fenced(part) for part in parts)
    for name in getattr(command, "commands", {}):
        _write_examples(command.get_command(context, name), context)


def _fenced(part: str) -> str:
    line = part.removeprefix("Example: ")
    return f"```\n{line}\n```" if line.startswith("mrl-edge ") else part


def formats_page() -> str:
    """Return a table a type for each file that has a schema."""
    page = [
        "# Files",
        "What our files hold. `mrl-edge schema NAME` prints the same as JSON Schema (draft 2020-12), and tests hold "
        "real files against it. Units are in the names. A file of a newer `schema_version` is refused in one line; "
        "keys that are not known are ignored in JSON and refused in the TOML of a device, a fleet or a budget.",
    ]
    for file, (name, what) in _FILES.items():
        made = schema.json_schema(file)
        link = f"[{file.value}.schema.json](../schemas/{file.value}.schema.json)"
        page += [f"## `{name}`", f"{what} As a schema: {link}, or `mrl-edge schema {file.value}`."]
        top = schema.types_of(file)[-1]
        page += [_type_table(key, found, _remarks(top, key)) for key, found in made["$defs"].items()]
    return "\n\n".join(page) + "\n"


def _type_table(name: str, found: dict[str, Any], remarks: dict[str, str]) -> str:
    required = found.get("required", [])
    lines = [f"### {name}", "", _cell(found.get("description", "")), "", "| field | type | |", "| --- | --- | --- |"]
    for field, of in found["properties"].items():
        default = "" if field in required else f"; default `{json.dumps(of['default'])}`" if "default" in of else ""
        lines.append(f"| `{field}` | {_cell(type_in_words(of))}{default} | {_cell(remarks.get(field, ''))} |")
    return "\n".join(lines)


def type_in_words(of: dict[str, Any]) -> str:
    """Say a schema's type as a reader would: `list of Graph`, `number or null`."""
    if "$ref" in of:
        return of["$ref"].rsplit("/", 1)[-1]
    if "anyOf" in of:
        return " or ".join(type_in_words(part) for part in of["anyOf"])
    if "enum" in of:
        return " or ".join(f"`{json.dumps(value)}`" for value in of["enum"])
    if of.get("type") == "array":
        if "prefixItems" in of:
            return "[" + ", ".join(type_in_words(part) for part in of["prefixItems"]) + "]"
        return f"list of {type_in_words(of.get('items', {}))}"
    if of.get("type") == "object":
        values = of.get("additionalProperties")
        return f"map of {type_in_words(values)}" if isinstance(values, dict) else "map"
    kind = of.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _remarks(top: Any, name: str) -> dict[str, str]:
    """Return what the source says beside each field of a type, and of those that it is made of."""
    for module in (inspect.getmodule(top), local, shipped, description, adaptive):
        kind = getattr(module, name, None)
        if inspect.isclass(kind):
            found: dict[str, str] = {}
            for base in reversed(kind.__mro__):
                if base.__module__.startswith("mrl_edge"):
                    found.update(_FIELD.findall(inspect.getsource(base)))
            return found
    return {}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
