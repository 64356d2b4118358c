"""`mrl-edge export`: a trained model folder, or any encoder → a bundle."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.bundle import Manifest
from mrl_edge.cli import completions, console, options
from mrl_edge.cpu import TARGETS
from mrl_edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from mrl_edge.export.precisions.judge import Agreement
    from mrl_edge.train.source import EncoderSpec

_EPILOG = """Examples:

mrl-edge export model --out bundle --precision fp32,int8

mrl-edge export nomic-ai/modernbert-embed-base --out bundle --dims 256,768 --matryoshka

mrl-edge export ./my-encoder --out bundle --dims 64,128,384 --texts corpus.csv --text body

mrl-edge export google/vit-base-patch16-224-in21k --out bundle --dims 128,768 --images photos

mrl-edge export openai/clip-vit-base-patch32 --tower vision --out bundle --dims 128,512 --images photos
"""
_TEXTS = "builtin:wordnet_nouns/dev"
_MOST_TEXTS = 1000


class Optimise(str, Enum):
    """Whether to try onnxruntime's transformer fusions."""

    auto = "auto"
    never = "never"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("export", epilog=_EPILOG)(export)


def export(
    model: Annotated[
        str, typer.Argument(help="Model folder, as mrl-edge train writes it, or any encoder (folder or hub id).")
    ],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
    precision: Annotated[
        str | None,
        typer.Option(
            help="Precisions; fp32,int8 by default, of a convolutional net fp32,int8-static.",
            autocompletion=completions.precisions,
        ),
    ] = None,
    dims: Annotated[
        str | None, typer.Option(help="Of an encoder not trained here: dimensions to cut it at, as in 64,128,384.")
    ] = None,
    matryoshka: Annotated[
        bool, typer.Option("--matryoshka", help="The encoder was trained for its --dims, say with MatryoshkaLoss.")
    ] = False,
    layer_norm: Annotated[
        bool, typer.Option("--layer-norm", help="Layer-normalise each vector before it is cut, as Nomic's models want.")
    ] = False,
    texts: Annotated[
        str | None, typer.Option(help="Table, or .txt with a text a line, that slices are measured on; built-in texts.")
    ] = None,
    text: options.Text = None,
    images: Annotated[
        str | None, typer.Option(help="Of an image encoder: folder or table of images that slices are measured on.")
    ] = None,
    image: options.Image = None,
    tower: Annotated[str | None, typer.Option(help="Of a CLIP with both towers: text or vision.")] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help=f"Processors that int8 is made for: {', '.join(TARGETS)}; this one's by default.",
            autocompletion=completions.list_of(*TARGETS),
        ),
    ] = None,
    floor: Annotated[
        str | None, typer.Option(help="Least mean cosine to fp32, and least of all after a comma, as in 0.98,0.95.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="For int8-static: texts, a line each, or a folder of images; the model's samples by default."
        ),
    ] = None,
    optimise: Annotated[
        Optimise,
        typer.Option(help="auto tries onnxruntime's fused nodes and keeps them where they measure faster here."),
    ] = Optimise.never,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Export ONNX graphs sliced to each nesting dimension and depth, with one weight file a precision.

    Every graph is run against PyTorch on real texts or images before the bundle is called done; an fp32 graph that
    differs by more than 1e-4 fails the export. Where another precision misses its floor, its most sensitive
    nodes fall back a step until it holds. An encoder that was never trained here is cut at --dims, and what each
    cut keeps of its texts' nearest neighbours is measured and said.
    """
    from mrl_edge.atomic import check_target
    from mrl_edge.nesting import parse_dims

    check_target(out, "bundle.json", overwrite)
    wanted = parse_dims(dims) if dims else None
    is_trained = (Path(model) / "mrl.json").is_file()
    if is_trained and any((dims, matryoshka, layer_norm, texts, text, images, image, tower)):
        raise UsageError(
            f"{model} was trained here and says its own dimensions: leave out --dims and what goes with it"
        )
    least = _floor(floor)
    from mrl_edge.export.precisions import default_precisions
    from mrl_edge.export.precisions.ladder import Choices
    from mrl_edge.export.run import export_bundle, read_model, read_untrained
    from mrl_edge.train.source import read_encoder

    if is_trained:
        read = read_model(Path(model))
    else:
        given = _given(read_encoder(model, tower=tower), texts, text, images, image)
        read = read_untrained(model, given, wanted, matryoshka, layer_norm, tower)
    calibrating = _calibration(calibration, read.spec.modality)
    choices = Choices(options.names(target) or (), least, optimise is Optimise.auto, calibrating)
    precisions = default_precisions(read.spec.family) if precision is None else options.names(precision) or ()
    with console.progress_bar() as report:
        manifest = export_bundle(read, out, precisions, report, choices)
    if as_json:
        console.print_json(manifest)
    else:
        print_manifest(manifest)
        print_slices(manifest)
    cut = min(manifest.slices, key=lambda cut: cut.neighbours_at_10, default=None)
    if cut and cut.neighbours_at_10 < 1 and not manifest.matryoshka:
        console.note(
            f"warning: nothing says that {model} was trained as Matryoshka (--matryoshka would); dimension {cut.dim} "
            f"keeps {cut.neighbours_at_10:.0%} of a sample's 10 nearest neighbours"
        )
    if not as_json:
        columns = "--query … --positive …" if read.spec.modality == "text" else "--image … --label …"
        console.say(f"\nbundle: {out}\nnext:   mrl-edge bench {out} --data … {columns}")


def print_slices(manifest: Manifest) -> None:
    """Print what each dimension of an encoder that was never trained here keeps of its whole vector."""
    if manifest.slices:
        rows = [[cut.dim, f"{cut.neighbours_at_10:.3f}"] for cut in manifest.slices]
        title = f"\nSlices: 10 nearest neighbours kept of the whole vector's, on {manifest.slices[0].texts:,} samples"
        console.print_table(title, ["dim", "kept"], rows)


def _given(spec: EncoderSpec, texts: str | None, text: str | None, images: str | None, image: str | None) -> list[str]:
    """Read the texts, or the paths of images, that an encoder's slices are measured on."""
    if spec.modality == "text":
        if images or image:
            raise UsageError(f"{spec.source} is an encoder of texts: give --texts, not --images")
        return _texts(texts, text)
    if texts or text:
        raise UsageError(f"{spec.source} is an encoder of images: give --images, not --texts")
    if images is None:
        raise UsageError(f"{spec.source} is an encoder of images: name some of yours with --images")
    return _images(images, image)


def _images(source: str, column: str | None) -> list[str]:
    """Read the paths of images, evenly spread over a folder's or a table's."""
    from mrl_edge.datasets import Columns, read_table, spread
    from mrl_edge.readers import image_files

    if Path(source).is_dir() and column is None:
        paths = [str(path) for path in image_files(Path(source))]
        if not paths:
            raise DataError(f"{source}: no images in this folder")
    else:
        paths = read_table(source, Columns(image=column or "image")).roles["image"]
    return [paths[i] for i in spread(len(paths), _MOST_TEXTS)]


def _texts(source: str | None, column: str | None) -> list[str]:
    """Read the texts that slices are measured on: a line each, or a column of a table (`text`), the first ones."""
    from mrl_edge.datasets import Columns, read_table

    if source is None:
        if column:
            raise UsageError("--text names a column of --texts, which is not given")
        source, column = _TEXTS, "gloss"
    if source.endswith(".txt"):
        return _lines("--texts", Path(source))[:_MOST_TEXTS]
    return read_table(source, Columns(text=column or "text")).roles["text"][:_MOST_TEXTS]


def _floor(option: str | None) -> Agreement | None:
    from mrl_edge.export.precisions.judge import Agreement

    if option is None:
        return None
    try:
        mean, *least = (float(part) for part in option.split(","))
        return Agreement(mean, *(least or (0.9 * mean,)))
    except (TypeError, ValueError):
        raise UsageError(f"--floor {option}: expected one or two cosines, as in 0.98,0.95") from None


def _calibration(path: Path | None, modality: str) -> tuple[str, ...]:
    """Read texts, a line each, or the paths of a folder's images; of more than are needed every nth."""
    from mrl_edge.export.precisions.ladder import MOST_CALIBRATION_IMAGES, MOST_CALIBRATION_TEXTS

    if path is None:
        return ()
    if modality == "text":
        texts, most = _lines("--calibration", path), MOST_CALIBRATION_TEXTS
    elif path.is_dir():
        texts, most = _images(str(path), None), MOST_CALIBRATION_IMAGES
    else:
        raise UsageError(f"--calibration {path}: an image encoder is calibrated on a folder of images")
    return tuple(texts[:: -(-len(texts) // most)])


def _lines(option: str, path: Path) -> list[str]:
    try:
        texts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{option} {path} cannot be read as UTF-8 text: {error}") from None
    if not texts:
        raise DataError(f"{option} {path} holds no text")
    return texts


def print_manifest(manifest: Manifest) -> None:
    """Print one line a graph: its size and its fidelity to PyTorch."""
    rows = [
        [
            str(Path(variant.weights).parent),
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
    console.print_table("\nEach graph against PyTorch on real samples", heads, rows, keys=3)
    for variant in (variant for variant in manifest.variants if variant.depth == manifest.depths[-1]):
        chosen = [f"{name.replace('_', ' ')} {value}" for name, value in variant.settings.items()]
        if variant.fell_back:
            steps = sorted(set(variant.fell_back.values()))
            chosen.append(f"{len(variant.fell_back)} nodes fell back to {' and '.join(steps)} to keep the floor")
        if chosen:
            console.say(f"{variant.precision} for {variant.target}: {', '.join(chosen)}")
