"""Options that mean the same in every command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from mrl_edge.cli import completions
from mrl_edge.errors import UsageError
from mrl_edge.providers import PROVIDERS

Text = Annotated[str | None, typer.Option("--text", help="Column with the texts to embed or to classify.")]
Label = Annotated[str | None, typer.Option("--label", help="Column with each text's class.")]
Image = Annotated[str | None, typer.Option("--image", help="Column with the paths of the images.")]
Query = Annotated[str | None, typer.Option("--query", help="Column with the queries of a retrieval task.")]
Positive = Annotated[str | None, typer.Option("--positive", help="Column with the document that answers each query.")]
Negative = Annotated[str | None, typer.Option("--negative", help="Column with a document that does not answer.")]
Score = Annotated[str | None, typer.Option("--score", help="Column with the graded similarity of each pair.")]
Superclass = Annotated[str | None, typer.Option("--superclass", help="Column with the class of each label.")]
Dims = Annotated[
    str | None,
    typer.Option("--dims", help="Nesting dimensions, ascending, as in 8,16,32.", autocompletion=completions.dims),
]
Precisions = Annotated[
    str | None,
    typer.Option("--precision", help="Precisions, as in fp32,int8.", autocompletion=completions.precisions),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision", help="Precision; the bundle's leanest by default.", autocompletion=completions.precision
    ),
]
Depth = Annotated[int | None, typer.Option("--depth", help="Number of encoder layers; all by default.")]
Depths = Annotated[str | None, typer.Option("--depths", help="Numbers of encoder layers, as in 3,6; all by default.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Intra-op threads; one per core by default.")]
Provider = Annotated[
    str,
    typer.Option(
        "--provider",
        help="Where it computes: cpu, cuda or tensorrt (these two with onnxruntime-gpu).",
        autocompletion=completions.one_of(*PROVIDERS),
    ),
]
Providers = Annotated[
    str,
    typer.Option(
        "--provider",
        help="Execution providers to measure with, as in cpu,cuda: cpu, cuda, tensorrt.",
        autocompletion=completions.list_of(*PROVIDERS),
    ),
]
Onnxruntime = Annotated[
    str | None,
    typer.Option(
        "--onnxruntime",
        help="The onnxruntime that a board gets: a wheel's path, or what pip downloads, as in onnxruntime-gpu==1.31.1.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote at --out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]
DeviceProfile = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="A device that mrl-edge devices list shows, or your own profile.toml.",
        autocompletion=completions.devices,
    ),
]
BundleFolder = Annotated[Path, typer.Argument(help="A bundle, as mrl-edge export writes it.", show_default=False)]


def numbers(option: str, text: str, least: int = 1) -> tuple[int, ...]:
    """Read different whole numbers of at least `least` from a comma-separated option."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: expected whole numbers separated by commas") from None
    if min(values) < least or len(set(values)) < len(values):
        raise UsageError(f"{option} {text}: expected different numbers of at least {least}")
    return values


def names(option: str | None) -> tuple[str, ...] | None:
    """Split a comma-separated option; None stays None."""
    return None if option is None else tuple(part.strip() for part in option.split(",") if part.strip())


def refuse_replacing(option: str, out: Path | None, read: Iterable[Path | None]) -> None:
    """Raise `UsageError` where a file would be written over one that it is made of."""
    if out is not None and out.resolve() in {path.resolve() for path in read if path is not None}:
        raise UsageError(f"{option} {out}: it would replace what it is made of; choose another file")
