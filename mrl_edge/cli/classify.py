"""`mrl-edge classify`: a text → class probabilities at every dimension."""

from __future__ import annotations

from typing import Annotated

import typer

from mrl_edge.cli import console, options

_EPILOG = 'Example: mrl-edge classify bundle "a small musical phrase" --top 3'


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("classify", epilog=_EPILOG)(classify)


def classify(
    bundle: options.BundleFolder,
    text: Annotated[str, typer.Argument(help="The text to classify.", show_default=False)],
    precision: options.Precision = None,
    depth: options.Depth = None,
    top: Annotated[int, typer.Option(min=1, help="Number of classes to print.")] = 5,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    as_json: options.AsJson = False,
) -> None:
    """Print the class probabilities of a text at every dimension, in one pass over the encoder."""
    from mrl_edge.cli.providers import read_provider
    from mrl_edge.encoder import load_nested

    encoder = load_nested(bundle, precision, depth, threads, read_provider(provider))
    probabilities = {dim: rows[0] for dim, rows in encoder.classify([text]).items()}
    if as_json:
        named = {
            str(dim): {name: float(p) for name, p in zip(encoder.classes, row, strict=True)}
            for dim, row in probabilities.items()
        }
        console.print_json(named)
        return
    best = probabilities[encoder.dims[-1]].argsort()[::-1][:top]
    rows = [[encoder.classes[i], *(f"{probabilities[dim][i]:.3f}" for dim in encoder.dims)] for i in best]
    console.print_table("", ["class", *(f"dim {dim}" for dim in encoder.dims)], rows)
