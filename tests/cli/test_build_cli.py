"""edgeml build and edgeml predict, as the shell runs them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

def train():
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = ["a", "b", "c", "d"]
    return {"pipeline": LogisticRegression(max_iter=500).fit(X, y), "X": X, "y": y, "name": "iris", "version": "1"}
"""


def run(*words, cwd, stdin=None):
    return subprocess.run(
        [sys.executable, "-m", "edgeml", *map(str, words)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    (folder / "train.py").write_text(SCRIPT)
    done = run("build", "train.py", "-o", "iris.edgeml", "--version", "7", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "parity" in done.stderr and "0 labels differ" in done.stderr and "iris 7" in done.stderr
    return folder


def test_records_from_ndjson_csv_and_json_get_the_same_answers(built):
    rows = [{"a": 5.1, "b": 3.5, "c": 1.4, "d": 0.2}, {"a": 6.1, "b": 2.8, "c": 4.7, "d": 1.2}]
    (built / "r.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (built / "r.json").write_text(json.dumps(rows))
    with (built / "r.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    outputs = set()
    for name in ("r.ndjson", "r.json", "r.csv"):
        done = run("predict", "iris.edgeml", name, cwd=built)
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    (answers,) = outputs
    first, second = map(json.loads, answers.splitlines())
    assert (first["label"], second["label"]) == (0, 1) and first["tier"] == "model" and first["version"] == "7"
    piped = run("predict", "iris.edgeml", "-", cwd=built, stdin=(built / "r.ndjson").read_text())
    assert piped.stdout == answers
    assert run("predict", "iris.edgeml", "r.csv", "-o", "out.ndjson", cwd=built).stdout == ""
    assert (built / "out.ndjson").read_text() == answers


def test_a_bad_record_stops_or_is_marked(built):
    (built / "bad.ndjson").write_text(
        '{"a":1,"b":1,"c":1,"d":1}\n{"a":1,"b":"x","c":1,"d":1}\n{"a":2,"b":1,"c":1,"d":1}\n'
    )
    done = run("predict", "iris.edgeml", "bad.ndjson", cwd=built)
    assert done.returncode == 1 and "'b'" in done.stderr and "Traceback" not in done.stderr
    done = run("predict", "iris.edgeml", "bad.ndjson", "--keep-going", cwd=built)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1 and len(lines) == 3
    assert lines[1]["code"] == "schema_violation" and lines[1]["field"] == "b" and "label" in lines[2]


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
    assert "--schema" in run("build", "neg.onnx", "-o", "neg.edgeml", cwd=tmp_path).stderr
    refused = run("predict", "neg.edgeml", "x.json", cwd=tmp_path)
    assert refused.returncode == 1 and "tensors" in refused.stderr
