"""The Open Inference Protocol in JSON, for record bundles and for bare ONNX models."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from serving.running import Running
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import edgeml

INFER = "/v2/models/penguins/infer"
KINDS = {"island": "BYTES", "sex": "BYTES"}


def tensors(*rows):
    return [
        {"name": name, "datatype": KINDS.get(name, "FP64"), "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name in rows[0]
    ]


def outputs_of(answer):
    return {output["name"]: output for output in answer["outputs"]}


def test_columns_in_outputs_out(service, penguins_bundle, row, gentoo):
    status, answer = service.post(INFER, {"id": "42", "inputs": tensors(row, gentoo)})
    assert status == 200
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", "penguins", "1.0.0")
    assert answer["parameters"] == {"bundle": penguins_bundle.digest, "tier": ["model", "rule"], "degraded": False}
    outputs = outputs_of(answer)
    assert list(outputs) == ["label", "scores", "tier"]
    assert (outputs["label"]["datatype"], outputs["label"]["shape"]) == ("BYTES", [2])
    assert outputs["label"]["data"][1] == "Gentoo"
    assert outputs["tier"]["data"] == ["model", "rule"]
    assert outputs["scores"]["shape"] == [2, 3] and outputs["scores"]["data"][3:] == [None] * 3
    records = service.post("/v1/predict", {"records": [row]})[1]["predictions"][0]
    assert outputs["scores"]["data"][:3] == list(records["scores"].values())
    assert "id" not in service.post(INFER, {"inputs": tensors(row)})[1]


def test_every_form_of_data_means_the_same(service, row):
    plain = service.post(INFER, {"inputs": tensors(row, row)})[1]["outputs"]
    nested = tensors(row, row)
    for tensor in nested:
        tensor |= {"shape": [2, 1], "data": [[value] for value in tensor["data"]], "parameters": {"binary_data": False}}
    assert service.post(INFER, {"inputs": nested, "parameters": {"x": 1}})[1]["outputs"] == plain
    whole = tensors(row, row)
    for tensor in whole:
        if tensor["name"] == "body_mass_g":
            tensor |= {"datatype": "INT32"}
    assert service.post("/v2/models/penguins/versions/1.0.0/infer", {"inputs": whole})[1]["outputs"] == plain


def test_nulls_are_missing_values(service, row):
    status, answer = service.post(INFER, {"inputs": tensors(row | {"sex": None, "body_mass_g": None})})
    assert status == 200
    expected = service.post("/v1/predict", {"records": [row | {"sex": None, "body_mass_g": None}]})[1]
    assert outputs_of(answer)["label"]["data"] == [expected["predictions"][0]["label"]]


def test_outputs_can_be_chosen_and_binary_answers_are_json(service, row):
    asked = {
        "inputs": tensors(row),
        "outputs": [{"name": "tier"}, {"name": "label", "parameters": {"binary_data": True}}],
    }
    status, answer = service.post(INFER, asked)
    assert status == 200 and list(outputs_of(answer)) == ["tier", "label"]
    status, answer = service.post(INFER, {"inputs": tensors(row), "outputs": [{"name": "label"}]})
    assert list(outputs_of(answer)) == ["label"] and answer["parameters"]["tier"] == "model"
    status, answer = service.post(INFER, {"inputs": tensors(row), "parameters": {"binary_data_output": True}})
    assert status == 200 and list(outputs_of(answer)) == ["label", "scores", "tier"]
    status, answer = service.post(INFER, {"inputs": tensors(row), "outputs": [{"name": "odds"}]})
    assert (status, answer["code"], answer["field"]) == (400, "unknown_output", "odds")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"datatype": "FP16"}, "bad_datatype"),
        ({"shape": [2]}, "bad_shape"),
        ({"shape": [-1]}, "bad_shape"),
        ({"shape": [1] * 9}, "bad_shape"),
        ({"shape": []}, "bad_shape"),
        ({"data": ["x"]}, "wrong_type"),
        ({"data": [True]}, "wrong_type"),
        ({"data": {"a": 1}}, "bad_shape"),
        ({"data": [[1.0], 2.0]}, "bad_shape"),
        ({"data": [1e300], "datatype": "FP32"}, "schema_violation"),
        ({"data": [1.5], "datatype": "INT64"}, "wrong_type"),
        ({"data": [300], "datatype": "UINT8"}, "wrong_type"),
        ({"data": [-1], "datatype": "UINT64"}, "wrong_type"),
        ({"data": [2**70], "datatype": "INT64"}, "wrong_type"),
        ({"name": "wings"}, "schema_violation"),
        ({"name": "sex"}, "bad_envelope"),
        ({"shape": [201], "data": [1.0] * 201}, "too_many_records"),
        ({"shape": "x"}, "bad_envelope"),
    ],
)
def test_tensors_that_do_not_fit(service, row, change, code):
    inputs = tensors(row)
    inputs[0] |= change
    status, answer = service.post(INFER, {"inputs": inputs})
    assert (status, answer["code"]) == (413 if code == "too_many_records" else 400, code), answer
    assert answer["error"]


@pytest.mark.parametrize(
    "document", [b"", b"{}", b"[]", b'{"inputs": 5}', b'{"inputs": [{}]}', b"null", b'{"inputs":[]}']
)
def test_requests_that_are_none(service, document):
    status, answer = service.post(INFER, document)
    assert status in (200, 400)
    assert status == 400 or not answer["outputs"][0]["data"]


def test_binary_tensors_are_refused_with_the_remedy(service):
    status, answer = service.post(INFER, b'{"inputs":[]}' + bytes(8), {"Inference-Header-Content-Length": "13"})
    assert (status, answer["code"]) == (415, "binary_tensors")
    assert "binary_data=False" in answer["error"]
    given = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}
    assert service.post(INFER, given)[1]["code"] == "binary_tensors"


def test_metadata(service, penguins_bundle):
    for path in ("/v2/models/penguins", "/v2/models/penguins/versions/1.0.0"):
        status, document = service.get(path)
        assert status == 200
        assert (document["name"], document["versions"], document["platform"]) == ("penguins", ["1.0.0"], "edgeml")
        assert document["inputs"][0] == {"name": "bill_length_mm", "datatype": "FP64", "shape": [-1]}
        assert {each["name"]: each["shape"] for each in document["outputs"]} == {
            "label": [-1],
            "scores": [-1, 3],
            "tier": [-1],
        }


def test_a_regression_over_a_plain_array(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    pipeline = LinearRegression().fit(X, X @ [1.0, 2.0, 3.0, 4.0])
    edgeml.build(pipeline, X, X @ [1.0, 2.0, 3.0, 4.0], name="plain", version="1").save(tmp_path / "plain.edgeml")
    running = Running(tmp_path / "plain.edgeml")
    try:
        assert running.get("/v2/models/plain")[1]["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, 4]}]
        for rows in (X[:1], X[:3]):
            tensor = {"name": "input", "datatype": "FP64", "shape": list(rows.shape), "data": rows.tolist()}
            status, answer = running.post("/v2/models/plain/infer", {"inputs": [tensor]})
            assert status == 200
            outputs = outputs_of(answer)
            np.testing.assert_allclose(outputs["value"]["data"], pipeline.predict(rows), rtol=1e-5)
            assert outputs["value"]["shape"] == [len(rows)] and outputs["tier"]["data"] == ["model"] * len(rows)
        tensor |= {"shape": [4, 3]}
        assert running.post("/v2/models/plain/infer", {"inputs": [tensor]})[1]["code"] == "bad_shape"
        status, answer = running.post(
            "/v1/predict", {"records": [dict(zip(["x0", "x1", "x2", "x3"], X[0], strict=True))]}
        )
        assert answer["predictions"][0]["value"] == pytest.approx(pipeline.predict(X[:1])[0], rel=1e-5)
    finally:
        assert running.stop() == (0, "")


@pytest.fixture(scope="module")
def rows_of_two(tmp_path_factory):
    """A service whose rows are two numbers, and its pipeline: the shape [1, 2] looks like the data [1, 2]."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = np.where(X @ [1.0, -1.0] > 0, "up", "down")
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    path = tmp_path_factory.mktemp("two") / "two.edgeml"
    edgeml.build(pipeline, X, y, name="two", version="1").save(path)
    running = Running(path)
    yield running, pipeline
    assert running.stop() == (0, "")


def test_a_request_like_the_last_one_is_read_for_its_numbers(rows_of_two):
    service, pipeline = rows_of_two
    around = '{"inputs":[{"name":"input","shape":[1, 2],"datatype":"FP64","data":%s}],"id":"%s"}'
    for numbers, name in [
        ([0.5, -1.5], "a"), ([-3.25, 1.0], "a"), ([1, 2], "a"), ([2, 1], "a"), ([2, 1], "b"), ([1, 2], "b"),
    ]:  # fmt: skip
        status, answer = service.post("/v2/models/two/infer", (around % (numbers, name)).encode())
        outputs = outputs_of(answer)
        assert (status, answer["id"]) == (200, name)
        assert outputs["label"]["data"] == pipeline.predict([numbers]).tolist()
        np.testing.assert_allclose(outputs["scores"]["data"], pipeline.predict_proba([numbers])[0], atol=1e-5)


@pytest.mark.parametrize(
    "data, status",
    [
        ("[[0.5, 1.5]]", 200),
        ("[0.5, null]", 400),
        ("[0.5]", 400),
        ("[0.5, 1.5, 2.5]", 400),
        ('[0.5, "1.5"]', 400),
        ("[0.5, 1.5]], [0", 400),
        ('[0.5, 1.5], "data": [3, 4]', 400),
        ("[0.5, NaN]", 400),
        ("[0.5, 1.5", 400),
        ("", 400),
    ],
)
def test_what_only_begins_and_ends_like_the_last_one_is_read_in_full(rows_of_two, data, status):
    service, _ = rows_of_two
    around = '{"inputs":[{"name":"input","shape":[1,2],"datatype":"FP32","data":%s}]}'
    before = service.post("/v2/models/two/infer", (around % "[0.25, 0.75]").encode())
    assert before[0] == 200
    assert service.post("/v2/models/two/infer", (around % data).encode())[0] == status
    assert service.post("/v2/models/two/infer", (around % "[0.25, 0.75]").encode()) == before


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bare ONNX model that divides its inputs: a zero makes it fail to give a finite number."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("a", "b", "c")]
    graph = helper.make_graph([helper.make_node("Div", ["a", "b"], ["c"])], "divide", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    described = [{"name": name, "datatype": "FP32", "shape": [-1, 2]} for name in ("a", "b", "c")]
    samples = {"a": np.ones((3, 2), np.float32), "b": np.full((3, 2), 2, np.float32)}
    folder = tmp_path_factory.mktemp("bare")
    onnx.save(model, folder / "model.onnx")
    bundle = edgeml.build(
        folder / "model.onnx",
        samples,
        schema={"inputs": described[:2], "outputs": described[2:]},
        name="bare",
        version="2.0",
    )
    bundle.save(folder / "bare.edgeml")
    running = Running(folder / "bare.edgeml")
    yield running
    assert running.stop() == (0, "")


def bare_inputs(b):
    return {
        "inputs": [
            {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 3]},
            {"name": "b", "shape": [1, 2], "datatype": "FP32", "data": b},
        ]
    }


def test_a_bare_onnx_model(bare):
    status, answer = bare.post("/v2/models/bare/infer", bare_inputs([2.0, 2.0]))
    assert status == 200
    assert answer["outputs"] == [{"name": "c", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]}]
    assert answer["parameters"]["tier"] == "model" and answer["parameters"]["degraded"] is False
    status, document = bare.get("/v2/models/bare")
    assert [each["name"] for each in document["inputs"]] == ["a", "b"] and document["platform"] == "onnx_onnxv1"
    assert bare.get("/v1/models/bare")[1]["task"] == "tensors"
    assert bare.get("/openapi.json")[0] == 200 and bare.get("/v1/stats")[0] == 200


def test_a_bare_onnx_model_that_fails_says_so(bare):
    status, answer = bare.post("/v2/models/bare/infer", bare_inputs([0.0, 2.0]))
    assert (status, answer["code"]) == (500, "model_failed")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_a_bare_onnx_model_takes_no_records(bare, content_type):
    status, answer = bare.post("/v1/predict", b'{"records": []}', {"Content-Type": content_type})
    assert (status, answer["code"]) == (400, "tensors_only")
    assert "/v2/models/bare/infer" in answer["error"]
    status, answer = bare.post("/v2/models/bare/infer", {"inputs": bare_inputs([1, 1])["inputs"][:1]})
    assert (status, answer["code"], answer["field"]) == (400, "missing_input", "b")
