"""What a call computes and reads, beside formulas, the tensors of the files, and onnx-tool."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_tool
import pytest
from conftest import CLASSES
from mrl_edge.bench.counting import PRODUCTS, count, count_graph, works_of
from mrl_edge.bench.jobs import CountJob, LatencySample
from mrl_edge.bench.results import Work
from onnx import TensorProto, helper, numpy_helper

from mrl_edge.bundle import open_bundle

LAYERS, WIDTH, INNER = 6, 384, 1536  # of all-MiniLM-L6-v2
TEXTS = ["a short musical passage", "a small stringed instrument of the violin family", "music"]


def per_token():
    return 2 * LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)


def attention(batch, tokens):
    return batch * LAYERS * 2 * 2 * tokens * tokens * WIDTH


def heads(batch, dim):
    return batch * 2 * (WIDTH * dim + dim * CLASSES)


@pytest.fixture(scope="module")
def counted(bundle, tmp_path_factory):
    """Every kind of call of fp32 and int8, by precision, dimension, length and batch."""
    work = str(tmp_path_factory.mktemp("profile"))
    sample = LatencySample(TEXTS, "query")
    found = {}
    for precision in ("fp32", "int8"):
        job = CountJob(str(bundle), precision, 6, (64, 384), sample, (8, 32, 100_000), (2,), work)
        for one in count(job).calls:
            found[precision, one.dim, one.tokens, one.batch] = one.work
    return found


def test_the_operations_are_those_of_the_architecture(counted):
    for precision in ("fp32", "int8"):
        for tokens in (8, 32):
            work = counted[precision, 384, tokens, 1]
            assert work.operations == tokens * per_token() + attention(1, tokens) + heads(1, 384)
            on_8_bits = tokens * per_token() if precision == "int8" else 0
            assert (work.int8_operations, work.unrated_operations) == (on_8_bits, 0)


def test_real_texts_count_at_the_length_in_the_middle_and_batches_at_their_longest(counted, bundle):
    import mrl_edge

    lengths = sorted(len(ids) for ids in mrl_edge.load(bundle, 64, "fp32").tokenise(TEXTS, "query"))
    middle, longest = lengths[1], lengths[2]
    single = counted["fp32", 64, None, 1]
    assert single.operations == middle * per_token() + attention(1, middle) + heads(1, 64)
    batch = counted["fp32", 384, None, 2].operations
    sizes = {2 * (n * per_token()) + attention(2, n) + heads(2, 384) for n in (middle, longest)}
    assert batch in sizes


def test_lengths_beyond_the_encoders_are_left_out(counted):
    assert ("fp32", 384, 100_000, 1) not in counted


def test_the_bytes_are_the_weights_of_the_file_but_of_tables_only_the_rows_looked_up(counted, bundle):
    for precision, size in (("fp32", 4), ("int8", 1)):
        opened = open_bundle(bundle)
        graph = onnx.load(bundle / opened.graph(opened.variant(precision, 6), 384).file)
        tables = {name for node in graph.graph.node if node.op_type == "Gather" for name in node.input[:1]}
        kept = [numpy_helper.to_array(one) for one in graph.graph.initializer if one.name not in tables]
        there = sum(one.nbytes for one in kept)
        tokens = 8
        rows = 3 * tokens * WIDTH * size  # word, position and type
        assert counted[precision, 384, tokens, 1].bytes == pytest.approx(there + rows, rel=0.02)


def test_another_program_counts_the_same(counted, bundle):
    model = onnx_tool.Model(str(bundle / "fp32" / "d384.onnx"))
    for tokens in (8, 32):
        model.graph.shape_infer({name: np.ones((1, tokens), np.int64) for name in model.graph.input})
        model.graph.profile()
        products = [node.macs for node in model.graph.nodemap.values() if node.op_type == "MatMul"]
        multiplied = sum(int(np.ravel(macs)[0]) for macs in products)
        assert counted["fp32", 384, tokens, 1].operations == 2 * multiplied + heads(1, 384)


def graph_of(path, nodes, inputs, output, weights, domains=()):
    """Write a graph whose weights are constants; return its path."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    made = helper.make_graph(
        nodes, "g", values, [helper.make_tensor_value_info(*output)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=8), path)
    return path


def the_work(path, feed, folder):
    (found,) = count_graph(path, [feed], folder).values()
    return found


def test_a_grouped_convolution(tmp_path):
    rng = np.random.default_rng(0)
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2, strides=[2, 2])
    weights = {"w": rng.standard_normal((12, 4, 3, 3), dtype=np.float32)}
    shapes = [("x", TensorProto.FLOAT, [2, 8, 11, 11])]
    path = graph_of(tmp_path / "g.onnx", [node], shapes, ("y", TensorProto.FLOAT, None), weights)
    work = the_work(path, {"x": rng.standard_normal((2, 8, 11, 11), dtype=np.float32)}, tmp_path)
    assert work.operations == 2 * (2 * 12 * 5 * 5) * (4 * 3 * 3)


@pytest.mark.parametrize(("transposed", "shape"), [(0, (7, 5)), (1, (5, 7))])
def test_a_first_factor_that_is_transposed(tmp_path, transposed, shape):
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transA=transposed)
    weights = {"w": np.ones((5, 3), np.float32)}
    shapes = [("x", TensorProto.FLOAT, shape)]
    path = graph_of(tmp_path / "g.onnx", [node], shapes, ("y", TensorProto.FLOAT, None), weights)
    assert the_work(path, {"x": np.ones(shape, np.float32)}, tmp_path).operations == 2 * 7 * 5 * 3


def test_fused_attention(tmp_path):
    batch, tokens, hidden = 2, 6, 16
    node = helper.make_node("Attention", ["x", "w", "b"], ["y"], domain="com.microsoft", num_heads=4)
    weights = {"w": np.ones((hidden, 3 * hidden), np.float32), "b": np.ones(3 * hidden, np.float32)}
    shape = (batch, tokens, hidden)
    inputs = [("x", TensorProto.FLOAT, shape)]
    path = graph_of(tmp_path / "g.onnx", [node], inputs, ("y", TensorProto.FLOAT, None), weights, ["com.microsoft"])
    work = the_work(path, {"x": np.ones(shape, np.float32)}, tmp_path)
    projections = 2 * batch * tokens * hidden * 3 * hidden
    assert work.operations == projections + 2 * 2 * batch * tokens * tokens * hidden


def test_weights_in_blocks_of_4_bits(tmp_path):
    rows, columns, block = 64, 32, 32
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=rows, N=columns, bits=4, block_size=block
    )
    weights = {
        "w": np.full((columns, rows // block, block // 2), 0x77, np.uint8),
        "s": np.ones((columns, rows // block), np.float32),
    }
    inputs = [("x", TensorProto.FLOAT, (3, rows))]
    path = graph_of(tmp_path / "g.onnx", [node], inputs, ("y", TensorProto.FLOAT, None), weights, ["com.microsoft"])
    work = the_work(path, {"x": np.ones((3, rows), np.float32)}, tmp_path)
    assert (work.operations, work.unrated_operations) == (2 * 3 * rows * columns,) * 2
    assert work.bytes == rows * columns // 2 + 4 * columns * rows // block


def test_of_the_tables_of_a_fused_embedding_only_rows_are_read(tmp_path):
    words, tokens, hidden = 1000, 4, 16
    node = helper.make_node(
        "EmbedLayerNormalization", ["ids", "", "word", "position", "", "gamma", "beta"], ["y", "mask"],
        domain="com.microsoft",
    )  # fmt: skip
    weights = {"word": np.ones((words, hidden), np.float32), "position": np.ones((words, hidden), np.float32)}
    weights |= {"gamma": np.ones(hidden, np.float32), "beta": np.zeros(hidden, np.float32)}
    inputs = [("ids", TensorProto.INT32, (1, tokens))]
    path = graph_of(tmp_path / "g.onnx", [node], inputs, ("y", TensorProto.FLOAT, None), weights, ["com.microsoft"])
    assert the_work(path, {"ids": np.ones((1, tokens), np.int32)}, tmp_path).bytes < 4 * 4 * tokens * hidden


def test_products_in_16_bits_are_not_held_to_the_ceiling_of_32():
    """As of an ARM with fp16 arithmetic; on others onnxruntime computes them in 32 bits, which the profile says."""
    kernel = {
        "op_name": "MatMul", "output_size": "30", "parameter_size": "80",
        "input_type_shape": [{"float16": [3, 8]}, {"float16": [8, 5]}], "output_type_shape": [{"float16": [3, 5]}],
    }  # fmt: skip
    (work,) = works_of(
        [{"cat": "Node", "name": "product_kernel_time", "args": kernel}, {"cat": "Session", "name": "model_run"}]
    )
    assert work == Work(2 * 3 * 8 * 5, 0, 2 * 3 * 8 * 5, 80)


def test_no_kernel_with_a_matrix_of_weights_is_overlooked(bundle, tmp_path):
    """A product of a name that we do not know would make the least time too short, silently."""
    import onnxruntime as ort

    for precision in ("fp32", "int8"):
        options = ort.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / precision)
        options.add_session_config_entry("session.disable_prepacking", "1")
        session = ort.InferenceSession(str(bundle / precision / "d64.onnx"), options)
        session.run(None, {value.name: np.ones((1, 8), np.int64) for value in session.get_inputs()})
        events = json.loads(Path(session.end_profiling()).read_bytes())
        kernels = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
        large = {kernel["op_name"] for kernel in kernels if int(kernel["parameter_size"]) >= WIDTH * 64}
        assert large <= PRODUCTS | {"Gather"}
