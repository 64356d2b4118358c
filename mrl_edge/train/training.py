"""One training run, from an encoder folder and a table to a model folder.

The trunk is frozen unless `fine_tune`: its embeddings are computed once and cached, and only the projections
and the class heads are trained. A projection starts as the principal axes of the training embeddings, so that
training begins at PCA's quality and improves on it; or as the encoder's own dimensions, where their loss is
lower because the encoder is a Matryoshka model already. With classes alone it is always the principal axes, and
with `fine_tune` these are fitted on a sample of the rows. A trunk that was fine-tuned is then frozen too, and
projections and class heads learn on alone (`head_epochs`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mrl_edge.atomic import new_folder
from mrl_edge.progress import Report, silent
from mrl_edge.train.card import write_card
from mrl_edge.train.model import save_model
from mrl_edge.train.record import SCHEMA_VERSION, Quality, Record
from mrl_edge.train.run import OnEpoch, Run, Setup
from mrl_edge.train.samples import write_samples
from mrl_edge.train.settings import check


@dataclass(frozen=True)
class Outcome:
    """What a run gave: dev quality by method (`mrl`, `mrl-L3`, `pca`, …) and dimension, and the epochs.

    On processes beside the first, `quality` is empty.
    """

    quality: dict[str, dict[int, Quality]]
    history: list[dict[str, Any]]


def train(
    setup: Setup,
    out: Path,
    report: Report,
    on_epoch: OnEpoch,
    fixed: bool = False,
    fixed_out: Path | None = None,
) -> Outcome:
    """Train and write the model folder `out`; interrupted, the same call continues where it stopped.

    With `fixed`, a model is also trained at each dimension alone (the paper's FF baseline) and its quality
    recorded beside; with `fixed_out` these models are kept there, a model folder each: `d8`, `d16`, ….
    Under `accelerate launch` or `torchrun` every process calls this; the first one writes.
    Raises `UsageError` or `DataError` for settings and data that do not fit each other, `MrlEdgeError` when
    the loss is no longer a number.
    """
    check(setup.spec, setup.data, setup.dev, setup.settings)
    run = Run(setup, report)
    checkpoint = run.checkpoint(out)
    history = run.fit(checkpoint, on_epoch)
    quality = run.final_quality()
    finished = None if fixed_out is None else checkpoint.folder / "fixed"
    if fixed or finished:
        alone = _fixed_quality(setup, out, report, finished)
        quality |= {"ff": alone} if run.accelerator.is_main_process else {}
    outcome = Outcome(quality, history)
    if run.accelerator.is_main_process:
        _save(out, run, outcome)
        if fixed_out and finished:
            _keep(finished, fixed_out, setup.settings.dims)
        checkpoint.remove()
    run.accelerator.wait_for_everyone()
    return outcome


def _fixed_quality(setup: Setup, out: Path, report: Report, finished: Path | None) -> dict[int, Quality]:
    """The dev quality of a model trained at each dimension alone, with the same settings (FF in the paper, §4).

    Where `finished` is given, each of the models is written there once it is trained.
    """
    quality: dict[int, Quality] = {}
    settings = setup.settings
    for number, dim in enumerate(settings.dims):
        report("training at one dimension alone", number, len(settings.dims), f"{dim}")
        alone = replace(settings, dims=(dim,), depths=settings.depths[-1:], weights=(1.0,))
        run = Run(replace(setup, settings=alone), silent)
        if not run.accelerator.is_main_process:
            report = silent
        history = run.fit(run.checkpoint(out), lambda entry: None)
        outcome = Outcome(run.final_quality(), history)
        quality |= {dim: outcome.quality.get("mrl", {}).get(dim, {})}
        if finished and run.accelerator.is_main_process:
            _save(finished / f"d{dim}", run, outcome)
    report("training at one dimension alone", len(settings.dims), len(settings.dims))
    return quality


def _save(out: Path, run: Run, outcome: Outcome) -> None:
    """Write a model folder."""
    record = _record(run, outcome)
    with new_folder(out) as folder:
        save_model(folder, run.model.trunk, run.preprocessing.saved, list(run.model.heads), record)
        write_card(folder, out.name, record)
        write_samples(folder, run.setup.dev)


def _keep(finished: Path, fixed_out: Path, dims: Sequence[int]) -> None:
    """Move the models of one dimension each to where they were asked for, all or none."""
    with new_folder(fixed_out) as folder:
        for dim in dims:
            shutil.move(finished / f"d{dim}", folder / f"d{dim}")


def _record(run: Run, outcome: Outcome) -> Record:
    spec = run.model.trunk.spec
    data = run.setup.data
    return Record(
        schema_version=SCHEMA_VERSION,
        source=spec.source if not Path(spec.source).is_absolute() else Path(spec.source).name,
        dims=run.settings.dims,
        depths=run.settings.depths,
        classes=tuple(run.rows.classes),
        objective=tuple(run.model.objectives),
        settings=asdict(run.settings),
        data={"train": Path(data.source).name, "rows": len(data), "processes": run.accelerator.num_processes},
        quality=outcome.quality,
        history=tuple(outcome.history),
        versions={name: version(name) for name in ("mrl-edge", "torch", "transformers", "numpy")},
        modality=spec.modality,
    )
