"""Trees of an ONNX node in the layout of the native kernel.

1. Both of ONNX's layouts, that of TreeEnsembleClassifier and -Regressor and that of TreeEnsemble (ai.onnx.ml 5), become
   the same list of ``Asked``: x <= bound goes left. ``<`` asks for the number right below; ``>``, ``>=`` and ``!=``
   swap the children; a set becomes the bounds of the ranges that are in it.
2. A chain of questions about one column that ends in only two nodes is a set written out, as exporters have to where
   ONNX has no sets; it becomes one question again. Only then do the branches not meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

Numbers = NDArray[np.float64]
Leaf = list[tuple[int, float]]
# A kernel larger than this would no longer be faster to load than the model is to open.
MAX_NODES = 1_000_000
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")


class Unpackable(Exception):
    """The kernel has no such trees."""


@dataclass(frozen=True)
class Asked:
    """A question: x <= bounds[0] goes left; with more bounds, x for which an odd number of them is below x."""

    column: int
    bounds: tuple[float, ...]
    left: int
    right: int
    missing_left: bool
    ranges: bool = False

    def child(self, x: float) -> int:
        """Where x goes."""
        if x != x:
            return self.left if self.missing_left else self.right
        below = sum(bound < x for bound in self.bounds)
        return self.left if (below % 2 == 1 if self.ranges else below == 0) else self.right


@dataclass(frozen=True)
class Trees:
    """Questions and leaves by number; ``roots`` in the order of the trees."""

    asked: dict[int, Asked]
    leaves: dict[int, Leaf]
    roots: list[int]

    def always(self, target: int) -> bool:
        """Whether every row reaches a leaf that names the target: sure where all leaves of one tree do."""

        def all_name(root: int) -> bool:
            waiting, seen = [root], set()
            while waiting:
                at = waiting.pop()
                if at in seen:
                    continue
                seen.add(at)
                if at in self.asked:
                    waiting += [self.asked[at].left, self.asked[at].right]
                elif all(named != target for named, _ in self.leaves.get(at, [])):
                    return False
            return True

        return any(all_name(root) for root in self.roots)


def numbers(settings: Mapping[str, Any], name: str) -> Numbers:
    """An attribute that may be a list of floats or a tensor."""
    given = settings.get(f"{name}_as_tensor", settings.get(name, []))
    if hasattr(given, "data_type"):
        return numpy_helper.to_array(given).astype(np.float64).ravel()
    return np.asarray(given, dtype=np.float64)


def of_nodes(settings: Mapping[str, Any], prefix: str) -> Trees:
    """The trees of a TreeEnsembleClassifier (prefix ``class``) or -Regressor (``target``)."""
    bounds = numbers(settings, "nodes_values")
    modes = [mode.decode() for mode in settings["nodes_modes"]]
    if len(modes) > MAX_NODES:
        raise Unpackable("too many nodes")
    tracks = settings.get("nodes_missing_value_tracks_true") or [0] * len(modes)
    keys = list(zip(settings["nodes_treeids"], settings["nodes_nodeids"], strict=True))
    place = {key: at for at, key in enumerate(keys)}
    asked: dict[int, Asked] = {}
    leaves: dict[int, Leaf] = {}
    for at, mode in enumerate(modes):
        if mode == "LEAF":
            leaves[at] = []
            continue
        tree = keys[at][0]
        true, false = (place[tree, settings[f"nodes_{way}nodeids"][at]] for way in ("true", "false"))
        asked[at] = question(
            mode, settings["nodes_featureids"][at], [float(bounds[at])], true, false, track=bool(tracks[at])
        )
    owners = zip(settings[f"{prefix}_treeids"], settings[f"{prefix}_nodeids"], strict=True)
    for key, target, weight in zip(
        owners, settings[f"{prefix}_ids"], numbers(settings, f"{prefix}_weights").tolist(), strict=True
    ):
        leaves.setdefault(place[key], []).append((int(target), weight))
    first: dict[int, int] = {}
    for at, (tree, _) in enumerate(keys):
        first.setdefault(tree, at)
    return Trees(asked, leaves, list(first.values()))


def of_ensemble(settings: Mapping[str, Any]) -> Trees:
    """The trees of a TreeEnsemble of ai.onnx.ml 5, whose leaves are numbered apart from its questions."""
    modes = numpy_helper.to_array(settings["nodes_modes"]).ravel().tolist()
    if len(modes) > MAX_NODES:
        raise Unpackable("too many nodes")
    splits = numbers(settings, "nodes_splits")
    tracks = settings.get("nodes_missing_value_tracks_true") or [0] * len(modes)
    sets: list[list[float]] = [[]]
    for member in numbers(settings, "membership_values").tolist():
        if member == member:
            sets[-1].append(member)
        else:
            sets.append([])
    given = iter(sets)
    asked = {}
    for at, number in enumerate(modes):
        mode = MODES[number]
        true, false = (
            settings[f"nodes_{way}nodeids"][at] + (len(modes) if settings[f"nodes_{way}leafs"][at] else 0)
            for way in ("true", "false")
        )
        members = next(given) if mode == "BRANCH_MEMBER" else [float(splits[at])]
        asked[at] = question(mode, settings["nodes_featureids"][at], members, true, false, track=bool(tracks[at]))
    weights = numbers(settings, "leaf_weights").tolist()
    pairs = zip(settings["leaf_targetids"], weights, strict=True)
    leaves: dict[int, Leaf] = {len(modes) + at: [(int(target), weight)] for at, (target, weight) in enumerate(pairs)}
    return Trees(asked, leaves, [int(root) for root in settings["tree_roots"]])


def question(mode: str, column: int, given: list[float], true: int, false: int, *, track: bool) -> Asked:
    """A node of ONNX; ``track``: whether a missing value takes the true branch whatever the comparison says."""
    if mode == "BRANCH_LEQ":
        return Asked(column, (given[0],), true, false, track)
    if mode not in MODES or not np.isfinite(given).all():
        raise Unpackable(f"{mode} with {given}")
    if mode in ("BRANCH_LT", "BRANCH_GTE"):
        bounds: tuple[float, ...] = (_below(given[0]),)
        less = mode == "BRANCH_LT"
    else:
        bounds, less = (given[0],), False
    if mode in ("BRANCH_EQ", "BRANCH_MEMBER"):
        return Asked(column, _ranges(given), true, false, track, ranges=True)
    if mode == "BRANCH_NEQ":
        # A missing value equals nothing.
        return Asked(column, _ranges(given), false, true, False, ranges=True)
    return Asked(column, bounds, true, false, track) if less else Asked(column, bounds, false, true, not track)


def _below(bound: float) -> float:
    return float(np.nextafter(bound, -np.inf))


def _ranges(members: Sequence[float]) -> tuple[float, ...]:
    """Bounds between which lie the members and nothing else."""
    # Zero is written once: the number below it is not below minus zero.
    plain = sorted({member + 0.0 for member in members})
    return tuple(bound for member in plain for bound in (_below(member), member))


def packed(trees: Trees) -> tuple[list[int], Numbers, list[float]]:
    """The kernel's arrays: 4 numbers a tree; 4 a node, [n, 4]; leaves' numbers and the bounds of ranges.

    Raises:
        Unpackable: Branches meet, so that it is no tree.
    """
    index: list[int] = []
    rows: list[tuple[float, float, float, float]] = []
    values: list[float] = []
    seen: set[int] = set()
    for root in trees.roots:
        begin = len(rows)
        order, lefts, front = [root], [], 0
        while front < len(order):
            at = order[front]
            front += 1
            lefts.append(begin + len(order))
            if at in trees.leaves:
                continue
            if at in seen or at not in trees.asked or len(order) > MAX_NODES:
                raise Unpackable("trees whose branches meet")
            seen.add(at)
            found = trees.asked[at] = _whole(trees, at)
            order += [found.left, found.right]
        targets = [target for at in order for target, _ in trees.leaves.get(at, [])] or [0]
        first, count = min(targets), max(targets) - min(targets) + 1
        index += [begin, begin + len(order), first, count]
        for at, left in zip(order, lefts, strict=True):
            if at in trees.leaves:
                sums = [0.0] * count
                for target, weight in trees.leaves[at]:
                    sums[target - first] += weight
                rows.append((0.0, -1.0, float(len(values)), 0.0))
                values += sums
                continue
            found = trees.asked[at]
            flags = float(found.missing_left)
            bound = found.bounds[0] if found.bounds else 0.0
            if found.ranges and len(found.bounds) == 2 and found.bounds[0] == _below(found.bounds[1]):
                flags, bound = flags + 2, found.bounds[1]
            elif found.ranges:
                flags, bound = flags + 4, float(len(values))
                values += [float(len(found.bounds)), *found.bounds]
            rows.append((bound, float(found.column), float(left), flags))
    return index, np.array(rows, dtype=np.float64).reshape(-1, 4), values


def _whole(trees: Trees, at: int) -> Asked:
    """The question at a node, together with those behind it where they are one set written out."""
    chain = [trees.asked[at]]
    ends = {chain[0].left}
    while (following := trees.asked.get(chain[-1].right)) is not None and following.column == chain[0].column:
        if len(ends | {following.left}) > 2:
            break
        ends.add(following.left)
        chain.append(following)
    while len(chain) > 1 and len({each.left for each in chain} | {chain[-1].right}) > 2:
        chain.pop()
    met = [each.left for each in chain] + [chain[-1].right]
    # Without two branches that meet it is a plain piece of tree, and walking it is no slower.
    if len(chain) == 1 or len(set(met)) == len(met):
        return chain[0]

    def end(x: float) -> int:
        for each in chain:
            child = each.child(x)
            if child == each.left:
                return child
        return chain[-1].right

    bounds = sorted({bound for each in chain for bound in each.bounds})
    outside = end(bounds[0])
    inside = next((target for target in met if target != outside), outside)
    changes, last = [], outside
    for bound, after in zip(bounds, [*bounds[1:], np.inf], strict=True):
        if (now := end(after)) != last:
            changes.append(bound)
            last = now
    return replace(
        chain[0],
        bounds=tuple(changes),
        left=inside,
        right=outside,
        missing_left=end(float("nan")) == inside,
        ranges=True,
    )
