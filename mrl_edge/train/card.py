"""The model card (`README.md`) of a trained folder: what it is, its table by dimension, how to load it."""

from __future__ import annotations

from pathlib import Path

from mrl_edge.metrics import TITLES, method_title
from mrl_edge.train.record import Record


def write_card(folder: Path, name: str, record: Record) -> None:
    """Write the card of a model called `name`; hubs read the lines between the dashes."""
    dims = ", ".join(map(str, record.dims))
    front, usage = _for_images(name, record) if record.modality == "image" else _for_texts(name, record)
    lines = [
        "---",
        *front,
        "---",
        f"# {name}",
        f"A Matryoshka model: every prefix of {dims} dimensions of its embedding is an embedding by itself",
        "([Kusupati et al. 2022](https://arxiv.org/abs/2205.13147)).",
        f"Trained with mrl-edge {record.versions['mrl-edge']} from {Path(record.source).name} on"
        f" {record.data['rows']:,} rows of {record.data['train']}; objective: {', '.join(record.objective)}.",
        "",
        "```",
        *usage,
        "```",
    ]
    if len(record.depths) > 1:
        exits = ", ".join(map(str, record.depths[:-1]))
        lines.append(f"mrl-edge can also stop it after layer {exits} of {record.depths[-1]}.")
    full = record.quality["mrl"][record.dims[-1]]
    for metric in full:
        lines += ["", f"## {TITLES[metric]} on the dev rows, by dimension", *_table(metric, record)]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _for_texts(name: str, record: Record) -> tuple[list[str], list[str]]:
    """Return what hubs read, and how to use the model."""
    front = [
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "tags: [sentence-transformers, matryoshka, mrl-edge]",
    ]
    usage = [
        "from sentence_transformers import SentenceTransformer",
        f'model = SentenceTransformer("{name}", truncate_dim={_middle(record)})',
        'vectors = model.encode(["a text"], normalize_embeddings=True)',
    ]
    return front, usage


def _for_images(name: str, record: Record) -> tuple[list[str], list[str]]:
    """Return what hubs read, and how to use the model."""
    front = ["pipeline_tag: image-feature-extraction", "tags: [matryoshka, mrl-edge]"]
    usage = [
        "from pathlib import Path",
        "from mrl_edge.nesting import prefix",
        "from mrl_edge.train.model import load_model",
        f'model = load_model(Path("{name}"))',
        f'vectors = prefix(model.embed(["an-image.png"], "image", {record.depths[-1]}), {_middle(record)})',
    ]
    return front, usage


def _middle(record: Record) -> int:
    return record.dims[len(record.dims) // 2]


def _table(metric: str, record: Record) -> list[str]:
    lines = [f"| | {' | '.join(map(str, record.dims))} |", f"| --- |{' ---: |' * len(record.dims)}"]
    for method, by_dim in record.quality.items():
        values = [by_dim[dim].get(metric) for dim in record.dims]
        if any(value is not None for value in values):
            cells = " | ".join("–" if value is None else f"{value:.3f}" for value in values)
            lines.append(f"| {method_title(method)} | {cells} |")
    return lines
