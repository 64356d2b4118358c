"""The encoder's transformer as one ONNX graph, by optimum: token ids or pixels in, `last_hidden_state` out."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx

from mrl_edge.errors import ModelError
from mrl_edge.tokens import MODEL_INPUTS
from mrl_edge.train.trunk import Trunk

PIXELS = "pixel_values"
HIDDEN = "last_hidden_state"
_MEAN_POOLED = ("mobilenet_v1", "mobilenet_v2", "regnet", "resnet")  # families whose own pooling is the mean


def export_trunk(trunk: Trunk, folder: Path) -> Path:
    """Export the transformer of a trunk to `folder` and return the ONNX file.

    The graph of a text encoder takes int64 [batch, tokens] inputs, both dynamic, and outputs float32 [batch, tokens,
    hidden]. An image encoder's takes float32 `pixel_values` [batch, 3, height, width] and outputs float32 [batch,
    patches, hidden], or [batch, hidden, rows, columns]. Raises `ModelError` for a family that cannot be exported.
    """
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.exporters.tasks import TasksManager

    family = trunk.spec.family
    known = TasksManager.get_supported_model_type_for_task("feature-extraction", exporter="onnx")
    if family not in known:
        raise ModelError(f"encoders of the family {family!r} cannot be exported to ONNX")
    if trunk.spec.pooling == "pooler" and family not in _MEAN_POOLED:
        raise ModelError(f"image encoders of the family {family!r} cannot be exported to ONNX so far")
    logging.getLogger("optimum").setLevel(logging.ERROR)
    trunk.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx_export_from_model(
            trunk.transformer,
            folder,
            task="feature-extraction",
            library_name="transformers",
            do_validation=False,
        )
    return folder / "model.onnx"


def inputs_of(model: onnx.ModelProto, family: str) -> tuple[str, ...]:
    """Return the names of a trunk's inputs; `ModelError` when they are not a text's tokens or an image's pixels."""
    names = tuple(value.name for value in model.graph.input)
    if names == (PIXELS,):
        return names
    if not {"input_ids", "attention_mask"} <= set(names) <= set(MODEL_INPUTS):
        raise ModelError(f"encoders of the family {family!r} take {', '.join(names)}, not the tokens of a text alone")
    return names
