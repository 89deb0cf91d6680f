"""The lowest ONNX Runtime for a model, and that the table knows the one that is installed."""

from importlib.metadata import PackageNotFoundError, version

import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgeml.builder import onnx_versions
from edgeml.builder.onnx_versions import lowest_onnxruntime, required_onnxruntime
from edgeml.errors import BuildError


@pytest.mark.parametrize(
    ("opset", "ir_version", "lowest"),
    [
        ({"ai.onnx": 12}, 6, "1.20"),
        ({"ai.onnx": 21, "ai.onnx.ml": 5}, 10, "1.20"),
        ({"ai.onnx": 22}, 10, "1.21"),
        ({"ai.onnx": 23}, 10, "1.23"),
        ({"ai.onnx": 21}, 11, "1.23"),
        ({"ai.onnx": 24}, 12, "1.24"),
        ({"ai.onnx": 26}, 8, "1.25"),
        ({"ai.onnx": 27}, 8, "1.32"),
        ({"ai.onnx.ml": 5}, 14, "1.32"),
        ({"ai.onnx": 99}, 8, "1.77"),  # beyond the table: what has opened it
        ({"ai.onnx": 21, "ai.onnx.ml": 6}, 8, "1.77"),
    ],
)
def test_each_opset_and_file_format_has_its_release(opset, ir_version, lowest):
    assert lowest_onnxruntime(opset, ir_version, here="1.77.3") == lowest


def opens(opset, ir_version):
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    try:
        onnxruntime.InferenceSession(model.SerializeToString())
    except Exception:
        return False
    return True


def test_what_the_table_says_of_this_release_is_so():
    here = tuple(map(int, version("onnxruntime").split(".")[:2]))
    opset = max(known for known, release in onnx_versions._OPSET.items() if release <= here)
    ir_version = max(known for known, release in onnx_versions._IR_VERSION.items() if release <= here)
    assert opens(opset, 8) and opens(21, ir_version)
    if here == (1, 32):
        assert not opens(opset + 1, 8) and not opens(21, ir_version + 1)


def test_without_an_onnxruntime_the_tables_alone_say_what_is_needed(monkeypatch):
    def missing(_):
        raise PackageNotFoundError("onnxruntime")

    monkeypatch.setattr("edgeml.builder.onnx_versions.version", missing)
    assert required_onnxruntime({"ai.onnx": 22}, 10) == ">=1.21"
    with pytest.raises(BuildError, match="newer than edgeml knows of; install onnxruntime"):
        required_onnxruntime({"ai.onnx": 999}, 10)
