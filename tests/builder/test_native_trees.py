"""Every question that an ONNX tree may ask: the native kernel, ONNX Runtime and ONNX's reference give the same."""

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeml.builder.native_kernel import native_kernel
from edgeml.builder.native_trees import MODES
from edgeml.runtime.native_session import NativeSession
from edgeml.runtime.onnx_session import OnnxSession

ASKED = np.array([*itertools.product([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan, np.inf, -np.inf], repeat=2)])
OLD_MODES = [mode for mode in MODES if mode != "BRANCH_MEMBER"]


def _model(node, outputs, ml):
    made = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs]
    given = [helper.make_tensor_value_info("dense", TensorProto.DOUBLE, [None, 2])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", ml)]
    graph = helper.make_graph([node], "trees", given, made)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def _tensor(numbers):
    return numpy_helper.from_array(np.array(numbers, dtype=np.float64))


def _nodes(mode, track):
    """Two trees; the first asks both columns, the second is a leaf."""
    return {
        "nodes_treeids": [0, 0, 0, 0, 0, 1],
        "nodes_nodeids": [0, 1, 2, 3, 4, 0],
        "nodes_featureids": [0, 1, 0, 0, 0, 0],
        "nodes_values_as_tensor": _tensor([0.5, 1.0, 0, 0, 0, 0]),
        "nodes_modes": [mode, mode, "LEAF", "LEAF", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 3, 0, 0, 0, 0],
        "nodes_falsenodeids": [2, 4, 0, 0, 0, 0],
        "nodes_missing_value_tracks_true": [track, 1 - track, 0, 0, 0, 0],
    }


def _leaves(prefix, ids, weights):
    return {
        f"{prefix}_treeids": [0, 0, 0, 1],
        f"{prefix}_nodeids": [2, 3, 4, 0],
        f"{prefix}_ids": ids,
        f"{prefix}_weights_as_tensor": _tensor(weights),
    }


def _compare(model, *, reference=False):
    kernel = native_kernel(model, "float64")
    assert kernel is not None
    got = NativeSession(*kernel).run({"dense": ASKED})
    want = OnnxSession.open(model).run({"dense": ASKED})
    assert got.keys() == want.keys()
    answers = {"ONNX Runtime": want}
    if reference:
        evaluator = ReferenceEvaluator(onnx.load_model_from_string(model))
        answers["reference"] = dict(zip(evaluator.output_names, evaluator.run(None, {"dense": ASKED}), strict=True))
    for name, other in answers.items():
        for output, array in got.items():
            wanted = np.asarray(other[output]).reshape(array.shape)
            np.testing.assert_allclose(array, wanted, rtol=2e-7, atol=1e-7, err_msg=f"{name}: {output}")


@pytest.mark.parametrize("track", [0, 1])
@pytest.mark.parametrize("mode", OLD_MODES)
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_regressor(mode, track, aggregate):
    settings = _nodes(mode, track) | _leaves("target", [0, 0, 0, 0], [1.0, -2.5, 4.25, 0.75])
    node = helper.make_node(
        "TreeEnsembleRegressor", ["dense"], ["value"], domain="ai.onnx.ml", n_targets=1, aggregate_function=aggregate,
        base_values_as_tensor=_tensor([0.125]), **settings,
    )  # fmt: skip
    # The reference forgets that a missing value may have a way of its own, and the bases of averages.
    _compare(_model(node, [("value", TensorProto.FLOAT, [None, 1])], 3))


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("mode", OLD_MODES)
def test_classifier_of_three(mode, post):
    settings = _nodes(mode, 0) | _leaves("class", [0, 1, 2, 1], [1.0, -2.5, 4.25, 0.75])
    node = helper.make_node(
        "TreeEnsembleClassifier", ["dense"], ["label", "scores"], domain="ai.onnx.ml", post_transform=post,
        classlabels_int64s=[0, 1, 2], base_values_as_tensor=_tensor([0.5, 0.25, 0.0]), **settings,
    )  # fmt: skip
    outputs = [("label", TensorProto.INT64, [None]), ("scores", TensorProto.FLOAT, [None, 3])]
    _compare(_model(node, outputs, 3))


@pytest.mark.parametrize(
    ("post", "weights"),
    [
        ("NONE", [0.125, 0.25, 0.5, 0.125]),
        ("NONE", [1.0, -2.5, 4.25, 0.75]),
        ("LOGISTIC", [1.0, -2.5, 4.25, 0.75]),
    ],
)
def test_classifier_of_two_with_one_score(post, weights):
    settings = _nodes("BRANCH_LEQ", 0) | _leaves("class", [0] * 4, weights)
    node = helper.make_node(
        "TreeEnsembleClassifier", ["dense"], ["label", "scores"], domain="ai.onnx.ml", post_transform=post,
        classlabels_int64s=[0, 1], **settings,
    )  # fmt: skip
    outputs = [("label", TensorProto.INT64, [None]), ("scores", TensorProto.FLOAT, [None, 2])]
    _compare(_model(node, outputs, 3))


@pytest.mark.parametrize("mode", range(len(MODES)))
def test_new_ensembles(mode):
    member = {"membership_values": _tensor([0.5, 2.0, np.nan, 1.0, -1.0, np.nan])} if MODES[mode] == MODES[-1] else {}
    node = helper.make_node(
        "TreeEnsemble", ["dense"], ["value"], domain="ai.onnx.ml", n_targets=2,
        nodes_splits=_tensor([0.5, 1.0, 0.0, 1.0]), nodes_featureids=[0, 1, 0, 1], tree_roots=[0, 2, 3], **member,
        nodes_modes=numpy_helper.from_array(np.array([mode] * 2 + [1] * 2, dtype=np.uint8)),
        nodes_truenodeids=[1, 1, 3, 5], nodes_trueleafs=[0, 1, 1, 1],
        nodes_falsenodeids=[0, 2, 4, 6], nodes_falseleafs=[1, 1, 1, 1],
        leaf_targetids=[0, 1, 0, 0, 0, 1, 1], leaf_weights=_tensor([1.0, -2.5, 4.25, 0.5, 0.25, 0.125, -0.5]),
    )  # fmt: skip
    _compare(_model(node, [("value", TensorProto.DOUBLE, [None, 2])], 5), reference=True)


@pytest.mark.parametrize(
    "change",
    [{"post_transform": "PROBIT"}, {"post_transform": "SOFTMAX_ZERO"}, {"aggregate_function": "MIN", "n_targets": 2}],
)
def test_what_the_kernel_does_not_have_is_left_to_onnx_runtime(change):
    settings = _nodes("BRANCH_LEQ", 0) | _leaves("target", [0] * 4, [1.0, -2.5, 4.25, 0.75]) | {"n_targets": 1} | change
    node = helper.make_node("TreeEnsembleRegressor", ["dense"], ["value"], domain="ai.onnx.ml", **settings)
    model = _model(node, [("value", TensorProto.FLOAT, [None, settings["n_targets"]])], 3)
    assert native_kernel(model, "float64") is None
