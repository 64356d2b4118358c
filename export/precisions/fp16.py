"""`fp16`: weights and arithmetic in half precision, for CUDA and for ARM with fp16 arithmetic.

Inputs and outputs stay as they are, and so do the sums of squares of a layer norm, which pass 65,504. On a CPU
without fp16 arithmetic onnxruntime computes in fp32 what is stored in fp16.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from mrl_edge.export.precisions.conversion import Candidate, Job, Levels, quiet

_KEPT = ("Pow", "ReduceMean", "ReduceSum", "ReduceL2", "Sqrt")  # of norms that are spelled out


def fp16(job: Job, levels: Levels) -> Path:
    """Convert what has not fallen back."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with quiet():
        model = convert_float_to_float16(
            onnx.load(job.trunk),
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_KEPT],
            node_block_list=sorted(levels),
        )
        OnnxModel(model).topological_sort(is_deterministic=True)  # the casts were appended at the end
    converted = job.folder / "fp16.onnx"
    onnx.save(model, converted)
    return converted


CANDIDATES = (Candidate(fp16),)
