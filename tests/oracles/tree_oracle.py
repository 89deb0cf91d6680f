"""Trees as nested tuples, walked one question at a time."""

from __future__ import annotations

import math
from typing import Any

# (column, threshold, missing goes left, asks for equality, left, right), or a leaf's list of numbers.
Node = Any


def answer(node: Node, row: list[float]) -> list[float]:
    """The numbers of the leaf that a row reaches."""
    while isinstance(node, tuple):
        column, threshold, missing_left, equal, left, right = node
        x = row[column]
        goes_left = missing_left if math.isnan(x) else x == threshold if equal else x <= threshold
        node = left if goes_left else right
    return node


def packed(trees: list[Node]) -> tuple[list[int], list[float], tuple[int, int, int, int, int]]:
    """Trees as the kernel wants them: index, constants, and the ensemble's sizes."""
    index, nodes, values = [], [], []
    for root in trees:
        begin, order, front = len(nodes), [root], 0
        places = []
        while front < len(order):
            node = order[front]
            front += 1
            places.append(None)
            if isinstance(node, tuple):
                places[-1] = begin + len(order)
                order += [node[4], node[5]]
        for node, left in zip(order, places, strict=True):
            if isinstance(node, tuple):
                nodes.append((node[1], node[0], left, node[2] + 2 * node[3]))
            else:
                nodes.append((0.0, -1, len(values), 0))
                values += node
        index += [begin, len(nodes), 0, 2]
    constants = [float(number) for node in nodes for number in node] + values
    return index, constants, (0, len(trees), 0, len(nodes), len(values))
