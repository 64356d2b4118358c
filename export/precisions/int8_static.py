"""`int8-static`: as `int8`, and the range of every activation is fixed beforehand, from real texts.

What dynamic quantisation computes at every call, static has in the graph (QuantizeLinear and DequantizeLinear
around each product); what is outside the range that the texts showed is clipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from mrl_edge.export.precisions.conversion import Candidate, Job, Levels, names_of, quiet, weighted_nodes
from mrl_edge.export.precisions.int8 import quantise_tables
from mrl_edge.export.precisions.targets import flags_of

from mrl_edge.tokens import Batch

_CLIPS = ("Relu", "Clip")
_METHODS = ("MinMax", "Entropy", "Percentile")  # as onnxruntime names them


def int8_static(job: Job, levels: Levels, method: str) -> Path:
    """Quantise what has not fallen back, with the ranges that a calibration method finds on the job's texts."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load(job.trunk)
    nodes = weighted_nodes(model)
    tables, matrices = (names_of(nodes, kind, levels) for kind in ("Gather", "MatMul"))
    convolutions = names_of(nodes, "Conv", levels)
    matrices += [*convolutions, *_clipping(model, convolutions)]
    trunk = quantise_tables(job.trunk, job.folder, tables)
    if not matrices:
        return trunk
    flags = flags_of(job.target, static=True)
    converted = job.folder / f"{method}.onnx"
    with quiet():
        quantize_static(
            trunk,
            converted,
            _reader(job.calibration),
            QuantFormat.QDQ,
            ["Conv", *_CLIPS] if convolutions else ["MatMul"],
            nodes_to_quantize=matrices,
            per_channel=flags.per_channel,
            reduce_range=flags.reduce_range,
            activation_type=QuantType[flags.activations],
            weight_type=QuantType[flags.weights],
            calibrate_method=CalibrationMethod[method],
            calibration_cache_path=job.folder / f"{method}.json",  # the ranges do not depend on what fell back
            extra_options={
                "ActivationSymmetric": flags.activations_symmetric,
                "WeightSymmetric": flags.weights_symmetric,
                # Left in fp32: rounding the products too costs cosine 0.944 → 0.99 and makes nothing faster.
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
                "CalibStridedMinMax": 1,  # a batch at a time, or every activation of every text is kept in memory
            },
        )
    return converted


def _clipping(model: onnx.ModelProto, convolutions: Sequence[str]) -> list[str]:
    """Return the nodes that clip what convolutions output: the range of 8 bits is then that of what is left."""
    outputs = {node.output[0] for node in model.graph.node if node.name in set(convolutions)}
    return [node.name for node in model.graph.node if node.op_type in _CLIPS and node.input[0] in outputs]


def _reader(batches: Sequence[Batch]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives the batches of a range, one by one, then None."""

        def __init__(self) -> None:
            self._rest = iter(batches)

        def get_next(self) -> Batch | None:
            return next(self._rest, None)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._rest = iter(batches[start_index:end_index])

        def __len__(self) -> int:
            return len(batches)

    return Reader()


CANDIDATES = tuple(
    Candidate(partial(int8_static, method=method), {"calibration": method.lower()}) for method in _METHODS
)
