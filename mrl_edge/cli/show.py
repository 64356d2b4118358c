"""`mrl-edge show`: what is inside a bundle."""

from __future__ import annotations

import typer

from mrl_edge.bundle import Bundle, Manifest, Variant
from mrl_edge.cli import console, export, options
from mrl_edge.description import EncoderInfo

_EPILOG = "Example: mrl-edge show bundle"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("show", epilog=_EPILOG)(show)


def show(bundle: options.BundleFolder, as_json: options.AsJson = False) -> None:
    """Print the variants of a bundle with their sizes and fidelity, what the encoder is, and the versions."""
    from mrl_edge.bundle import open_bundle

    opened = open_bundle(bundle)
    if as_json:
        console.print_json(opened.manifest)
    else:
        print_bundle(opened)


def print_bundle(bundle: Bundle) -> None:
    """Print everything that a person asks of a bundle; weights are shared by the depths of a precision."""
    manifest = bundle.manifest
    console.print_facts(_facts(manifest), 14)
    rows = [_row(manifest, variant) for variant in manifest.variants]
    heads = ["precision", "depth", "target", "dims", "weights MB", "graphs MB", "cosine", "min"]
    console.print_table("\nVariants: the worst graph of each against PyTorch at its depth", heads, rows, keys=3)
    export.print_slices(manifest)


def _row(manifest: Manifest, variant: Variant) -> list[object]:
    fidelity = [graph.fidelity for graph in variant.graphs]
    return [
        variant.precision,
        variant.depth,
        variant.target,
        _span([graph.dim for graph in variant.graphs if graph.dim]),
        manifest.files[variant.weights].bytes / 1e6,
        sum(manifest.files[graph.file].bytes for graph in variant.graphs) / 1e6,
        f"{min(each.cosine_mean for each in fidelity):.5f}",
        f"{min(each.cosine_min for each in fidelity):.5f}",
    ]


def _span(dims: list[int]) -> str:
    return str(dims[0]) if len(dims) == 1 else f"{dims[0]}–{dims[-1]}"


def _takes(encoder: EncoderInfo) -> str:
    image = encoder.image
    if image is None:
        return f"{encoder.max_tokens} tokens"
    shrunk = image.resize or (f"shortest edge {image.shortest_edge}" if image.shortest_edge else "own size")
    how = shrunk if isinstance(shrunk, str) else f"{shrunk[0]} × {shrunk[1]}"
    return f"images of {image.height} × {image.width} ({how}, {image.resample}{', cropped' if image.crop else ''})"


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    encoder = manifest.encoder
    prompts = ", ".join(f"{name} {prefix!r}" for name, prefix in encoder.prompts.items()) or "none"
    facts = [
        ("bundle", f"{manifest.name}, {sum(entry.bytes for entry in manifest.files.values()) / 1e6:.1f} MB in all"),
        ("encoder", f"{encoder.source}, {encoder.family}, {encoder.pooling} pooling, {_takes(encoder)}"),
        ("prompts", prompts),
        ("matryoshka", "yes" if manifest.matryoshka else "no, as far as its config says"),
        ("dimensions", ", ".join(map(str, manifest.dims))),
        ("depths", ", ".join(map(str, manifest.depths))),
        ("classes", str(len(manifest.classes) or "none")),
    ]
    if manifest.index is not None:
        index = manifest.index
        facts.append(("index", f"{index.n_items:,} documents, {index.precision} at depth {index.depth}"))
    facts.append(("versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())))
    return facts
