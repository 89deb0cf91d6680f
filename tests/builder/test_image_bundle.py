"""Bundles of pictures: out of pipelines, and out of ONNX models with convolutions."""

import base64
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from runtime.image_samples import SPEC, data, disks, file_of
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import edgeml
from edgeml import ImageSpec, image_rows
from edgeml.errors import BuildError, RuleError
from edgeml.runtime.predictor import Predictor

PICTURES, COLOURS = data()
LABELS = ["red", "green", "blue"]
CHW = ImageSpec(width=8, height=6, layout="chw", scale=1 / 255)
NAMES = {"name": "disks", "version": "1"}


def network(
    *, kind=TensorProto.FLOAT, softmax=False, value=False, batch="N", channels=3, answer="logits", last=(), old=False
):
    """Two means of each channel by a convolution, and a sum of them for each colour."""
    random = np.random.default_rng(0)
    kernel = random.normal(0, 0.1, (4, channels, 3, 3)).astype(np.float32)
    kernel[:3, :, 1, 1] += 8 * np.eye(3)[:, :channels]
    weights = np.vstack([4 * np.eye(3), np.zeros((1, 3))]).astype(np.float32)
    nodes = [] if kind == TensorProto.FLOAT else [helper.make_node("Cast", ["photo"], ["floats"], to=1)]
    nodes += [
        helper.make_node("Conv", ["floats" if nodes else "photo", "kernel"], ["seen"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["seen"], ["lit"]),
        helper.make_node("GlobalMaxPool", ["lit"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["sums" if softmax or last else answer]),
    ]
    for number, name in enumerate(last):
        made = answer if number == len(last) - 1 else f"last_{number}"
        nodes.append(helper.make_node(name, [f"last_{number - 1}" if number else "sums"], [made]))
    if softmax:
        nodes.append(helper.make_node("Softmax", ["sums"], [answer], axis=-1))
    constants = [
        numpy_helper.from_array(kernel, "kernel"),
        # Of one number: red is above 0.
        numpy_helper.from_array(weights[:, :1] - weights[:, 1:2] if value else weights, "weights"),
    ]
    inputs = [helper.make_tensor_value_info("photo", kind, [batch, channels, 6, 8])]
    if old:  # IR version 3: each constant is an input as well
        inputs += [helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in constants]
    outputs = [helper.make_tensor_value_info(answer, TensorProto.FLOAT, [batch, 1 if value else 3])]
    graph = helper.make_graph(nodes, "disks", inputs, outputs, constants)
    versions = {"opset_imports": [helper.make_opsetid("", 8 if old else 17)], "ir_version": 3 if old else 8}
    return helper.make_model(graph, **versions).SerializeToString()


def build(pipeline, pictures=PICTURES[:60], colours=COLOURS[:60], **more):
    return edgeml.build(pipeline, pictures, colours, **NAMES | {"image": SPEC} | more)


@pytest.mark.parametrize(
    "pipeline",
    [
        DecisionTreeClassifier(max_depth=4, random_state=0),
        make_pipeline(StandardScaler(), PCA(5, random_state=0), LogisticRegression()),
    ],
)
def test_pipelines_over_rows_of_pictures(pipeline):
    pipeline.fit(image_rows(SPEC, PICTURES[:100]), COLOURS[:100])
    bundle = build(pipeline, PICTURES[:100], COLOURS[:100], held_out=(PICTURES[100:], COLOURS[100:]))
    parity = bundle.config["parity"]
    assert parity["flips"] == 0 and parity["kinds"]["darker"] == 48 and parity["kinds"]["jpeg"] == 48
    predictor = Predictor.from_bundle(bundle)
    rows = image_rows(SPEC, PICTURES[100:])
    assert [each.label for each in predictor.predict_many([{"image": e} for e in PICTURES[100:]])] == list(
        pipeline.predict(rows)
    )


def test_a_regression():
    targets = np.array([each.mean() for each in PICTURES])
    model = Ridge().fit(image_rows(SPEC, PICTURES), targets)
    predictor = Predictor.from_bundle(build(model, PICTURES, targets))
    assert predictor.predict({"image": PICTURES[0]}).value == pytest.approx(
        float(model.predict(image_rows(SPEC, PICTURES[:1]))[0]), rel=1e-9
    )


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
@pytest.mark.parametrize("softmax", [False, True])
def test_an_onnx_model_that_takes_pictures(kind, softmax, tmp_path):
    spec = CHW if kind == TensorProto.FLOAT else ImageSpec(width=8, height=6, layout="chw")
    path = tmp_path / "disks.onnx"
    path.write_bytes(network(kind=kind, softmax=softmax))
    bundle = build(path, image=spec, labels=LABELS)
    assert bundle.config["parity"]["flips"] == 0 and bundle.config["parity"]["rows"] > 300
    predictor = Predictor.from_bundle(bundle)
    assert predictor.golden_check().passed
    answer = predictor.predict({"image": PICTURES[0]})
    assert sum(answer.scores.values()) == pytest.approx(1.0, abs=1e-5)
    # The same question to the model as it came.
    rows = image_rows(spec, PICTURES[:9]).reshape(9, 3, 6, 8)
    wanted = ReferenceEvaluator(onnx.load(path)).run(None, {"photo": rows.astype("u1" if kind == 2 else "f4")})[0]
    got = predictor.predict_many([{"image": each} for each in PICTURES[:9]])
    assert [each.label for each in got] == [LABELS[at] for at in wanted.argmax(axis=1)]
    assert bundle.config["requires"]["onnxruntime"] == ">=1.20"
    assert "picture (8 x 6 rgb" in bundle.members["CARD.md"].decode()


@pytest.mark.parametrize("answer", ["dense", "scores", "edgeml_shape", "value"])
@pytest.mark.parametrize("softmax", [False, True])
def test_any_name_will_do(answer, softmax):
    assert build(network(answer=answer, softmax=softmax), image=CHW, labels=LABELS).config["parity"]["flips"] == 0


def test_an_onnx_model_that_gives_a_number():
    predictor = Predictor.from_bundle(build(network(value=True), colours=np.arange(60.0), image=CHW))
    assert isinstance(predictor.predict({"image": PICTURES[0]}).value, float)


@pytest.mark.parametrize("last", [["Sigmoid"], ["Sigmoid", "Flatten", "Identity"]])
def test_one_probability_is_that_of_the_second_of_two_labels(last):
    model = network(value=True, last=last)
    bundle = build(model, colours=None, image=CHW, labels=["other", "red"])
    assert bundle.config["parity"]["flips"] == 0
    rows = image_rows(CHW, PICTURES[:60]).reshape(60, 3, 6, 8).astype("f4")
    wanted = ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"photo": rows})[0][:, 0]
    answers = Predictor.from_bundle(bundle).predict_many([{"image": each} for each in PICTURES[:60]])
    assert {answer.label for answer in answers} == {"other", "red"}
    assert [answer.label for answer in answers] == [["other", "red"][int(p > 0.5)] for p in wanted]
    np.testing.assert_allclose([answer.scores["red"] for answer in answers], wanted, atol=1e-5)
    np.testing.assert_allclose([answer.scores["other"] for answer in answers], 1 - wanted, atol=1e-5)


@pytest.mark.parametrize(
    "last, labels, message",
    [
        (["Sigmoid"], ["red"], "one score; give two distinct labels, not .'red'."),
        (["Sigmoid"], ["red", "red"], "one score; give two distinct labels"),
        (["Sigmoid"], LABELS, "one score; give two distinct labels, not .'red', 'green'"),
        ((), ["other", "red"], "no probability .* Sigmoid at its end"),
        (["Sigmoid", "Exp"], ["other", "red"], "no probability"),
    ],
)
def test_one_score_that_fits_no_labels_is_refused(last, labels, message):
    with pytest.raises(BuildError, match=message):
        build(network(value=True, last=last), colours=None, image=CHW, labels=labels)


def test_an_onnx_model_of_an_old_version_is_taken():
    old = build(network(old=True), image=CHW, labels=LABELS)
    assert old.config["parity"]["flips"] == 0
    answers = [
        Predictor.from_bundle(each).predict({"image": PICTURES[0]})
        for each in (old, build(network(), image=CHW, labels=LABELS))
    ]
    assert answers[0].scores == pytest.approx(answers[1].scores, abs=1e-6)


@pytest.mark.parametrize(
    "model, more, message",
    [
        (network(), {"image": ImageSpec(width=9, height=6, layout="chw")}, "correct width, height"),
        (network(), {"image": SPEC}, "correct width, height, channels or layout"),
        (network(), {"labels": ["a", "b"]}, "gives 3 scores"),
        (network(), {"labels": ["a", "b", "a"]}, "distinct"),
        (network(batch=1), {"labels": LABELS}, "free first dimension"),
        (b"no model", {"labels": LABELS}, "not valid"),
        ("missing.onnx", {"labels": LABELS}, "cannot be read"),
    ],
)
def test_an_onnx_model_that_does_not_fit_is_refused(model, more, message):
    with pytest.raises(BuildError, match=message):
        build(model, **{"image": CHW} | more)


@pytest.mark.parametrize(
    "pictures, message",
    [
        ([], "holds no pictures"),
        ("pictures", "must be a list"),
        ([PICTURES[0], 5], "picture 1: give a file's bytes"),
        ([PICTURES[0].astype(float)], "array of float64"),
        ([PICTURES[0][..., :2]], "picture 0: shape"),
        ([b"GIF89a"], "not a picture"),
        (["nowhere.png"], "cannot be read"),
        ([b"GIF89a"], "expected a whole PNG or JPEG file"),
        ([np.zeros((300, 300), np.uint8)], "too many pixels: 300 x 300 pixels; expected a picture of at most 40000"),
    ],
)
def test_pictures_that_cannot_be_taken_are_named(pictures, message):
    with pytest.raises(BuildError, match=message):
        build(LogisticRegression().fit(np.zeros((2, 144)), [0, 1]), pictures, None)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"features": {"image": {"unit": "x"}}}, "features"),
        ({"unknown_fields": "count"}, "unknown_fields"),
        ({"schema": {}}, "schema"),
        ({"labels": LABELS}, "labels"),
        ({"image": 5}, "ImageSpec"),
        ({"image": {"width": 5}}, "height"),
        ({"image": None, "labels": LABELS}, "labels"),
        ({"held_out": (PICTURES[:5], COLOURS[:4])}, "held_out"),
        ({"held_out": 5}, "pair"),
    ],
)
def test_arguments_that_do_not_fit_are_named(more, message):
    model = LogisticRegression(max_iter=300).fit(image_rows(SPEC, PICTURES[:60]), COLOURS[:60])
    with pytest.raises(BuildError, match=message):
        build(model, **more)


def test_rules_are_not_about_the_picture_itself():
    model = LogisticRegression(max_iter=300).fit(image_rows(SPEC, PICTURES[:60]), COLOURS[:60])
    for when in ("image is missing", "image == 'x'", "image > 5"):
        with pytest.raises(RuleError, match=r"image\.brightness"):
            build(model, rules=[{"when": when, "then": {"label": "red"}}])


def test_a_pipeline_that_was_fitted_on_other_rows_is_another_pipeline():
    # Nobody can tell how rows were made; but how long they were.
    model = LogisticRegression(max_iter=300).fit(np.random.default_rng(0).normal(size=(60, 9)), COLOURS[:60])
    with pytest.raises(BuildError, match="rows of 9 numbers, and image gives 144"):
        build(model)


def test_files_arrays_and_paths_give_the_same_bundle(tmp_path):
    model = LogisticRegression(max_iter=300).fit(image_rows(SPEC, PICTURES[:60]), COLOURS[:60])
    paths = []
    for number, each in enumerate(PICTURES[:60]):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(file_of(each))
    spec = json.loads(json.dumps(SPEC.to_document("float32")))
    members = {name: value for name, value in spec.items() if name not in ("format", "door")}
    first = build(model)
    assert first.digest == build(model).digest
    assert first.config["schema"] == build(model, paths, image=members).config["schema"]


def test_golden_rows_are_files():
    for row in map(json.loads, disks().members["golden.jsonl"].decode().splitlines()):
        assert base64.b64decode(row["record"]["image"])[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")
