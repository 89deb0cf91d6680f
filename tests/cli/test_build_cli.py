"""edgeml build, as the shell runs it."""

import json
import shlex

import pytest
from cli.shell import SCRIPT, run


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("x = 1\n", "no function train"),
        ("def train():\n    return 3\n", "must return a dict"),
        ("def train():\n    return {'X': 1}\n", "'pipeline', 'name', 'version'"),
        (SCRIPT.replace('"version": "1"', '"version": "1", "colour": 2'), "colour"),
        (SCRIPT.replace(".fit(X, y)", ""), "not fitted"),
    ],
)
def test_a_wrong_script_is_explained(tmp_path, script, message):
    (tmp_path / "train.py").write_text(script)
    done = run("build", "train.py", "-o", "x.edgeml", cwd=tmp_path)
    assert done.returncode == 1 and message in done.stderr.replace("\n", " ")
    assert not (tmp_path / "x.edgeml").exists()


def test_missing_files_are_named(built):
    assert "none.py" in run("build", "none.py", "-o", "x.edgeml", cwd=built).stderr
    assert "none.csv" in run("predict", "iris.edgeml", "none.csv", cwd=built).stderr
    assert "none.edgeml" in run("predict", "none.edgeml", "r.csv", cwd=built).stderr
    assert "records.xls" in run("predict", "iris.edgeml", "records.xls", cwd=built).stderr


def test_a_bare_onnx_model(tmp_path):
    import numpy as np
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "neg",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "neg.onnx").write_bytes(model.SerializeToString())
    schema = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}
    schema["outputs"] = [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    np.savez(tmp_path / "samples.npz", x=np.ones((3, 2), dtype=np.float32))
    done = run(
        "build", "neg.onnx", "--schema", "schema.json", "--samples", "samples.npz", "-o", "neg.edgeml", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "3 rows" in done.stderr
    done = run("build", "neg.onnx", "--schema", "schema.json", "-o", "unchecked.edgeml", cwd=tmp_path)
    assert "parity: not checked" in done.stderr
    assert "Not checked" in run("card", "unchecked.edgeml", cwd=tmp_path).stdout
    assert "--schema" in run("build", "neg.onnx", "-o", "neg.edgeml", cwd=tmp_path).stderr
    refused = run("predict", "neg.edgeml", "x.json", cwd=tmp_path)
    assert refused.returncode == 1 and "tensors" in refused.stderr


def test_the_command_to_sign_stands_on_one_line(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    folder = tmp_path / ("a long name with blanks " * 6).strip()
    folder.mkdir()
    done = run("build", "train.py", "-o", folder / "iris.edgeml", cwd=tmp_path)
    command = done.stderr.splitlines()[-1].split("sign it with: ")[1]
    assert shlex.split(command) == ["edgeml", "sign", str(folder / "iris.edgeml"), "--key", "KEY"]
