"""LightGBM's trees, from the booster's own dump; LightGBM itself is not imported.

1. LightGBM compares float64 and adds in float64, so X is not rounded to float32.
2. A missing value goes by the node's ``missing_type``: ``NaN`` sends it the node's own way, ``None`` takes it for 0,
   ``Zero`` sends it, and every zero, the node's own way (src/io/tree.h, NumericalDecision).
3. A categorical split asks for the whole part of x, cut towards zero, so that -0.5 is category 0; missing values and
   what is negative then go right (CategoricalDecision).
4. An early-stopped model is dumped as far as ``best_iteration_``, which is as far as ``predict`` goes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeml.builder.category_chains import GrowingTree
from edgeml.builder.export_registry import Classified, Unwritable, two_probabilities, writes
from edgeml.builder.onnx_graph import Graph, Tensor
from edgeml.builder.onnx_trees import Tree, sum_of_trees

# kZeroThreshold in include/LightGBM/meta.h, a float.
ZERO = float(np.float32(1e-35))
IDENTITY = {"regression", "regression_l1", "huber", "fair", "quantile", "mape"}
EXPONENTIAL = {"poisson", "gamma", "tweedie"}


def _nodes(root: dict[str, Any], target: int, width: int) -> Tree:
    tree = GrowingTree(cuts_to_zero=True)
    waiting = [(tree.reserve(), root)]
    while waiting:
        at, node = waiting.pop()
        if "leaf_coeff" in node or "leaf_const" in node:
            raise Unwritable("LightGBM with linear_tree=True")
        if "leaf_value" in node:
            tree.leaf(at, node["leaf_value"])
            continue
        left, right = tree.reserve(), tree.reserve()
        waiting += [(left, node["left_child"]), (right, node["right_child"])]
        column = int(node["split_feature"])
        if node["decision_type"] == "==":
            members = [int(each) for each in str(node["threshold"]).split("||")]
            tree.categories(at, column, members, left, right, missing_inside=False)
            continue
        threshold = float(node["threshold"])
        tree.split(at, column, threshold, left, right, missing_left=_missing_left(node, threshold))
    return tree.finish(target, width)


def _missing_left(node: dict[str, Any], threshold: float) -> bool:
    default = bool(node["default_left"])
    if node["missing_type"] == "NaN":
        return default
    if node["missing_type"] == "Zero" and (threshold >= ZERO) != default:
        raise Unwritable(
            "LightGBM with zero_as_missing=True, where zeros go another way than their neighbours; fit it without, "
            "with NaN in place of the zeros that stand for missing values"
        )
    return default if node["missing_type"] == "Zero" else threshold >= 0.0


def _raw(graph: Graph, estimator: Any, x: Tensor) -> tuple[Tensor, str, dict[str, str]]:
    """The raw sums [N, m], the objective's name and its parameters."""
    if getattr(estimator.booster_, "pandas_categorical", None) and not getattr(estimator, "edgeml_encoded_", False):
        raise Unwritable(
            "LightGBM fitted on pandas columns of dtype category, whose codes only pandas knows; encode them with "
            "OrdinalEncoder and name them in categorical_feature"
        )
    dump = estimator.booster_.dump_model()
    width = int(dump["num_tree_per_iteration"])
    trees = [_nodes(each["tree_structure"], n % width, width) for n, each in enumerate(dump["tree_info"])]
    if not trees:
        raise Unwritable("LightGBM without any tree")
    if "objective" not in dump or callable(getattr(estimator, "objective", None)):
        raise Unwritable("LightGBM with an objective of its own, whose link is not known")
    name, *rest = str(dump["objective"]).split()
    settings = {key: value for key, _, value in (part.partition(":") for part in rest)}
    raw = sum_of_trees(graph, x, trees)
    if dump["average_output"]:
        raw = graph.div(raw, float(len(trees) // width))
    return raw, name, settings


@writes("classifier", "LGBMClassifier")
def classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The logistic curve or softmax of the raw sums; the label is the first of the largest probabilities."""
    raw, name, settings = _raw(graph, estimator, x)
    if raw.width == 1 and name in ("binary", "cross_entropy"):
        slope = float(settings.get("sigmoid", 1.0))
        positive = graph.call("Sigmoid", graph.mul(raw, slope) if slope != 1.0 else raw)
        # predict is the argmax of [1 - p, p]: a tie is the first class.
        return Classified(graph.label_if("Greater", positive, 0.5), two_probabilities(graph, positive))
    if name == "multiclass":
        return Classified(graph.argmax(raw), graph.softmax(raw))
    if name == "multiclassova":
        slope = float(settings.get("sigmoid", 1.0))
        return Classified(graph.argmax(raw), graph.call("Sigmoid", graph.mul(raw, slope) if slope != 1.0 else raw))
    raise Unwritable(f"LGBMClassifier with objective {name!r}")


@writes("regressor", "LGBMRegressor")
def regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The raw sum through the inverse link of the objective."""
    raw, name, settings = _raw(graph, estimator, x)
    if name in IDENTITY and "sqrt" not in settings:
        return raw
    if name in EXPONENTIAL:
        return graph.call("Exp", raw)
    if name == "cross_entropy":
        return graph.call("Sigmoid", raw)
    raise Unwritable(f"LGBMRegressor with objective {' '.join([name, *settings])!r}")
