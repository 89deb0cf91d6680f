"""Tree ensembles as ONNX nodes: thresholds in float64, leaves added in float64, in the order of the trees.

1. ai.onnx.ml 3 with double attributes and a double input: ONNX Runtime then compares and adds in float64 and only the
   final sum is given as float32. scikit-learn's trees compare float32(x) with a float64 threshold, so the input is
   rounded to float32 first (``Graph.float32_rounded``); those that compare float64 take it as it is.
2. Where a label is the class with the largest sum, the classifier node finds it on the float64 sums: a tie or near
   tie falls as in scikit-learn, although the scores shown are float32.
3. ``precise_sum`` splits each leaf in two, so that the sum is known beyond float32 where a threshold follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import numpy_helper

from edgeml.builder.onnx_graph import DOUBLE, Graph, Tensor


@dataclass
class Tree:
    """One tree; node 0 is the root.

    Attributes:
        feature: Column asked at each node [n]; anything at leaves.
        threshold: Number compared with, [n].
        left: Node where x <= threshold (x == threshold where ``equal``), [n]; -1 at leaves.
        right: Node otherwise, [n].
        missing_left: Whether a missing x goes left, [n].
        values: What each leaf adds to each target, [n, m].
        equal: Which nodes ask x == threshold, [n]; None where none does.
    """

    feature: NDArray[Any]
    threshold: NDArray[np.float64]
    left: NDArray[Any]
    right: NDArray[Any]
    missing_left: NDArray[Any]
    values: NDArray[np.float64]
    equal: NDArray[Any] | None = None


def sum_of_trees(graph: Graph, x: Tensor, trees: Sequence[Tree], *, base: ArrayLike | None = None) -> Tensor:
    """The sum of the leaves (plus ``base``) for each target, given as float32 and held as float64; [N, m]."""
    width = trees[0].values.shape[1]
    attributes = _structure(trees) | _leaves(trees, "target", np.arange(width), keep_zeros=False)
    attributes["n_targets"] = width
    if base is not None:
        attributes["base_values_as_tensor"] = _tensor(np.asarray(base).reshape(-1), "base")
    name = graph.node("TreeEnsembleRegressor", [x.name], domain="ai.onnx.ml", **attributes)[0]
    return graph.cast(Tensor(name, width), DOUBLE)


def largest_of_trees(
    graph: Graph, x: Tensor, trees: Sequence[Tree], *, base: ArrayLike | None = None, keep_zeros: bool = False
) -> tuple[Tensor, Tensor]:
    """The target with the largest float64 sum (the first on a tie), and the sums as ``sum_of_trees`` gives them.

    Args:
        graph: Where to write.
        x: Input of the trees.
        trees: At least one tree; all with the same m >= 2 targets.
        base: Added to each target; only for three targets or more.
        keep_zeros: Whether zeros in leaves must be written: not needed where no sum is negative.
    """
    width = trees[0].values.shape[1]
    attributes = _structure(trees) | _leaves(trees, "class", np.arange(width), keep_zeros=keep_zeros)
    # For two classes ONNX Runtime has rules of its own (the label is the sign of the second sum). A third class
    # without any leaf keeps to the general rule; it has no score and so is never the largest.
    labels = max(width, 3)
    attributes["classlabels_int64s"] = list(range(labels))
    attributes["post_transform"] = "NONE"
    if base is not None:
        if width < 3:
            raise ValueError("two targets with base values: use sum_of_trees")
        attributes["base_values_as_tensor"] = _tensor(np.asarray(base).reshape(-1), "base")
    label, sums = graph.node("TreeEnsembleClassifier", [x.name], outputs=2, domain="ai.onnx.ml", **attributes)
    return Tensor(label, 0), graph.columns(graph.cast(Tensor(sums, labels), DOUBLE), range(width))


def one_by_one(graph: Graph, x: Tensor, trees: Sequence[Tree]) -> Tensor:
    """What each tree (with one target) gives, side by side; [N, number of trees]."""
    attributes = _structure(trees) | _leaves(trees, "target", None, keep_zeros=False)
    attributes["n_targets"] = len(trees)
    name = graph.node("TreeEnsembleRegressor", [x.name], domain="ai.onnx.ml", **attributes)[0]
    return graph.cast(Tensor(name, len(trees)), DOUBLE)


def precise_sum(graph: Graph, x: Tensor, trees: Sequence[Tree]) -> Tensor:
    """The sum of the leaves (one target) to about 1e-12 of its size; [N, 1].

    Each leaf is split into a multiple of a step, whose sums float32 holds exactly, and a small rest.
    """
    largest = sum(float(np.abs(tree.values).max()) for tree in trees)
    step = 2.0 ** (np.ceil(np.log2(max(largest, 1e-300))) - 23)
    split = []
    for tree in trees:
        coarse = np.round(tree.values / step) * step
        split.append(Tree(**{**vars(tree), "values": np.hstack([coarse, tree.values - coarse])}))
    return graph.row_sum(sum_of_trees(graph, x, split))


def _structure(trees: Sequence[Tree]) -> dict[str, Any]:
    """The nodes' attributes."""
    sizes = [len(tree.feature) for tree in trees]
    leaf = np.concatenate([tree.left < 0 for tree in trees])
    equal = np.concatenate([np.zeros(len(t.feature), bool) if t.equal is None else t.equal for t in trees])

    def joined(name: str, at_leaf: float) -> NDArray[Any]:
        return np.where(leaf, at_leaf, np.concatenate([getattr(tree, name) for tree in trees]))

    attributes: dict[str, Any] = {
        "nodes_treeids": np.repeat(np.arange(len(trees)), sizes).tolist(),
        "nodes_nodeids": np.concatenate([np.arange(size) for size in sizes]).tolist(),
        "nodes_featureids": joined("feature", 0).astype(np.int64).tolist(),
        "nodes_values_as_tensor": _tensor(joined("threshold", 0.0), "thresholds"),
        "nodes_modes": np.where(leaf, "LEAF", np.where(equal, "BRANCH_EQ", "BRANCH_LEQ")).tolist(),
        "nodes_truenodeids": joined("left", 0).astype(np.int64).tolist(),
        "nodes_falsenodeids": joined("right", 0).astype(np.int64).tolist(),
    }
    missing = joined("missing_left", 0).astype(np.int64)
    if missing.any():
        attributes["nodes_missing_value_tracks_true"] = missing.tolist()
    return attributes


def _leaves(trees: Sequence[Tree], prefix: str, targets: NDArray[Any] | None, *, keep_zeros: bool) -> dict[str, Any]:
    """The leaves' attributes; ``targets`` None gives each tree its own target."""
    tree_ids, node_ids, target_ids, weights = [], [], [], []
    for index, tree in enumerate(trees):
        nodes = np.flatnonzero(tree.left < 0)
        values = tree.values[nodes]
        # A leaf that adds nothing must still say so once: a leaf without any weight is an error.
        kept = np.ones(values.shape, bool) if keep_zeros else values != 0.0
        kept[~kept.any(axis=1), 0] = True
        row, column = np.nonzero(kept)
        tree_ids.append(np.full(len(row), index))
        node_ids.append(nodes[row])
        target_ids.append(column if targets is not None else np.full(len(row), index))
        weights.append(values[row, column])
    return {
        f"{prefix}_treeids": np.concatenate(tree_ids).tolist(),
        f"{prefix}_nodeids": np.concatenate(node_ids).tolist(),
        f"{prefix}_ids": np.concatenate(target_ids).tolist(),
        f"{prefix}_weights_as_tensor": _tensor(np.concatenate(weights), "weights"),
    }


def _tensor(values: NDArray[Any], name: str) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float64), name)
