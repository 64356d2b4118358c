"""What is repacked of a weight file is what its graphs read, an empty tensor included."""

import numpy as np
import onnx
from mrl_edge.export.repack import repack
from onnx import TensorProto, helper


def external(name, shape, offset, length):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def test_a_tensor_of_no_bytes_takes_none_and_the_others_keep_theirs(tmp_path):
    numbers = np.arange(64, dtype="<f4")
    (tmp_path / "weights.bin").write_bytes(numbers.tobytes())
    tensors = [
        external("first", (8,), 32, 32),
        external("empty", (0, 4), 64, 0),  # where the first one ends
        external("second", (16,), 128, 64),
        external("last", (0,), 256, 0),  # at the end of the file
    ]
    graph = helper.make_graph([], "weights", [], [], initializer=tensors)
    onnx.save(helper.make_model(graph), str(tmp_path / "d4.onnx"))
    (tmp_path / "new").mkdir()
    sizes = repack([tmp_path / "d4.onnx"], tmp_path / "new")
    assert list(sizes.values()) == [32 + 64]
    content = (tmp_path / "new" / "weights.bin").read_bytes()
    found = {}
    for tensor in onnx.load(tmp_path / "new" / "d4.onnx", load_external_data=False).graph.initializer:
        said = {entry.key: entry.value for entry in tensor.external_data}
        start = int(said["offset"])
        assert start <= len(content)
        found[tensor.name] = np.frombuffer(content[start : start + int(said["length"])], "<f4").tolist()
    assert found == {"first": numbers[8:16].tolist(), "second": numbers[32:48].tolist(), "empty": [], "last": []}
