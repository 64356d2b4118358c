"""The encoder's transformer as one ONNX graph, by optimum: token ids or pixels in, `last_hidden_state` out.

When depth is nested the states after the shallower layers are outputs too, `hidden_states.3` and so on.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from mrl_edge.export.precisions import CONVOLUTIONAL
from transformers import AutoConfig

from mrl_edge.errors import ModelError
from mrl_edge.feeds import PIXELS
from mrl_edge.tokens import MODEL_INPUTS
from mrl_edge.train.clip import TEXT, VISION
from mrl_edge.train.source import EncoderSpec
from mrl_edge.train.trunk import Trunk

# What the oldest onnxruntime of pyproject.toml, 1.20, reads at most (its docs/Versioning.md): opset 21 and IR 10.
# Opset 18 is the least that optimum exports every family with.
OPSET, NEWEST_OPSET, IR_VERSION = 18, 21, 10
HIDDEN = "last_hidden_state"


def check_family(spec: EncoderSpec) -> None:
    """Raise `ModelError` for an encoder that cannot be exported; call it before any work is done."""
    import optimum.exporters.onnx.model_configs  # noqa: F401 (which registers the families)
    from optimum.exporters.tasks import TasksManager

    if spec.modality == "text" and spec.family != TEXT:
        _check_text_family(spec)
    if spec.family in (TEXT, VISION):
        return  # by our own descriptions
    known = TasksManager.get_supported_model_type_for_task("feature-extraction", exporter="onnx")
    if spec.family not in known:
        raise ModelError(f"{spec.source}: encoders of the family {spec.family!r} cannot be exported to ONNX")
    # Their own pooling is the mean over the image.
    if spec.pooling == "pooler" and spec.family not in CONVOLUTIONAL:
        raise ModelError(f"{spec.source}: image encoders of the family {spec.family!r} cannot be exported so far")


def _check_text_family(spec: EncoderSpec) -> None:
    from optimum.exporters.tasks import TasksManager

    config = AutoConfig.from_pretrained(spec.transformer, trust_remote_code=False)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{spec.source} is an encoder with a decoder ({spec.family}), which is not supported")
    try:
        described = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=spec.family, task="feature-extraction", library_name="transformers"
        )(config)
    except (KeyError, ValueError):
        raise ModelError(f"{spec.source}: encoders of the family {spec.family!r} cannot be exported to ONNX") from None
    check_inputs(tuple(described.inputs), spec.family)


def exit_output(depth: int, layers: int) -> str:
    """Return the name of the trunk's output after layer `depth` of `layers`."""
    return HIDDEN if depth == layers else f"hidden_states.{depth}"


def export_trunk(trunk: Trunk, folder: Path) -> Path:
    """Export the transformer of a trunk to `folder` and return the ONNX file.

    The graph of a text encoder takes int64 [batch, tokens] inputs, both dynamic, and outputs float32 [batch, tokens,
    hidden], once for each of the trunk's depths. An image encoder's takes float32 `pixel_values` [batch, 3, height,
    width] and outputs float32 [batch, patches, hidden], or [batch, hidden, rows, columns]. A CLIP tower's output is
    [batch, hidden], after its projection. Raises `ModelError` for a family that cannot be exported.
    """
    from optimum.exporters.onnx import onnx_export_from_model

    check_family(trunk.spec)
    logging.getLogger("optimum").setLevel(logging.ERROR)
    trunk.eval()
    nested = len(trunk.depths) > 1
    described = _with_states(trunk) if nested else _clip_tower(trunk)
    options = {"output_hidden_states": True} if nested else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx_export_from_model(
            trunk.transformer,
            folder,
            opset=OPSET,
            task="feature-extraction",
            library_name="transformers",
            do_validation=False,
            model_kwargs=options,
            custom_onnx_configs=None if described is None else {"model": described},
        )
    path = folder / "model.onnx"
    if nested:
        _keep_outputs(path, [exit_output(depth, trunk.spec.layers) for depth in trunk.depths])
    elif described is not None:
        _rename_output(path)
    return path


def set_image_size(path: Path, height: int, width: int) -> None:
    """Say in a trunk's graph what size of images it takes; the exporter has traced it with another."""
    model = onnx.load(path, load_external_data=False)
    (pixels,) = model.graph.input
    pixels.CopyFrom(onnx.helper.make_tensor_value_info(PIXELS, onnx.TensorProto.FLOAT, ["batch", 3, height, width]))
    for output in model.graph.output:
        output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, None))
    del model.graph.value_info[:]
    path.write_bytes(model.SerializeToString())


def _clip_tower(trunk: Trunk) -> Any:
    """Return a description of a CLIP tower whose one output is its projection's; None for other encoders."""
    from optimum.exporters.onnx.model_configs import CLIPTextWithProjectionOnnxConfig, CLIPVisionModelOnnxConfig

    bases = {TEXT: CLIPTextWithProjectionOnnxConfig, VISION: CLIPVisionModelOnnxConfig}
    if trunk.spec.family not in bases:
        return None
    base: Any = bases[trunk.spec.family]
    name = "text_embeds" if trunk.spec.family == TEXT else "image_embeds"

    class Tower(base):  # type: ignore[misc]
        outputs = {name: {0: "batch_size"}}  # noqa: RUF012 (a property of the base)

    return Tower(trunk.transformer.config, task="feature-extraction")


def _rename_output(path: Path) -> None:
    """Call the one output of a trunk as `exit_output` does."""
    model = onnx.load(path, load_external_data=False)
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = [HIDDEN if name == output.name else name for name in node.output]
    output.name = HIDDEN
    path.write_bytes(model.SerializeToString())


def _with_states(trunk: Trunk) -> Any:
    """Return optimum's description of the model with the state after each layer among its outputs."""
    from optimum.exporters.tasks import TasksManager

    constructor = TasksManager.get_exporter_config_constructor(
        "onnx", trunk.transformer, task="feature-extraction", library_name="transformers"
    )
    described = constructor(trunk.transformer.config)
    axes = described.outputs[HIDDEN]
    states = {f"hidden_states.{layer}": axes for layer in range(trunk.spec.layers + 1)}

    class WithStates(type(described)):  # type: ignore[misc]
        outputs = {HIDDEN: axes, **states}  # noqa: RUF012 (a property of the base)

    described.__class__ = WithStates
    return described


def _keep_outputs(path: Path, names: Sequence[str]) -> None:
    model = onnx.load(path, load_external_data=False)
    kept = {value.name: value for value in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(kept[name] for name in reversed(names))  # the full depth first
    path.write_bytes(model.SerializeToString())


def inputs_of(model: onnx.ModelProto, family: str) -> tuple[str, ...]:
    """Return the names of a trunk's inputs; `ModelError` when they are not a text's tokens or an image's pixels."""
    names = tuple(value.name for value in model.graph.input)
    check_inputs(names, family)
    return names


def check_inputs(names: tuple[str, ...], family: str) -> None:
    """Raise `ModelError` when inputs are not a text's tokens or an image's pixels."""
    if names == (PIXELS,) or (family == TEXT and names == ("input_ids",)):  # CLIP's attention is causal: no mask
        return
    if not {"input_ids", "attention_mask"} <= set(names) <= set(MODEL_INPUTS):
        raise ModelError(f"encoders of the family {family!r} take {', '.join(names)}, not the tokens of a text alone")
