"""`mrl-edge export`: a trained model folder → a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrl_edge.bundle import Manifest
from mrl_edge.cli import console, options

_EPILOG = "Example: mrl-edge export model --out bundle --precision fp32,int8"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("export", epilog=_EPILOG)(export)


def export(
    model: Annotated[Path, typer.Argument(help="A model folder, as mrl-edge train writes it.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
    precision: options.Precisions = "fp32,int8",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Export ONNX graphs sliced to each nesting dimension, with one weight file a precision.

    Every graph is run against PyTorch on real texts before the bundle is called done; an fp32 graph that
    differs by more than 1e-4 fails the export.
    """
    from mrl_edge.atomic import check_target

    check_target(out, "bundle.json", overwrite)
    from mrl_edge.export.run import export_bundle, read_model

    trained = read_model(model)
    with console.progress_bar() as report:
        manifest = export_bundle(trained, out, options.names(precision) or (), report)
    if as_json:
        console.print_json(manifest)
        return
    print_manifest(manifest)
    console.say(f"\nbundle: {out}\nnext:   mrl-edge bench {out} --data … --query … --positive …")


def print_manifest(manifest: Manifest) -> None:
    """Print one line a graph: its size and its fidelity to PyTorch."""
    rows = [
        [
            variant.precision,
            variant.depth,
            graph.dim or "all",
            manifest.files[graph.file].bytes / 1e6,
            manifest.files[variant.weights].bytes / 1e6,
            graph.fidelity.max_abs_error,
            f"{graph.fidelity.cosine_mean:.5f}",
            f"{graph.fidelity.cosine_min:.5f}",
        ]
        for variant in manifest.variants
        for graph in variant.graphs
    ]
    heads = ["precision", "depth", "dim", "graph MB", "shared MB", "max error", "cosine mean", "min"]
    console.print_table("\nEach graph against PyTorch on real texts", heads, rows)
