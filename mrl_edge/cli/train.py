"""`mrl-edge train`: an encoder and data → a Matryoshka model folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrl_edge.cli import console, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.train.training import Outcome

_EPILOG = """Examples:

mrl-edge train --encoder sentence-transformers/all-MiniLM-L6-v2 --data pairs.csv --query question --positive answer --out model

mrl-edge train --encoder ./my-encoder --data train.jsonl --dev dev.jsonl --text body --label topic --dims 16,64,256 --out model

mrl-edge train --encoder ./my-encoder --data train.jsonl --text body --label topic --fixed-out model-ff --out model

mrl-edge train --encoder ./my-vit --data folder-of-class-folders --fine-tune --out model
"""  # noqa: E501
_METRICS = ("recall_at_10", "ndcg_at_10", "accuracy", "knn_top1", "spearman", "neighbours_at_10")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("train", epilog=_EPILOG)(train)


def train(
    encoder: Annotated[str, typer.Option(help="Encoder folder (Hugging Face or sentence-transformers) or hub id.")],
    data: Annotated[
        str,
        typer.Option(
            help="Training table: .csv, .jsonl, .parquet (or .gz), a datasets folder; or a folder of class folders."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    dev: Annotated[str | None, typer.Option(help="Dev table; by default a tenth of the training rows.")] = None,
    text: options.Text = None,
    image: options.Image = None,
    label: options.Label = None,
    query: options.Query = None,
    positive: options.Positive = None,
    negative: options.Negative = None,
    score: options.Score = None,
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="Train on the first rows only; of class folders on as many of each.")
    ] = None,
    dims: options.Dims = None,
    weights: Annotated[
        str | None, typer.Option(help="Relative importance c_m of each dimension, as in 1,1,2, or `learned`; 1 each.")
    ] = None,
    depths: Annotated[str | None, typer.Option(help="Train exits after these layers too, as in 3,6.")] = None,
    tied: Annotated[bool, typer.Option("--tied", help="One class head for all dimensions (MRL-E).")] = False,
    fine_tune: Annotated[bool, typer.Option("--fine-tune", help="Train the trunk too, not the projection alone.")] = (
        False
    ),
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: 8 with a frozen trunk, 1 fine-tuned.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Default: 512 frozen, 64 fine-tuned.")] = None,
    lr: Annotated[float, typer.Option(min=0, max=1e30, help="Peak learning rate of the projection.")] = 2e-3,
    trunk_lr: Annotated[
        float | None, typer.Option(min=0, max=1e30, help="Peak learning rate of a fine-tuned trunk; 1e-4 by default.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=1e-3, max=1e3, help="Temperature of similarities that are compared; 0.05 by default."),
    ] = None,
    label_weight: Annotated[
        float | None, typer.Option(min=0, help="Weight of the class loss beside the pairs'; 1 by default.")
    ] = None,
    exit_weight: Annotated[
        float | None, typer.Option(min=0, help="Weight of an exit's losses beside the full depth's; 0.15 by default.")
    ] = None,
    exit_distillation: Annotated[
        float | None,
        typer.Option(min=0, help="Weight of an exit's learning from the full depth's similarities; 0.5 by default."),
    ] = None,
    self_distillation: Annotated[
        float,
        typer.Option(min=0, help="Weight of the shorter dimensions' learning what the full one finds alike."),
    ] = 0.0,
    sample_exits: Annotated[
        bool, typer.Option("--sample-exits", help="Train one random exit a step, not all.")
    ] = False,
    head_epochs: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="After --fine-tune, epochs in which projection and class heads learn on alone, in batches of 512;"
            " 4 by default, 0 for none.",
        ),
    ] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Batches an optimizer step.")] = 1,
    max_tokens: Annotated[int | None, typer.Option(min=2, help="Truncate at fewer tokens than the encoder.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the split, the batches and dropout.")] = 0,
    mixed_precision: Annotated[
        str, typer.Option(help="Of the trunk: no, bf16, fp16, or auto: bf16 where the machine is fast at it.")
    ] = "auto",
    train_word_embeddings: Annotated[
        bool, typer.Option("--train-word-embeddings", help="Fine-tune the table of word embeddings too.")
    ] = False,
    fixed_baselines: Annotated[
        bool, typer.Option("--fixed-baselines", help="Also train a model at each dimension alone, to compare with.")
    ] = False,
    fixed_out: Annotated[
        Path | None,
        typer.Option(
            help="Keep those models in this folder, each as large as --out, for evaluate --beside."
            " Implies --fixed-baselines."
        ),
    ] = None,
    cache: Annotated[
        Path, typer.Option(envvar="MRL_EDGE_CACHE", help="Where a frozen trunk's embeddings are kept.")
    ] = Path("~/.cache/mrl-edge"),
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Train every prefix of an encoder's embedding to be a good embedding (MRL).

    The trunk stays frozen unless --fine-tune. Pairs (--query, --positive) train retrieval, classes (--text,
    --label) train a classifier a dimension; give both for both. An image encoder takes --image, with --label or
    alone, or a folder whose subfolders are classes. Interrupted, the same command continues.
    """
    from mrl_edge import datasets
    from mrl_edge.atomic import check_target
    from mrl_edge.nesting import default_dims, parse_dims
    from mrl_edge.train.source import read_encoder

    given = parse_dims(dims) if dims else None
    check_target(out, "mrl.json", overwrite)
    spec = read_encoder(encoder, max_tokens)
    nesting = given or default_dims(spec.width)
    if fixed_out is not None:
        _check_fixed_out(fixed_out, out, nesting[0], overwrite)
    columns = datasets.Columns(
        text=text, image=image, label=label, query=query, positive=positive, negative=negative, score=score
    )
    layers = _depths(depths, spec.layers)
    _check_used(
        {
            "--fine-tune": (
                fine_tune,
                {
                    "--trunk-lr": trunk_lr,
                    "--train-word-embeddings": train_word_embeddings,
                    "--head-epochs": head_epochs,
                },
            ),
            "an exit: give --depths": (
                len(layers) > 1,
                {
                    "--exit-weight": exit_weight,
                    "--exit-distillation": exit_distillation,
                    "--sample-exits": sample_exits,
                },
            ),
            "shorter dimensions: give --dims": (
                len(nesting) > 1,
                {"--self-distillation": self_distillation or None},
            ),
            "both --query and --label": (query and label, {"--label-weight": label_weight}),
        }
    )
    table = datasets.read_table(data, columns).sample(max_rows)
    distils = (len(layers) > 1 and exit_distillation != 0) or self_distillation
    compares = distils or "query" in table.roles or "label" not in table.roles
    _check_used({"a loss that compares: pairs, texts alone or exits": (compares, {"--temperature": temperature})})
    dev_table = datasets.read_table(dev, replace(columns, negative=None)) if dev else None
    if dev_table is None:
        table, dev_table = table.split(0.1, seed)

    from mrl_edge.train.processes import joined
    from mrl_edge.train.run import Setup
    from mrl_edge.train.settings import FROZEN_BATCH, FROZEN_EPOCHS, HEAD_EPOCHS, Settings
    from mrl_edge.train.training import train as run

    settings = Settings(
        dims=nesting,
        depths=layers,
        weights=_weights(weights, len(nesting)),
        tied=tied,
        epochs=epochs or (1 if fine_tune else FROZEN_EPOCHS),
        batch_size=batch_size or (64 if fine_tune else FROZEN_BATCH),
        learning_rate=lr,
        trunk_learning_rate=1e-4 if trunk_lr is None else trunk_lr,
        temperature=0.05 if temperature is None else temperature,
        label_weight=1.0 if label_weight is None else label_weight,
        exit_weight=0.15 if exit_weight is None else exit_weight,
        exit_distillation=0.5 if exit_distillation is None else exit_distillation,
        self_distillation=self_distillation,
        sample_exits=sample_exits,
        head_epochs=0 if not fine_tune else HEAD_EPOCHS if head_epochs is None else head_epochs,
        accumulate=accumulate,
        fine_tune=fine_tune,
        train_word_embeddings=train_word_embeddings,
        seed=seed,
        mixed_precision=_mixed_precision(mixed_precision),
    )
    with console.progress_bar() as report, joined():
        setup = Setup(spec, table, dev_table, settings, cache.expanduser())
        outcome = run(setup, out, report, _say_epoch, fixed_baselines, fixed_out)
    if not outcome.quality:
        return  # one of several processes; the first one speaks
    if as_json:
        console.print_json({"model": str(out), "quality": outcome.quality, "history": outcome.history})
        return
    print_summary(outcome)
    console.say(f"\nmodel: {out}\nnext:  mrl-edge export {out} --out bundle")


def print_summary(outcome: Outcome) -> None:
    """Print one table a metric: methods × dimensions on the dev rows."""
    from mrl_edge.metrics import TITLES, method_title

    ours = outcome.quality["mrl"]
    dims = list(ours)
    for metric in _METRICS:
        if metric not in ours[dims[0]]:
            continue
        rows = [
            [method_title(method), *(by_dim[dim].get(metric) for dim in dims)]
            for method, by_dim in outcome.quality.items()
            if metric in by_dim[dims[0]]
        ]
        console.print_table(f"\n{TITLES[metric]} on the dev rows, by dimension", ["", *map(str, dims)], rows)


def _say_epoch(entry: dict[str, Any]) -> None:
    from mrl_edge.metrics import TITLES

    there = next(iter(entry["dev"].values()))
    shown = ""
    for metric in ("recall_at_10", "spearman", "accuracy"):
        if metric in there:
            scores = [f"{dim}: {console.cell(quality[metric])}" for dim, quality in entry["dev"].items()]
            shown = f", dev {TITLES[metric]} {', '.join(scores)}"
            break
    console.note(f"  epoch {entry['epoch']}: loss {entry['loss']:.3f}{shown}")


def _depths(text: str | None, layers: int) -> tuple[int, ...]:
    from mrl_edge.nesting import parse_ascending

    if text is None:
        return (layers,)
    depths = parse_ascending("--depths", text)
    return depths if depths[-1] >= layers else (*depths, layers)


def _check_used(needs: dict[str, tuple[object, dict[str, object]]]) -> None:
    """Refuse options that were given and do nothing: by what they need, whether it is there, and their values."""
    for needed, (there, given) in needs.items():
        for option, value in given.items():
            if not there and value is not None and value is not False:
                raise UsageError(f"{option} does nothing without {needed}")


def _check_fixed_out(fixed_out: Path, out: Path, smallest: int, overwrite: bool) -> None:
    """Refuse a folder that is not ours, or that would replace the model folder or be replaced with it."""
    from mrl_edge.atomic import check_target

    ours, theirs = out.resolve(), fixed_out.resolve()
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise UsageError(f"--fixed-out {fixed_out}: choose a folder that neither is nor holds --out, nor lies in it")
    check_target(fixed_out, f"d{smallest}/mrl.json", overwrite, "--fixed-out")


def _mixed_precision(wanted: str) -> str:
    from mrl_edge.train.features import has_fast_bfloat16, on_gpu

    if wanted == "auto":
        return "bf16" if has_fast_bfloat16() else "no"
    if wanted not in ("no", "bf16", "fp16"):
        raise UsageError(f"--mixed-precision {wanted}: expected auto, no, bf16 or fp16")
    if wanted == "fp16" and not on_gpu():
        raise UsageError("--mixed-precision fp16 needs a GPU: use bf16, or no")
    return wanted


def _weights(text: str | None, count: int) -> tuple[float, ...] | None:
    if text is None:
        return (1.0,) * count
    if text == "learned":
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--weights {text}: expected numbers separated by commas") from None
