"""A tree under construction, node by node, for boosters whose dumps are nested or split on sets of categories.

A set of whole categories becomes a chain of ``x <= bound`` questions, because ONNX trees of version 3 know no sets. The
bounds are those of the runs of neighbouring categories: {3, 4, 7} is (below 3, below 5] and (below 7, below 8]. The
branches of a chain meet again in two nodes, and the native kernel reads it back as one question.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgeml.builder.onnx_trees import Tree


class GrowingTree:
    """Nodes as lists; children may be set after their parents.

    Args:
        dtype: The numbers that are compared, ``float32`` or ``float64``: it says what lies right below a bound.
        cuts_to_zero: Whether a number between -1 and 0 is category 0, as where the library cuts off what follows the
            point before it asks whether the number is below 0; otherwise no number below 0 is a category.
    """

    def __init__(self, dtype: Any = np.float64, *, cuts_to_zero: bool = False) -> None:
        self._dtype = np.dtype(dtype).type
        self._cuts_to_zero = cuts_to_zero
        self._nodes: list[list[Any]] = []

    def __len__(self) -> int:
        return len(self._nodes)

    def below(self, bound: float) -> float:
        """The largest number below ``bound``: x < bound is x <= below(bound)."""
        return float(np.nextafter(self._dtype(bound), self._dtype(-np.inf)))

    def reserve(self) -> int:
        """Makes room for a node; gives its number."""
        self._nodes.append([0, 0.0, -1, -1, False, 0.0])
        return len(self._nodes) - 1

    def leaf(self, at: int, value: float) -> None:
        """Fills a node: a leaf."""
        self._nodes[at] = [0, 0.0, -1, -1, False, float(value)]

    def split(self, at: int, column: int, bound: float, left: int, right: int, *, missing_left: bool) -> None:
        """Fills a node: x <= bound goes left."""
        self._nodes[at] = [column, float(bound), left, right, missing_left, 0.0]

    def categories(
        self, at: int, column: int, members: Iterable[int], inside: int, outside: int, *, missing_inside: bool
    ) -> None:
        """Fills a node: x whose whole part is one of ``members`` goes ``inside``."""
        bounds: list[float] = []
        for member in sorted(set(members)):
            start, end = self.below(member), self.below(member + 1)
            if member == 0 and self._cuts_to_zero:
                start = -1.0
            if bounds and bounds[-1] == start:
                bounds[-1] = end
            else:
                bounds += [start, end]
        # With no member at all everything is outside.
        bounds = bounds or [float("inf")]
        place = at
        for number, bound in enumerate(bounds):
            last = number == len(bounds) - 1
            hit = inside if number % 2 else outside
            miss = outside if last else self.reserve()
            self.split(place, column, bound, hit, miss, missing_left=missing_inside == (hit == inside))
            place = miss

    def finish(self, target: int, width: int) -> Tree:
        """The tree, its leaves adding to one of ``width`` targets."""
        feature, threshold, left, right, missing, leaves = (list(part) for part in zip(*self._nodes, strict=True))
        values = np.zeros((len(leaves), width))
        values[:, target] = leaves
        return Tree(
            feature=np.array(feature),
            threshold=np.array(threshold, dtype=np.float64),
            left=np.array(left),
            right=np.array(right),
            missing_left=np.array(missing),
            values=values,
        )
