"""ONNX graphs as native kernels: the same answers as ONNX Runtime's, or no kernel at all."""

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from oracles.onnx_oracle import reference_answers
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import edgeml
from edgeml.builder.export import doors, export_model
from edgeml.builder.native_kernel import native_kernel
from edgeml.runtime.native_session import NativeSession
from edgeml.runtime.onnx_session import OnnxSession

TWO, THREE, NUMBER = (load(return_X_y=True) for load in (load_breast_cancer, load_wine, load_diabetes))
FEW = {"n_estimators": 7, "random_state": 0}
TAKEN = [
    (LogisticRegression(max_iter=50), TWO),
    (LogisticRegression(max_iter=50), THREE),
    (SGDClassifier(random_state=0), THREE),
    (LinearSVC(), TWO),
    (LinearRegression(), NUMBER),
    (LinearRegression(), (NUMBER[0], np.column_stack([NUMBER[1], -NUMBER[1]]))),
    (GradientBoostingClassifier(**FEW), TWO),
    (GradientBoostingClassifier(**FEW), THREE),
    (GradientBoostingRegressor(**FEW), NUMBER),
    (RandomForestClassifier(**FEW), TWO),
    (RandomForestClassifier(**FEW), THREE),
    (RandomForestRegressor(**FEW), NUMBER),
    (ExtraTreesClassifier(**FEW), THREE),
    (DecisionTreeClassifier(random_state=0), THREE),
    (DecisionTreeRegressor(random_state=0), NUMBER),
    (HistGradientBoostingClassifier(max_iter=7), TWO),
    (HistGradientBoostingClassifier(max_iter=7), THREE),
    (HistGradientBoostingRegressor(max_iter=7), NUMBER),
    (BaggingRegressor(random_state=0), NUMBER),
    (AdaBoostClassifier(**FEW), THREE),
    (IsolationForest(**FEW), TWO),
]


@pytest.mark.parametrize(
    ("estimator", "data"), TAKEN, ids=[f"{i}-{type(estimator).__name__}" for i, (estimator, _) in enumerate(TAKEN)]
)
def test_the_same_answers(estimator, data):
    X, y = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, y)
    door = doors(estimator, n_inputs=X.shape[1])[0]
    exported = export_model(estimator, n_inputs=X.shape[1], door=door)
    made = native_kernel(exported.model, door)
    assert made is not None
    rng = np.random.default_rng(0)
    rows = np.concatenate([X, X + rng.normal(size=X.shape) * X.std(axis=0)]).astype(door)
    got = NativeSession(*made).run({"dense": rows})
    want = OnnxSession.open(exported.model).run({"dense": rows})
    assert got.keys() == want.keys()
    # ONNX's own reference, which works row by row in Python: a few rows.
    few = rows[:: max(1, len(rows) // 40)]
    for name, array in want.items():
        assert got[name].shape == array.shape
        # ONNX Runtime gives sums of trees as float32.
        np.testing.assert_allclose(got[name], array, rtol=2e-7 if name != "label" else 0, atol=1e-7)
    third = reference_answers(exported.model, {"dense": few})
    for name, array in NativeSession(*made).run({"dense": few}).items():
        # It adds trees up in float32, too.
        near = 2e-7 if third[name].dtype == np.float32 else 1e-12
        wanted = third[name].reshape(array.shape)
        np.testing.assert_allclose(array, wanted, rtol=near if name != "label" else 0, atol=1e-7)


def test_missing_values_take_the_same_way():
    rng = np.random.default_rng(0)
    X = THREE[0].copy()
    X[rng.random(X.shape) < 0.2] = np.nan
    for estimator in (HistGradientBoostingClassifier(max_iter=9), DecisionTreeClassifier(random_state=0)):
        estimator.fit(X, THREE[1])
        door = doors(estimator, n_inputs=13)[0]
        exported = export_model(estimator, n_inputs=13, door=door)
        made = native_kernel(exported.model, door)
        assert made is not None
        rows = X.astype(door)
        rows[:20] = np.nan
        got = NativeSession(*made).run({"dense": rows})
        want = OnnxSession.open(exported.model).run({"dense": rows})
        assert got["label"].tolist() == want["label"].tolist()
        np.testing.assert_allclose(got["scores"], want["scores"], atol=1e-6)


def test_a_graph_with_other_nodes_gives_no_kernel():
    estimator = SVC().fit(*THREE)
    assert native_kernel(export_model(estimator, n_inputs=13, door="float64").model, "float64") is None


def nodes_of(nodes: list[onnx.NodeProto], *constants: onnx.TensorProto) -> bytes:
    dense = helper.make_tensor_value_info("dense", TensorProto.DOUBLE, ["N", 3])
    out = helper.make_tensor_value_info("value", TensorProto.DOUBLE, None)
    graph = helper.make_graph(nodes, "few", [dense], [out], list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Softmax", ["dense"], ["value"], axis=0),
        helper.make_node("Concat", ["dense", "dense"], ["value"], axis=0),
        helper.make_node("Gather", ["dense", "i"], ["value"], axis=0),
        helper.make_node("Gemm", ["dense", "w"], ["value"], transA=1),
        helper.make_node("Gemm", ["dense", "w"], ["value"], alpha=0.5),
        helper.make_node("Add", ["dense", "dense"], ["value"]),
        helper.make_node("Div", ["w", "dense"], ["value"]),
        helper.make_node("ArgMax", ["dense"], ["value"], axis=1, select_last_index=1),
        helper.make_node("ReduceSum", ["dense", "i"], ["value"]),
        helper.make_node("Reshape", ["dense", "i"], ["value"]),
        helper.make_node("Squeeze", ["dense"], ["value"]),
        helper.make_node("Flatten", ["dense"], ["value"], axis=0),
        helper.make_node("Sin", ["dense"], ["value"]),
    ],
    ids=lambda node: node.op_type,
)
def test_a_setting_that_the_kernel_does_not_have_gives_no_kernel(node):
    weights = helper.make_tensor("w", TensorProto.DOUBLE, [3, 3], [1.0] * 9)
    positions = helper.make_tensor("i", TensorProto.INT64, [2], [0, 1])
    assert native_kernel(nodes_of([node], weights, positions), "float64") is None


SUMS = helper.make_node("ReduceSum", ["dense", "axes"], ["made"], keepdims=0)


@pytest.mark.parametrize(
    ("first", "axis", "shape"),
    [
        (helper.make_node("Exp", ["dense"], ["made"]), 1, (4, 3)),
        (helper.make_node("Exp", ["dense"], ["made"]), -1, (4, 3)),
        (SUMS, 1, (4, 1)),
        # [1, N]: rows become columns, which no kernel has.
        (SUMS, -1, None),
        (SUMS, 0, None),
    ],
)
def test_flatten_is_taken_where_rows_stay_rows(first, axis, shape):
    flatten = helper.make_node("Flatten", ["made"], ["value"], axis=axis)
    model = nodes_of([first, flatten], helper.make_tensor("axes", TensorProto.INT64, [1], [1]))
    kernel = native_kernel(model, "float64")
    assert (kernel is None) == (shape is None)
    if kernel is not None:
        rows = np.random.default_rng(0).normal(size=(4, 3))
        got, want = (made.run({"dense": rows})["value"] for made in (NativeSession(*kernel), OnnxSession.open(model)))
        assert got.shape == want.shape == shape
        np.testing.assert_allclose(got, want, rtol=1e-14)


@pytest.mark.parametrize("op", ["Flatten", "Identity"])
def test_a_model_that_answers_the_row_itself_has_no_kernel(op):
    assert native_kernel(nodes_of([helper.make_node(op, ["dense"], ["value"])]), "float64") is None


def test_both_engines_answer_a_bundle_alike(penguins, penguins_bundle):
    X = penguins["held_out"][0]
    native, runtime = (edgeml.Predictor.from_bundle(penguins_bundle, backend=name) for name in ("native", "c"))
    assert (native.session.backend, runtime.session.backend) == ("native", "c")
    ours, theirs = native.predict_many(X), runtime.predict_many(X)
    assert ours.label_list() == theirs.label_list() and ours.tiers.tolist() == theirs.tiers.tolist()
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
    assert runtime.golden_check().passed
