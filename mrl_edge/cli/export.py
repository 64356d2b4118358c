"""`mrl-edge export`: a trained model folder → a bundle."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.bundle import Manifest
from mrl_edge.cli import console, options
from mrl_edge.cpu import TARGETS
from mrl_edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from mrl_edge.export.precisions.judge import Agreement

_EPILOG = "Example: mrl-edge export model --out bundle --precision fp32,int8"


class Optimise(str, Enum):
    """Whether to try onnxruntime's transformer fusions."""

    auto = "auto"
    never = "never"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("export", epilog=_EPILOG)(export)


def export(
    model: Annotated[Path, typer.Argument(help="A model folder, as mrl-edge train writes it.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
    precision: options.Precisions = "fp32,int8",
    target: Annotated[
        str | None, typer.Option(help=f"Processors that int8 is made for: {', '.join(TARGETS)}; this one's by default.")
    ] = None,
    floor: Annotated[
        str | None, typer.Option(help="Least mean cosine to fp32, and least of all after a comma, as in 0.98,0.95.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Texts for int8-static, a line each; the model's sample texts by default.")
    ] = None,
    optimise: Annotated[
        Optimise,
        typer.Option(help="auto tries onnxruntime's fused nodes and keeps them where they measure faster here."),
    ] = Optimise.never,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Export ONNX graphs sliced to each nesting dimension, with one weight file a precision.

    Every graph is run against PyTorch on real texts before the bundle is called done; an fp32 graph that
    differs by more than 1e-4 fails the export. Where another precision misses its floor, its most sensitive
    nodes fall back a step until it holds.
    """
    from mrl_edge.atomic import check_target

    check_target(out, "bundle.json", overwrite)
    from mrl_edge.export.precisions.ladder import Choices
    from mrl_edge.export.run import export_bundle, read_model

    trained = read_model(model)
    if shallow := trained.record.depths[:-1]:
        console.note(
            f"  the exits after layer {', '.join(map(str, shallow))} are not exported so far, the full depth is"
        )
    choices = Choices(options.names(target) or (), _floor(floor), optimise is Optimise.auto, _calibration(calibration))
    with console.progress_bar() as report:
        manifest = export_bundle(trained, out, options.names(precision) or (), report, choices)
    if as_json:
        console.print_json(manifest)
        return
    print_manifest(manifest)
    console.say(f"\nbundle: {out}\nnext:   mrl-edge bench {out} --data … --query … --positive …")


def _floor(option: str | None) -> Agreement | None:
    from mrl_edge.export.precisions.judge import Agreement

    if option is None:
        return None
    try:
        mean, *least = (float(part) for part in option.split(","))
        return Agreement(mean, *(least or (0.9 * mean,)))
    except (TypeError, ValueError):
        raise UsageError(f"--floor {option}: expected one or two cosines, as in 0.98,0.95") from None


def _calibration(path: Path | None) -> tuple[str, ...]:
    """Read texts, a line each; of more than are needed every nth."""
    from mrl_edge.export.precisions.ladder import MOST_CALIBRATION_TEXTS

    if path is None:
        return ()
    try:
        texts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--calibration {path} cannot be read as UTF-8 text: {error}") from None
    if not texts:
        raise DataError(f"--calibration {path} holds no text")
    return tuple(texts[:: -(-len(texts) // MOST_CALIBRATION_TEXTS)])


def print_manifest(manifest: Manifest) -> None:
    """Print one line a graph: its size and its fidelity to PyTorch."""
    rows = [
        [
            variant.precision,
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
    heads = ["precision", "dim", "graph MB", "shared MB", "max error", "cosine mean", "min"]
    console.print_table("\nEach graph against PyTorch on real texts", heads, rows)
    for variant in manifest.variants:
        chosen = [f"{name.replace('_', ' ')} {value}" for name, value in variant.settings.items()]
        if variant.fell_back:
            steps = sorted(set(variant.fell_back.values()))
            chosen.append(f"{len(variant.fell_back)} nodes fell back to {' and '.join(steps)} to keep the floor")
        if chosen:
            console.say(f"{variant.precision} for {variant.target}: {', '.join(chosen)}")
