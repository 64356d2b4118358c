"""One export, from a trained model folder to a bundle (design §4)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from mrl_edge.export.fidelity import Reference, check_graph, reference
from mrl_edge.export.heads import Linear, Tail, Unit, graph_for, graph_for_all, store_linear
from mrl_edge.export.precisions.fusion import shape_of
from mrl_edge.export.precisions.judge import Judge
from mrl_edge.export.precisions.ladder import Choices, check_choices, make
from mrl_edge.export.trunk import export_trunk, inputs_of
from mrl_edge.export.weights import FILE, WeightFile
from torch import nn

from mrl_edge.atomic import new_folder
from mrl_edge.bundle import (
    SCHEMA_VERSION,
    TOKENIZER,
    EncoderInfo,
    Graph,
    Manifest,
    Variant,
    file_entries,
    write_manifest,
)
from mrl_edge.errors import ModelError
from mrl_edge.progress import Report, silent
from mrl_edge.tokens import batches, load_tokenizer, pad
from mrl_edge.train.model import SAMPLES, load_exits
from mrl_edge.train.record import Record, read_record
from mrl_edge.train.source import Dense, EncoderSpec, read_encoder
from mrl_edge.train.trunk import Trunk
from mrl_edge.train.trunk import load_tokenizer as load_training_tokenizer

_CHECK_BATCH = 16


@dataclass(frozen=True)
class Trained:
    """A trained model folder, read."""

    folder: Path
    spec: EncoderSpec
    record: Record
    samples: list[str]


def read_model(folder: Path) -> Trained:
    """Read a model folder; `ModelError` when `mrl-edge train` did not write it, or it is damaged."""
    record = read_record(folder)
    if record.modality != "text":
        raise ModelError(f"{folder} is a model of images: bundles are for texts so far")
    try:
        samples = msgspec.json.decode((folder / SAMPLES).read_bytes(), type=list[str])
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{folder} is damaged ({error}): train it again") from None
    return Trained(folder, read_encoder(str(folder)), record, samples)


def export_bundle(
    model: Trained, out: Path, precisions: Sequence[str], report: Report = silent, choices: Choices | None = None
) -> Manifest:
    """Write the bundle `out` and return its manifest.

    Every graph is run against PyTorch on the model's sample texts. Raises `FidelityError`, and writes nothing,
    when an fp32 graph differs by more than 1e-4 or a precision cannot keep its floor.
    """
    choices = choices or Choices()
    made = check_choices(precisions, choices)
    total = len(made) * (len(model.record.dims) + 1) + 1
    with new_folder(out) as folder:
        report("exporting", 0, total)
        trunk = Trunk(model.spec)
        encoder = _write_tokenizer(model, trunk, folder)
        work = folder / "work"
        onnx_trunk = export_trunk(trunk, work)
        inputs = inputs_of(onnx.load(onnx_trunk, load_external_data=False), model.spec.family)
        wanted = reference(
            trunk, _tokenised(folder, encoder, inputs, model.samples), model.record.dims, _classifiers(model)
        )
        done = 1
        variants = []
        judge = Judge(onnx_trunk, wanted.batches, trunk.after)
        calibration = _tokenised(folder, encoder, inputs, choices.calibration or model.samples)
        fusable = shape_of(trunk.transformer.config) if choices.optimise else None
        for plan in made:
            ladder = make(plan, onnx_trunk, work, judge, calibration, choices.floor, fusable, report)
            name = plan.folder
            converted = onnx.load(ladder.path)
            (folder / name).mkdir()
            files = _write_graphs(model, trunk, converted, folder / name)
            graphs = []
            for dim, file in files:
                report("exporting", done, total)
                done += 1
                graphs.append(_checked(folder, name, dim, file, inputs, wanted))
            variants.append(
                Variant(
                    plan.precision,
                    plan.target,
                    model.spec.layers,
                    f"{name}/{FILE}",
                    tuple(graphs),
                    ladder.settings,
                    ladder.fell_back,
                )
            )
        shutil.rmtree(work)
        manifest = _manifest(model, out.name, encoder, variants, folder)
        write_manifest(folder, manifest)
        report("exporting", total, total)
    return manifest


def _write_graphs(
    model: Trained, trunk: Trunk, converted: onnx.ModelProto, folder: Path
) -> list[tuple[int | None, str]]:
    """Write `weights.bin` and every graph of one precision; return (dimension, file name) pairs."""
    with (folder / FILE).open("wb") as file:
        weights = WeightFile(file)
        weights.move(converted)
        tail = _store_tail(model, trunk, weights)
    del converted.graph.value_info[:]  # the runtime infers shapes itself
    converted.producer_name = "mrl-edge"
    files: list[tuple[int | None, str]] = []
    for dim in model.record.dims:
        _save(graph_for(converted, tail, dim), folder / f"d{dim}.onnx")
        files.append((dim, f"d{dim}.onnx"))
    _save(graph_for_all(converted, tail, model.record.dims), folder / "all.onnx")
    return [*files, (None, "all.onnx")]


def _store_tail(model: Trained, trunk: Trunk, weights: WeightFile) -> Tail:
    stored: list[Linear | Unit] = []
    for spec, layer in zip(model.spec.modules[1:], list(trunk.tail)[1:], strict=True):
        if isinstance(spec, Dense):
            stored.append(_store_dense(weights, layer, spec.activation == "tanh"))
        else:
            stored.append(Unit())
    *modules, projection = stored
    if not isinstance(projection, Linear):
        raise ModelError(f"{model.folder}: its last module is no projection: train it again")
    classifiers = {
        dim: store_linear(weights, weight.numpy(), bias.numpy()) for dim, (weight, bias) in _classifiers(model).items()
    }
    return Tail(model.spec.pooling, tuple(modules), projection, classifiers)


def _store_dense(weights: WeightFile, layer: nn.Module, tanh: bool) -> Linear:
    tensors = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
    return store_linear(weights, tensors["linear.weight"], tensors.get("linear.bias"), tanh)


def _classifiers(model: Trained) -> dict[int, Any]:
    return load_exits(model.folder, model.record)[-1].classifiers


def _checked(
    folder: Path, precision: str, dim: int | None, file: str, inputs: tuple[str, ...], wanted: Reference
) -> Graph:
    path = folder / precision / file
    onnx.checker.check_model(path)
    fidelity = check_graph(path, dim, wanted, exact=precision == "fp32")
    outputs = tuple(value.name for value in onnx.load(path, load_external_data=False).graph.output)
    return Graph(f"{precision}/{file}", dim, inputs, outputs, fidelity)


def _write_tokenizer(model: Trained, trunk: Trunk, folder: Path) -> EncoderInfo:
    """Write `tokenizer.json` with the encoder's truncation, and return how texts must be given to it."""
    spec = model.spec
    tokenizer = load_training_tokenizer(spec)
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.enable_truncation(spec.max_tokens)
    (folder / TOKENIZER).write_text(backend.to_str(pretty=False), encoding="utf-8")
    return EncoderInfo(
        source=model.record.source,
        family=spec.family,
        pooling=spec.pooling,
        normalise=True,
        prompts=spec.prompts,
        default_prompt=spec.default_prompt,
        max_tokens=spec.max_tokens,
        pad_id=tokenizer.pad_token_id or 0,
    )


def _tokenised(
    folder: Path, encoder: EncoderInfo, inputs: tuple[str, ...], texts: Sequence[str]
) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Tokenise as the runtime will: batches of similar length, and the shortest and longest text alone."""
    tokenizer = load_tokenizer(folder / TOKENIZER, encoder.max_tokens)
    whole = [ids for _, ids in batches(tokenizer, texts, encoder.pad_id, _CHECK_BATCH)]
    alone = [whole[0][:1], whole[-1][-1:]]
    return [pad(ids, encoder.pad_id, inputs) for ids in [*whole, *alone]]


def _manifest(model: Trained, name: str, encoder: EncoderInfo, variants: list[Variant], folder: Path) -> Manifest:
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    packages = ("mrl-edge", "torch", "transformers", "optimum", "onnx", "onnxruntime", "tokenizers")
    record = model.record
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        encoder=encoder,
        matryoshka=True,
        dims=model.record.dims,
        depths=(model.spec.layers,),
        classes=model.record.classes,
        variants=tuple(variants),
        files=file_entries(folder, names),
        training={
            "objective": record.objective,
            "settings": record.settings,
            "data": record.data,
            "quality": msgspec.to_builtins(record.quality, str_keys=True),
        },
        versions={package: version(package) for package in packages},
    )


def _save(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString(deterministic=True))
