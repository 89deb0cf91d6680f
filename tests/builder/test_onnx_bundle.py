"""A bare ONNX model: tensors in, tensors out, checked against ONNX's own reference implementation."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import edgeml
from edgeml.errors import BuildError, BundleError, EdgemlError, ModelError, RequestError
from edgeml.runtime.engine import Engine
from edgeml.runtime.tensor_predictor import TensorPredictor

SCHEMA = {
    "inputs": [
        {"name": "image", "datatype": "FP32", "shape": [-1, 2, 2]},
        {"name": "gain", "datatype": "FP32", "shape": [-1]},
    ],
    "outputs": [{"name": "bright", "datatype": "FP32", "shape": [-1]}],
}


def model_bytes(op: str = "Mul") -> bytes:
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node(op, ["mean", "gain"], ["bright"]),
        ],
        "brightness",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, 2]),
            helper.make_tensor_value_info("gain", TensorProto.FLOAT, ["N"]),
        ],
        [helper.make_tensor_value_info("bright", TensorProto.FLOAT, ["N"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    return {"image": rng.random((20, 2, 2), dtype=np.float32), "gain": np.ones(20, dtype=np.float32)}


@pytest.fixture(scope="module")
def bundle(samples):
    return edgeml.build(model_bytes(), samples, schema=SCHEMA, name="bright", version="1")


def test_it_answers_as_the_reference(bundle, samples, tmp_path):
    bundle.save(tmp_path / "b.edgeml")
    predictor = edgeml.load(tmp_path / "b.edgeml")
    assert isinstance(predictor, TensorPredictor)
    given = predictor.infer(samples)["bright"]
    np.testing.assert_allclose(given, samples["image"].mean(axis=(1, 2)), rtol=1e-6)
    assert predictor.golden_check().passed and predictor.golden_check().rows == 16
    engine = Engine(predictor)
    np.testing.assert_array_equal(engine.infer(samples).outputs["bright"], given)
    with pytest.raises(RequestError, match="tensors, not records"):
        engine.predict({"image": 1})


def test_numbers_of_another_type_are_converted(bundle):
    predictor = TensorPredictor.from_bundle(bundle)
    given = predictor.infer({"image": [[[1.0, 2.0], [3.0, 6.0]]], "gain": np.array([2.0])})
    assert given["bright"].tolist() == [6.0]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"image": None}, "missing_input"),
        ({"more": [1.0]}, "unknown_input"),
        ({"image": [[1.0, 2.0]]}, "bad_shape"),
        ({"image": [[["a", "b"], ["c", "d"]]]}, "wrong_type"),
        ({"image": [[[1.0, 2.0], [3.0, float("nan")]]]}, "not_finite"),
        ({"gain": [1.0, 2.0]}, "bad_shape"),
    ],
)
def test_bad_tensors_are_named(bundle, change, code):
    tensors = {"image": [[[1.0, 2.0], [3.0, 4.0]]], "gain": [1.0]} | change
    tensors = {name: value for name, value in tensors.items() if value is not None}
    with pytest.raises(RequestError) as refusal:
        TensorPredictor.from_bundle(bundle).infer(tensors)
    assert refusal.value.code == code


def test_a_non_finite_answer_is_a_model_error(samples):
    bundle = edgeml.build(model_bytes("Div"), samples, schema=SCHEMA, name="bright", version="1")
    with pytest.raises(ModelError, match="non-finite"):
        TensorPredictor.from_bundle(bundle).infer({"image": [[[1.0, 1.0], [1.0, 1.0]]], "gain": [0.0]})


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (None, "needs schema"),
        ({"inputs": SCHEMA["inputs"][:1], "outputs": SCHEMA["outputs"]}, "inputs"),
        ({"inputs": SCHEMA["inputs"], "outputs": [{"name": "dark", "datatype": "FP32", "shape": [-1]}]}, "dark"),
        ({"inputs": SCHEMA["inputs"], "outputs": [{"name": "bright", "datatype": "FP16", "shape": [-1]}]}, "FP16"),
        ({"inputs": [], "outputs": []}, "at least one"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused(samples, schema, message):
    with pytest.raises((BuildError, BundleError), match=message):
        edgeml.build(model_bytes(), samples, schema=schema, name="bright", version="1")


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(EdgemlError, match="not valid"):
        edgeml.build(b"not a model", schema=SCHEMA, name="bright", version="1")
    with pytest.raises(BuildError, match="cannot be read"):
        edgeml.build(tmp_path / "none.onnx", schema=SCHEMA, name="bright", version="1")


def test_without_samples_the_card_says_so():
    bundle = edgeml.build(model_bytes(), schema=SCHEMA, name="bright", version="1")
    assert "golden.jsonl" not in bundle.members
    assert "Not checked" in bundle.members["CARD.md"].decode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rules": []}, "rules does not apply: a bare ONNX model takes tensors"),
        ({"fallback": {"label": "a"}}, "fallback does not apply"),
        ({"held_out": ([], [])}, "held_out does not apply"),
        ({"features": {}}, "features does not apply"),
        ({"unknown_fields": "count"}, "unknown_fields does not apply"),
        ({"y": [1]}, "y does not apply"),
    ],
)
def test_what_belongs_to_pipelines_is_refused(arguments, message):
    with pytest.raises(BuildError, match=message):
        edgeml.build(model_bytes(), schema=SCHEMA, name="bright", version="1", **arguments)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 4)), "X must hold one sample array for each input, by name, got ndarray"),
        ({"image": np.zeros((2, 2, 2))}, "no array for input 'gain'"),
        ({"image": np.zeros((2, 2, 2)), "gain": ["much", "more"]}, "samples for input 'gain' are no FP32"),
    ],
)
def test_samples_that_do_not_fit_are_refused(samples, message):
    with pytest.raises(BuildError, match=message):
        edgeml.build(model_bytes(), samples, schema=SCHEMA, name="bright", version="1")


def test_progress_names_every_step():
    said = []
    edgeml.build(model_bytes(), schema=SCHEMA, name="bright", version="1", progress=lambda *step: said.append(step))
    assert said == [("reading the model", 1, 3), ("asking the reference", 2, 3), ("packing", 3, 3)]


def test_the_runtime_that_it_needs_follows_from_its_opset():
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "neg", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    tensors = [{"name": name, "datatype": "FP32", "shape": [-1]} for name in "xy"]
    schema = {"inputs": tensors[:1], "outputs": tensors[1:]}
    bundle = edgeml.build(model.SerializeToString(), schema=schema, name="neg", version="1")
    assert bundle.config["requires"]["onnxruntime"] == ">=1.21"
