"""What falls back is what measuring says: on a small trunk, one of whose matrices cannot be quantised well."""

import numpy as np
import onnx
import pytest
from mrl_edge.export.precisions.conversion import Job
from mrl_edge.export.precisions.judge import Agreement, Judge
from mrl_edge.export.precisions.mixed import convert, holds
from onnx import TensorProto, helper, numpy_helper

from mrl_edge.errors import FidelityError

WIDTH, WORDS, MATRICES = 64, 200, 5


@pytest.fixture
def trunk(tmp_path):
    """A table and five matrices in a row; one row of the third is forty times the others."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(WORDS, WIDTH)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["x0"], name="table")]
    tensors = [numpy_helper.from_array(table, "table")]
    for number in range(MATRICES):
        matrix = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 8
        if number == 2:
            matrix[5] *= 40  # one input of this matrix decides the scale of every channel
        tensors.append(numpy_helper.from_array(matrix, f"matrix{number}"))
        output = "last_hidden_state" if number == MATRICES - 1 else f"x{number + 1}"
        nodes.append(helper.make_node("MatMul", [f"x{number}", f"matrix{number}"], [output], name=f"product{number}"))
    graph = helper.make_graph(
        nodes,
        "trunk",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", WIDTH])],
        tensors,
    )
    path = tmp_path / "trunk.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


@pytest.fixture
def job(trunk, tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "work").mkdir()
    batches = [{"input_ids": rng.integers(0, WORDS, size=(8, length))} for length in (1, 2, 17)]
    return Job(trunk, tmp_path / "work", "avx512-vnni", batches)


@pytest.fixture
def judge(job):
    return Judge(job.trunk, job.calibration, [lambda state, inputs: state.mean(dim=1)])


PRECISIONS = ("fp16", "int8", "int8-static", "int4")


@pytest.mark.parametrize("name", PRECISIONS)
def test_nothing_falls_back_where_the_floor_holds(name, job, judge):
    converted = convert(name, job, judge, Agreement(0.5, 0.2))
    assert converted.fell_back == {}
    assert holds(judge.measure(converted.path, job.target), Agreement(0.5, 0.2))


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_the_nodes_that_cost_most_fall_back_and_the_floor_then_holds(name, job, judge):
    plain = convert(name, job, judge, Agreement(0.1, 0.1)).agreement
    floor = Agreement(plain.mean + (1 - plain.mean) / 3, 0.1)
    converted = convert(name, job, judge, floor)
    assert holds(judge.measure(converted.path, job.target), floor)
    assert "product2" in converted.fell_back
    assert len(converted.fell_back) <= 4
    assert set(converted.fell_back.values()) <= {"int8", "fp32"}
    if name == "int8":
        kinds = {node.op_type for node in onnx.load(converted.path).graph.node if "product2" in node.name}
        assert kinds == {"MatMul"}


def test_int4_falls_to_int8_before_it_falls_to_fp32(job, judge):
    plain = convert("int4", job, judge, Agreement(0.1, 0.1)).agreement
    converted = convert("int4", job, judge, Agreement(plain.mean + (1 - plain.mean) / 3, 0.1))
    assert set(converted.fell_back.values()) == {"int8"}
    (node,) = (n for n in onnx.load(converted.path).graph.node if n.op_type == "MatMulInteger" and "product2" in n.name)
    assert node


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_floor_that_would_leave_nothing_of_the_precision_is_one_error(name, job, judge):
    with pytest.raises(FidelityError, match=f"{name} cannot keep mean and least cosine 1 and 1 to fp32"):
        convert(name, job, judge, Agreement(1.0000001, 1.0000001))


@pytest.mark.parametrize("name", PRECISIONS)
def test_of_several_outputs_the_worst_counts(name, job, trunk):
    model = onnx.load(trunk)
    model.graph.output.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, ["batch", "tokens", WIDTH]))
    onnx.save(model, trunk)
    judge = Judge(trunk, job.calibration, [lambda state, inputs: state.mean(dim=1)] * 2)
    converted = convert(name, job, judge, Agreement(0.5, 0.2))
    names = [output.name for output in onnx.load(converted.path).graph.output]
    assert names == ["last_hidden_state", "x2"]
    assert 0.5 <= judge.measure(converted.path, job.target).mean <= 1
