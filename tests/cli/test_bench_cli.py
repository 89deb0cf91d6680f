"""``edgeml bench``: real services, real golden rows, and the verdict in the exit status."""

import json
import subprocess
import sys

import numpy as np
import pytest
from cli.shell import ROOT, run
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from edgeml.builder import build
from edgeml.bundles import Bundle


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A folder with ``iris.edgeml``, whose objectives hold on the busiest machine."""
    folder = tmp_path_factory.mktemp("patient")
    iris({"p99_ms": 60_000, "deadline_ms": 60_000}).save(folder / "iris.edgeml")
    return folder


def iris(slo):
    X, y = load_iris(return_X_y=True, as_frame=True)
    pipeline = LogisticRegression(max_iter=500).fit(X, y)
    return build(pipeline, X, y, name="iris", version="1", slo=slo)


def test_a_bundle_is_measured_in_a_service_of_its_own(patient):
    done = run("bench", "iris.edgeml", "--seconds", "0.5", "--json", cwd=patient)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert found["name"] == "iris" and found["digest"] == Bundle.read(patient / "iris.edgeml").digest
    assert found["errors"] == 0 and found["throughput"] > found["rate"] >= 1
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"] <= found["latency_ms"]["p100"]
    assert found["cpu_us"] >= 0 and found["memory_bytes"] > 10e6
    assert [each["name"] for each in found["objectives"]] == ["p99_ms", "deadline_ms"]
    assert all(each["holds"] for each in found["objectives"]) and found["holds"]


def test_people_get_a_table(patient):
    done = run("bench", "iris.edgeml", "--seconds", "0.3", "--rate", "200", cwd=patient)
    assert done.returncode == 0, done.stderr
    for words in (
        "answers a second, saturated",
        "latency, p99.9",
        "CPU for each answer",
        "memory (PSS)",
        "deadline_ms",
    ):
        assert words in done.stdout
    assert "200 a second" in done.stdout


def test_an_objective_that_does_not_hold_is_the_exit_status(tmp_path):
    iris({"p99_ms": 0.001, "deadline_ms": 0.001}).save(tmp_path / "hasty.edgeml")
    done = run("bench", "hasty.edgeml", "--seconds", "0.3", "--rate", "100", cwd=tmp_path)
    assert done.returncode == 1
    assert "NO" in done.stdout and "100.000%" in done.stdout


def test_a_running_service_is_measured_by_its_address(patient):
    command = [sys.executable, "-m", "edgeml", "serve", "iris.edgeml", "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=patient,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            url = process.stdout.readline().split()[-1]
            asked = ("--bundle", "iris.edgeml", "--seconds", "0.3")
            done = run("bench", url, *asked, "--json", cwd=patient)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["cpu_us"] is None and json.loads(done.stdout)["errors"] == 0
            unknown = run("bench", url, *asked, "--model", "other", "--json", cwd=patient)
            assert unknown.returncode == 1
            assert "there is no model" in json.loads(unknown.stdout)["first_error"]
        finally:
            process.terminate()


def test_tensors_are_asked_as_tensors(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "twice",
        [helper.make_tensor_value_info("x", kind, ["n", 2])],
        [helper.make_tensor_value_info("y", kind, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    tensor = {"datatype": "FP32", "shape": [-1, 2]}
    bundle = build(
        model.SerializeToString(),
        schema={"inputs": [{"name": "x"} | tensor], "outputs": [{"name": "y"} | tensor]},
        X={"x": np.ones((4, 2), np.float32)},
        name="twice",
        version="1",
        slo={"p99_ms": 60_000, "deadline_ms": 60_000},
    )
    bundle.save(tmp_path / "twice.edgeml")
    done = run("bench", "twice.edgeml", "--seconds", "0.3", "--rate", "100", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["errors"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["http://127.0.0.1:1"], "--bundle FILE"),
        (["iris.edgeml", "--model", "x"], "go with a URL"),
        (["http://127.0.0.1:1", "--bundle", "iris.edgeml"], "nobody answers"),
        (["https://127.0.0.1:1", "--bundle", "iris.edgeml"], "neither http://"),
        (["missing.edgeml"], "missing.edgeml"),
    ],
)
def test_what_cannot_be_measured_is_said(built, words, said):
    done = run("bench", *words, cwd=built)
    assert done.returncode in (1, 2) and said in done.stderr


def test_a_service_that_does_not_start_says_why(built, tmp_path):
    """The port is not at fault, nor the file: its golden rows are answered otherwise than they say."""
    bundle = Bundle.read(built / "iris.edgeml")
    rows = [json.loads(line) for line in bundle.members["golden.jsonl"].splitlines()]
    rows[0]["expected"]["scores"][0] += 0.25
    golden = "".join(json.dumps(each) + "\n" for each in rows).encode()
    Bundle.create(bundle.config, bundle.members | {"golden.jsonl": golden}).save(tmp_path / "other.edgeml")
    done = run("bench", "other.edgeml", cwd=tmp_path)
    assert done.returncode == 1 and "did not start" in done.stderr and "golden row" in done.stderr


def test_a_bundle_that_nobody_trusts_is_not_measured(built, tmp_path):
    assert run("keygen", cwd=tmp_path).returncode == 0
    done = run("bench", str(built / "iris.edgeml"), "--keyring", "keyring.json", cwd=tmp_path)
    assert done.returncode == 1 and "sign" in done.stderr
