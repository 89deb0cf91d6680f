"""``edgeml serve`` before it listens: where, which bundle, whose signature; and what it says when it does not."""

import json
import os
import socket
import stat
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from serving.running import Running, refused

from edgeml.bundles import Bundle, generate_key, sign
from edgeml.errors import BundleError
from edgeml.serving.warm_up import checked_engine


def test_it_says_where_it_listens_once(penguins_path, penguins_bundle):
    running = Running(penguins_path)
    assert f"penguins 1.0.0 ({penguins_bundle.digest}) listens on http://127.0.0.1:{running.port}\n" in running.line
    assert running.get("/v2/health/ready")[0] == 200
    running.process.terminate()
    assert running.process.stdout.read() == ""
    assert running.stop() == (0, "")


def test_a_unix_socket(penguins_path, tmp_path, body):
    path = tmp_path / "edgeml.sock"
    for _ in range(2):
        running = Running(penguins_path, uds=path)
        assert str(path) in running.line
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        assert running.post("/v1/predict", body)[0] == 200
        assert "in use" in refused(str(penguins_path), "--uds", str(path))
        assert running.stop() == (0, "")
        assert not path.exists()


def test_a_unix_socket_left_over_is_replaced(penguins_path, tmp_path, body):
    path = tmp_path / "edgeml.sock"
    running = Running(penguins_path, uds=path)
    running.process.kill()
    running.stop()
    assert path.exists()
    running = Running(penguins_path, uds=path)
    assert running.post("/v1/predict", body)[0] == 200
    assert running.stop() == (0, "")


def test_places_where_it_cannot_listen(penguins_path, tmp_path):
    bundle = str(penguins_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "in use" in refused(bundle, "--port", str(taken.getsockname()[1]))
    assert "not an address of this machine" in refused(bundle, "--host", "192.0.2.1", "--port", "0")
    assert "not known" in refused(bundle, "--host", "no.such.host.invalid", "--port", "0")
    (tmp_path / "file").write_text("x")
    assert "no socket" in refused(bundle, "--uds", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "x"
    assert "cannot be made" in refused(bundle, "--uds", str(tmp_path / "none" / "edgeml.sock"))
    assert "cannot be made" in refused(bundle, "--uds", str(tmp_path / ("x" * 200)))


def test_files_that_are_no_bundle(tmp_path):
    assert "no.edgeml" in refused(str(tmp_path / "no.edgeml"))
    (tmp_path / "broken.edgeml").write_bytes(b"x" * 5000)
    assert "broken.edgeml" in refused(str(tmp_path / "broken.edgeml"))


def test_a_keyring_is_obeyed(penguins_bundle, penguins_path, tmp_path):
    run = [sys.executable, "-m", "edgeml"]
    subprocess.run([*run, "keygen", "--out", "key.pem", "--keyring", "keyring.json"], cwd=tmp_path, check=True)
    assert "sign" in refused(str(penguins_path), "--keyring", str(tmp_path / "keyring.json"))
    sign(penguins_bundle, generate_key()).save(tmp_path / "other.edgeml")
    assert "sign" in refused(str(tmp_path / "other.edgeml"), "--keyring", str(tmp_path / "keyring.json"))
    penguins_bundle.save(tmp_path / "good.edgeml")
    subprocess.run([*run, "sign", "good.edgeml", "--key", "key.pem"], cwd=tmp_path, check=True)
    running = Running(tmp_path / "good.edgeml", "--keyring", str(tmp_path / "keyring.json"))
    assert running.stop() == (0, "")
    assert "nothing.json" in refused(str(penguins_path), "--keyring", str(tmp_path / "nothing.json"))


def changed(bundle: Bundle, **members: bytes) -> Bundle:
    names = {"golden": "golden.jsonl", "model": "model.onnx"}
    # The native kernel goes, so that it is the ONNX model that answers.
    kept = {name: data for name, data in bundle.members.items() if not name.startswith("kernel.")}
    return Bundle.create(bundle.config, kept | {names[key]: data for key, data in members.items()})


def golden(bundle: Bundle) -> list[dict]:
    return [json.loads(line) for line in bundle.members["golden.jsonl"].splitlines()]


def test_a_bundle_that_answers_otherwise_is_not_served(penguins_bundle, tmp_path):
    rows = golden(penguins_bundle)
    for row in rows[:5]:
        row["expected"]["label"] = "Dodo"
    lines = "\n".join(map(json.dumps, rows)).encode()
    bundle = changed(penguins_bundle, golden=lines)
    bundle.save(tmp_path / "changed.edgeml")
    message = refused(str(tmp_path / "changed.edgeml"), "--port", "0")
    assert f"5 of {len(rows)} golden rows" in message and "Dodo" in message and "2 more" in message
    with pytest.raises(BundleError, match="answers otherwise"):
        checked_engine(bundle, max_rows=10)


@pytest.fixture(scope="module")
def sick(penguins_bundle, tmp_path_factory):
    """The penguins bundle with a model that gives NaN for every record."""
    genuine = onnx.load_model_from_string(penguins_bundle.members["model.onnx"])
    given = genuine.graph.input[0].type.tensor_type
    kind, width = given.elem_type, given.shape.dim[1].dim_value
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    outputs = [
        helper.make_tensor_value_info(each.name, each.type.tensor_type.elem_type, None) for each in genuine.graph.output
    ]
    nothing = helper.make_tensor("nothing", kind, [width, 3], np.full(width * 3, np.nan, dtype).tolist())
    nodes = [
        helper.make_node("MatMul", [genuine.graph.input[0].name, "nothing"], ["product"]),
        helper.make_node(
            "Cast", ["product"], ["scores"], to=outputs[0].type.tensor_type.elem_type or TensorProto.FLOAT
        ),
    ]
    names = [each.name for each in genuine.graph.output]
    if "label" in names:
        nodes.append(helper.make_node("ArgMax", ["product"], ["label"], axis=1, keepdims=0))
    order = {each.name: each for each in outputs}
    graph = helper.make_graph(
        nodes, "sick", [genuine.graph.input[0]], [order[name] for name in names], initializer=[nothing]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("sick") / "sick.edgeml"
    changed(penguins_bundle, golden=b"", model=model.SerializeToString()).save(path)
    running = Running(path)
    yield running
    assert running.stop() == (0, "")


def test_where_the_model_fails_the_fallback_answers(sick, penguins_bundle, row, gentoo):
    for records in ([row], [row, gentoo]):
        status, answer = sick.post("/v1/predict", {"records": records})
        first = answer["predictions"][0]
        assert status == 200
        assert first["tier"] == "fallback" and first["degraded"] is True and "finite" in first["reason"]
        assert first["label"] == penguins_bundle.config["fallback"]["label"]
    assert answer["predictions"][1]["tier"] == "rule"
    assert sick.get("/v1/stats")[1]["latency"]["fallback"]["count"] == 2


def test_tensors_never_hold_a_bare_nan(sick, row):
    kinds = {"island": "BYTES", "sex": "BYTES"}
    inputs = [
        {"name": name, "datatype": kinds.get(name, "FP64"), "shape": [2], "data": [value, value]}
        for name, value in row.items()
    ]
    status, answer = sick.post("/v2/models/penguins/infer", {"inputs": inputs})
    assert status == 200
    outputs = {each["name"]: each["data"] for each in answer["outputs"]}
    assert outputs["tier"] == ["fallback", "fallback"] and outputs["scores"] == [None] * 6
