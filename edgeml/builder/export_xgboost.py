"""XGBoost's trees, from the booster's own JSON model; XGBoost itself is not imported.

1. XGBoost keeps and compares float32: X is rounded to float32, and x < bound becomes x <= the float32 right below.
2. It adds leaves in float32, one after the other; the graph adds them in float64. Scores differ by a few units of
   float32, which parity holds to the tolerance.
3. A categorical split sends its categories right; unknown ones and whatever is below 0 go left (InvalidCat and Decision
   in src/common/categorical.h), missing ones the node's own way.
4. ``base_score`` is kept behind the link: its logit or logarithm is what the trees are added to.
5. An early-stopped model ends with ``best_iteration``, as ``predict`` does.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml.builder.category_chains import GrowingTree
from edgeml.builder.export_registry import Classified, Unwritable, two_probabilities, writes
from edgeml.builder.onnx_graph import Graph, Tensor
from edgeml.builder.onnx_trees import Tree, sum_of_trees

LOGISTIC = {"binary:logistic", "reg:logistic"}
EXPONENTIAL = {"count:poisson", "reg:gamma", "reg:tweedie"}
IDENTITY = {
    "reg:squarederror",
    "reg:squaredlogerror",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:quantileerror",
    "multi:softprob",
    "multi:softmax",
}


def _tree(dump: dict[str, Any], target: int, width: int) -> Tree:
    if int(dump["tree_param"]["size_leaf_vector"]) > 1:
        raise Unwritable("XGBoost with multi_strategy='multi_output_tree'")
    tree = GrowingTree(np.float32)
    lefts, rights, bounds = dump["left_children"], dump["right_children"], dump["split_conditions"]
    members = {
        node: dump["categories"][start : start + size]
        for node, start, size in zip(
            dump["categories_nodes"], dump["categories_segments"], dump["categories_sizes"], strict=True
        )
    }
    for _ in lefts:
        tree.reserve()
    for at, left in enumerate(lefts):
        if left < 0:
            tree.leaf(at, float(np.float32(bounds[at])))
            continue
        column, right, missing = int(dump["split_indices"][at]), rights[at], bool(dump["default_left"][at])
        if dump["split_type"][at]:
            known = [int(each) for each in members.get(at, [])]
            tree.categories(at, column, known, right, left, missing_inside=not missing)
        else:
            tree.split(at, column, tree.below(bounds[at]), left, right, missing_left=missing)
    return tree.finish(target, width)


def _raw(graph: Graph, estimator: Any, x: Tensor) -> tuple[Tensor, str]:
    """The raw sums [N, m], before the link, and the objective."""
    if estimator.missing is not None and estimator.missing == estimator.missing:
        raise Unwritable(f"XGBoost with missing={estimator.missing}; fit it with NaN for missing values")
    booster = estimator.get_booster()
    if any(kind == "c" for kind in booster.feature_types or []) and not isinstance(estimator.feature_types, list):
        raise Unwritable(
            "XGBoost fitted on pandas columns of dtype category, whose codes only pandas knows; encode them with "
            "OrdinalEncoder and name them in feature_types"
        )
    learner = json.loads(bytes(booster.save_raw(raw_format="json")))["learner"]
    boosted = learner["gradient_booster"]
    if boosted["name"] != "gbtree":
        raise Unwritable(f"XGBoost with booster={boosted['name']!r}; fit it with booster='gbtree'")
    model, objective = boosted["model"], str(learner["objective"]["name"])
    if objective not in LOGISTIC | EXPONENTIAL | IDENTITY:
        raise Unwritable(f"XGBoost with objective {objective!r}")
    params = learner["learner_model_param"]
    width = max(1, int(params["num_class"]), int(params["num_target"]))
    dumps, targets = model["trees"], model["tree_info"]
    best = learner["attributes"].get("best_iteration")
    if best is not None:
        count = model["iteration_indptr"][int(best) + 1]
        dumps, targets = dumps[:count], targets[:count]
    if not dumps:
        raise Unwritable("XGBoost without any tree")
    trees = [_tree(dump, target, width) for dump, target in zip(dumps, targets, strict=True)]
    base = _base(params["base_score"], objective, width)
    return sum_of_trees(graph, graph.float32_rounded(x), trees, base=base), objective


def _base(said: Any, objective: str, width: int) -> NDArray[np.float64]:
    """The constant that the trees are added to, for each target."""
    score = np.atleast_1d(np.asarray(json.loads(said) if isinstance(said, str) else said, dtype=np.float32))
    if objective in LOGISTIC:
        score = -np.log(np.float32(1.0) / score - np.float32(1.0))
    elif objective in EXPONENTIAL:
        score = np.log(score)
    return np.broadcast_to(score.astype(np.float64), width).copy()


@writes("classifier", "XGBClassifier", "XGBRFClassifier")
def classifier(graph: Graph, estimator: Any, x: Tensor) -> Classified:
    """The logistic curve or softmax of the raw sums; of two classes the second above one half."""
    raw, objective = _raw(graph, estimator, x)
    if objective in LOGISTIC:
        positive = graph.call("Sigmoid", raw)
        # XGBoost's probability is a float32: one a hair above one half is one half, and that is the first class.
        label = graph.label_if("Greater", graph.float32_rounded(positive), 0.5)
        return Classified(label, two_probabilities(graph, positive))
    if objective.startswith("multi:"):
        return Classified(graph.argmax(raw), graph.softmax(raw))
    raise Unwritable(f"{type(estimator).__name__} with objective {objective!r}")


@writes("regressor", "XGBRegressor", "XGBRFRegressor")
def regressor(graph: Graph, estimator: Any, x: Tensor) -> Tensor:
    """The raw sum through the inverse link of the objective."""
    raw, objective = _raw(graph, estimator, x)
    if objective in LOGISTIC:
        return graph.call("Sigmoid", raw)
    return graph.call("Exp", raw) if objective in EXPONENTIAL else raw
