"""`mrl-edge train`: an encoder and data → a Matryoshka model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrl_edge.cli import console, options

if TYPE_CHECKING:
    from mrl_edge.train.run import Outcome

_EPILOG = """Examples:

mrl-edge train --encoder sentence-transformers/all-MiniLM-L6-v2 --data pairs.csv --query question --positive answer --out model

mrl-edge train --encoder ./my-encoder --data train.jsonl --dev dev.jsonl --text body --label topic --dims 16,64,256 --out model
"""  # noqa: E501
_METRICS = ("recall_at_10", "ndcg_at_10", "accuracy", "knn_top1")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("train", epilog=_EPILOG)(train)


def train(
    encoder: Annotated[str, typer.Option(help="Encoder folder (Hugging Face or sentence-transformers) or hub id.")],
    data: Annotated[str, typer.Option(help="Training table: .csv, .jsonl, .parquet (or .gz), a datasets folder.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    dev: Annotated[str | None, typer.Option(help="Dev table; by default a tenth of the training rows.")] = None,
    text: options.Text = None,
    label: options.Label = None,
    query: options.Query = None,
    positive: options.Positive = None,
    dims: options.Dims = None,
    weights: Annotated[str | None, typer.Option(help="Relative importance c_m of each dimension; 1 each.")] = None,
    fine_tune: Annotated[bool, typer.Option("--fine-tune", help="Train the trunk too, not the projection alone.")] = (
        False
    ),
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: 8 with a frozen trunk, 1 fine-tuned.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Default: 512 frozen, 64 fine-tuned.")] = None,
    lr: Annotated[float, typer.Option(min=0, max=1e30, help="Peak learning rate of the projection.")] = 2e-3,
    trunk_lr: Annotated[float, typer.Option(min=0, max=1e30, help="Peak learning rate of a fine-tuned trunk.")] = 5e-5,
    temperature: Annotated[float, typer.Option(min=1e-3, help="Temperature of the contrastive loss.")] = 0.05,
    label_weight: Annotated[float, typer.Option(min=0, help="Weight of the class loss beside the pairs'.")] = 1.0,
    max_tokens: Annotated[int | None, typer.Option(min=2, help="Truncate at fewer tokens than the encoder.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split, the batches and dropout.")] = 0,
    fp32: Annotated[bool, typer.Option("--fp32", help="Do not run the trunk in bfloat16 where it is fast.")] = False,
    cache: Annotated[
        Path, typer.Option(envvar="MRL_EDGE_CACHE", help="Where a frozen trunk's embeddings are kept.")
    ] = Path("~/.cache/mrl-edge"),
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Train every prefix of an encoder's embedding to be a good embedding (MRL).

    The trunk stays frozen unless --fine-tune. Pairs (--query, --positive) train retrieval, classes (--text,
    --label) train a classifier a dimension; give both for both. Interrupted, the same command continues.
    """
    from mrl_edge import datasets
    from mrl_edge.atomic import check_target
    from mrl_edge.nesting import default_dims, parse_dims
    from mrl_edge.train.source import read_encoder

    given = parse_dims(dims) if dims else None
    check_target(out, "mrl.json", overwrite)
    spec = read_encoder(encoder, max_tokens)
    columns = options.columns(text, label, query, positive)
    table = datasets.read_table(data, columns)
    dev_table = datasets.read_table(dev, columns) if dev else None
    if dev_table is None:
        table, dev_table = table.split(0.1, seed)

    from mrl_edge.train.features import has_fast_bfloat16
    from mrl_edge.train.run import train as run
    from mrl_edge.train.settings import Settings

    nesting = given or default_dims(spec.width)
    settings = Settings(
        dims=nesting,
        weights=_weights(weights, len(nesting)),
        epochs=epochs or (1 if fine_tune else 8),
        batch_size=batch_size or (64 if fine_tune else 512),
        learning_rate=lr,
        trunk_learning_rate=trunk_lr,
        temperature=temperature,
        label_weight=label_weight,
        fine_tune=fine_tune,
        seed=seed,
        bfloat16=has_fast_bfloat16() and not fp32,
    )
    with console.progress_bar() as report:
        outcome = run(spec, table, dev_table, settings, out, cache.expanduser(), report, _say_epoch)
    if as_json:
        console.print_json({"model": str(out), "quality": outcome.quality, "history": outcome.history})
        return
    print_summary(outcome)
    console.say(f"\nmodel: {out}\nnext:  mrl-edge export {out} --out bundle --precision fp32,int8")


def print_summary(outcome: Outcome) -> None:
    """Print one table a metric: methods × dimensions on the dev rows."""
    from mrl_edge.metrics import METHODS, TITLES

    ours = outcome.quality["mrl"]
    dims = list(ours)
    for metric in _METRICS:
        if metric not in ours[dims[0]]:
            continue
        rows = [
            [name, *(outcome.quality[method][dim].get(metric) for dim in dims)]
            for method, name in METHODS.items()
            if metric in outcome.quality[method][dims[0]]
        ]
        console.print_table(f"\n{TITLES[metric]} on the dev rows, by dimension", ["", *map(str, dims)], rows)


def _say_epoch(entry: dict[str, Any]) -> None:
    scores = []
    for dim, quality in entry["dev"].items():
        value = quality.get("recall_at_10", quality.get("accuracy"))
        scores.append(f"{dim}: {console.cell(value)}")
    metric = "recall@10" if "recall_at_10" in next(iter(entry["dev"].values())) else "accuracy"
    console.note(f"  epoch {entry['epoch']}: loss {entry['loss']:.3f}, dev {metric} {', '.join(scores)}")


def _weights(text: str | None, count: int) -> tuple[float, ...]:
    from mrl_edge.errors import UsageError

    if text is None:
        return (1.0,) * count
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--weights {text}: expected numbers separated by commas") from None
