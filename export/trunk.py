"""The encoder's transformer as one ONNX graph, by optimum: token ids in, `last_hidden_state` out."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx

from mrl_edge.errors import ModelError
from mrl_edge.tokens import MODEL_INPUTS
from mrl_edge.train.trunk import Trunk

HIDDEN = "last_hidden_state"


def export_trunk(trunk: Trunk, folder: Path) -> Path:
    """Export the transformer of a trunk to `folder` and return the ONNX file.

    The graph takes int64 [batch, tokens] inputs, both dynamic, and outputs float32 [batch, tokens, hidden].
    Raises `ModelError` when optimum does not know the encoder's family.
    """
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.exporters.tasks import TasksManager

    family = trunk.spec.family
    known = TasksManager.get_supported_model_type_for_task("feature-extraction", exporter="onnx")
    if family not in known:
        raise ModelError(f"encoders of the family {family!r} cannot be exported to ONNX")
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
    """Return the names of a trunk's inputs; `ModelError` when the runtime cannot make them from a text."""
    names = tuple(value.name for value in model.graph.input)
    if not {"input_ids", "attention_mask"} <= set(names) <= set(MODEL_INPUTS):
        raise ModelError(f"encoders of the family {family!r} take {', '.join(names)}, not the tokens of a text alone")
    return names
