"""`int4`: weights alone in 4 bits, a scale and a zero point a block; word embeddings included.

The processor computes with 8-bit activations (`accuracy_level` 4), so no product is slower than int8's by much;
what falls back one step is quantised as `int8` is.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import onnx
from mrl_edge.export.precisions.conversion import Candidate, Job, Levels, names_of, quiet, weighted_nodes
from mrl_edge.export.precisions.int8 import quantise
from mrl_edge.export.precisions.targets import flags_of

_BLOCKS = ((64, 64), (32, 64), (32, 32))  # of products and of tables: the smallest file first
_INT8_COMPUTE = 4  # of MatMulNBits' `accuracy_level`
_IR_VERSION = 10  # the first with 4-bit tensors


def int4(job: Job, levels: Levels, block: int, table_block: int) -> Path:
    """Quantise what has not fallen back to 4 bits in blocks, and what fell back to int8 to 8."""
    model = onnx.load(job.trunk)
    nodes = weighted_nodes(model)
    every = {node.name for node in model.graph.node if node.op_type in ("MatMul", "Gather")}
    with quiet():
        for kind, size in (("MatMul", block), ("Gather", table_block)):
            model = _quantise_blocks(model, kind, size, every - set(names_of(nodes, kind, levels)))
    model.ir_version = max(model.ir_version, _IR_VERSION)
    converted = job.folder / "blocks.onnx"
    onnx.save(model, converted)
    tables, matrices = (names_of(nodes, kind, levels, "int8") for kind in ("Gather", "MatMul"))
    return quantise(converted, job.folder, tables, matrices, flags_of(job.target, static=False))


def _quantise_blocks(model: onnx.ModelProto, kind: str, block: int, excluded: set[str]) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    config = DefaultWeightOnlyQuantConfig(
        block_size=block,
        is_symmetric=False,
        accuracy_level=_INT8_COMPUTE,
        op_types_to_quantize=(kind,),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    )
    quantizer = MatMulNBitsQuantizer(model, nodes_to_exclude=sorted(excluded), algo_config=config)
    quantizer.process()
    quantised: onnx.ModelProto = quantizer.model.model
    return quantised


CANDIDATES = tuple(
    Candidate(partial(int4, block=block, table_block=table), {"block": block, "table_block": table})
    for block, table in _BLOCKS
)
