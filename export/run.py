"""One export, from a trained model folder to a bundle (design §4)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import onnx
from mrl_edge.export.fidelity import Reference, check_graph, references
from mrl_edge.export.graphs import Written, opset_of, write_graphs
from mrl_edge.export.inputs import sample_feeds, write_inputs
from mrl_edge.export.model import Exit, Model, read_model
from mrl_edge.export.precisions import check_family_precisions
from mrl_edge.export.precisions.fusion import shape_of
from mrl_edge.export.precisions.judge import Embed, Judge
from mrl_edge.export.precisions.ladder import Choices, Plan, make, plans_for
from mrl_edge.export.samples import with_image_copies, write_samples
from mrl_edge.export.trunk import IR_VERSION, check_family, export_trunk, inputs_of, set_image_size
from mrl_edge.export.untrained import measure_slices, read_untrained
from mrl_edge.export.weights import FILE

from mrl_edge.atomic import new_folder
from mrl_edge.bundle import (
    SCHEMA_VERSION,
    Graph,
    Manifest,
    Samples,
    Slice,
    Variant,
    file_entries,
    write_manifest,
)
from mrl_edge.description import EncoderInfo
from mrl_edge.feeds import make_feeder
from mrl_edge.progress import Report, silent
from mrl_edge.providers import package_version
from mrl_edge.train.trunk import Trunk

__all__ = ("export_bundle", "read_model", "read_untrained")


def export_bundle(
    model: Model, out: Path, precisions: Sequence[str], report: Report = silent, choices: Choices | None = None
) -> Manifest:
    """Write the bundle `out` and return its manifest.

    Every graph is run against PyTorch on the model's sample texts. Raises `FidelityError`, and writes nothing,
    when an fp32 graph differs by more than 1e-4 or a precision cannot keep its floor.
    """
    choices = choices or Choices()
    plans = plans_for(precisions, choices)
    check_family(model.spec)
    check_family_precisions(model.spec.family, precisions)
    total = len(plans) * len(model.exits) * (len(model.dims) + 1) + 1
    with new_folder(out) as folder:
        report("exporting", 0, total)
        model = with_image_copies(model, folder)
        encoder = write_inputs(model, folder)
        trunk = Trunk(model.spec, model.depths)
        work = folder / "work"
        onnx_trunk = export_trunk(trunk, work)
        if encoder.image:
            set_image_size(onnx_trunk, encoder.image.height, encoder.image.width)
        inputs = inputs_of(onnx.load(onnx_trunk, load_external_data=False), model.spec.family)
        feeder = make_feeder(folder, encoder, inputs)
        order, feeds = sample_feeds(feeder, model.samples)
        wanted = references(trunk, feeds, model.exits, model.dims)
        samples = write_samples(folder, model, order, wanted)
        slices = measure_slices(model, trunk, report)
        done = 1
        variants = []
        judge = Judge(onnx_trunk, feeds, [_embed(trunk, exit, model.dims[-1]) for exit in model.exits])
        calibration = feeds
        if choices.calibration:
            _, calibration = sample_feeds(feeder, choices.calibration)
        fusable = shape_of(trunk.transformer.config) if choices.optimise else None
        for plan in plans:
            made = make(plan, onnx_trunk, work, judge, calibration, choices.floor, fusable, report)
            name = plan.folder
            converted = onnx.load(made.path)
            (folder / name).mkdir()
            graphs: dict[int, list[Graph]] = {}
            for written in write_graphs(model, trunk, converted, folder / name):
                report("exporting", done, total)
                done += 1
                graphs.setdefault(written.depth, []).append(_checked(plan, written, inputs, wanted[written.depth]))
            variants += [
                Variant(
                    plan.precision, plan.target, depth, f"{name}/{FILE}", tuple(files), made.settings, made.fell_back
                )
                for depth, files in graphs.items()
            ]
        shutil.rmtree(work)
        manifest = _manifest(model, out.name, encoder, variants, samples, slices, folder)
        write_manifest(folder, manifest)
        report("exporting", total, total)
    return manifest


def _embed(trunk: Trunk, exit: Exit, full: int) -> Embed:
    return lambda state, inputs: exit.projected(trunk.after(state, inputs), full)


def _checked(plan: Plan, written: Written, inputs: tuple[str, ...], wanted: Reference) -> Graph:
    fidelity = check_graph(written.path, written.dim, wanted, exact=plan.precision == "fp32", target=plan.target)
    outputs = tuple(value.name for value in onnx.load(written.path, load_external_data=False).graph.output)
    return Graph(f"{plan.folder}/{written.path.name}", written.dim, inputs, outputs, fidelity)


def _manifest(
    model: Model,
    name: str,
    encoder: EncoderInfo,
    variants: list[Variant],
    samples: Samples,
    slices: tuple[Slice, ...],
    folder: Path,
) -> Manifest:
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    packages = ("mrl-edge", "torch", "transformers", "optimum", "onnx", "onnxruntime", "tokenizers")
    opset = max(
        opset_of(onnx.load(folder / graph.file, load_external_data=False)) for v in variants for graph in v.graphs
    )
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        encoder=encoder,
        matryoshka=model.matryoshka,
        dims=model.dims,
        depths=model.depths,
        classes=model.classes,
        variants=tuple(variants),
        files=file_entries(folder, names),
        training=model.training,
        slices=slices,
        samples=samples,
        versions={
            **{package: package_version(package) for package in packages},
            "onnx opset": str(opset),
            "onnx IR": str(IR_VERSION),
        },
    )
