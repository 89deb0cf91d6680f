"""Shapley values by the book: every set of players, and for each a walk through the tree."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

from oracles.tree_oracle import answer

# As in tree_oracle. A counted leaf is a pair: its list of numbers, and how many rows have reached it.
Node = Any
Counted = Any


def counted(node: Node, counts: list[int]) -> Counted:
    """The tree with the number of rows at each leaf, taken from the front of ``counts`` in the tree's own order."""
    if isinstance(node, tuple):
        return (*node[:4], counted(node[4], counts), counted(node[5], counts))
    return (node, counts.pop(0))


def leaves_in_kernel_order(root: Counted) -> list[int]:
    """The counts of the leaves in the order of the kernel's nodes: level by level."""
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop(0)
        if len(node) == 2:
            found.append(node[1])
        else:
            waiting += [node[4], node[5]]
    return found


def _rows(node: Counted) -> int:
    return node[1] if len(node) == 2 else _rows(node[4]) + _rows(node[5])


def value(node: Counted, row: list[float], present: set[int], owners: list[int], target: int) -> float:
    """What a tree gives where only some players are present."""
    if len(node) == 2:
        return node[0][target]
    if owners[node[0]] in present:
        marks = answer((*node[:4], ["left"], ["right"]), row)
        return value(node[4] if marks == ["left"] else node[5], row, present, owners, target)
    left, right = _rows(node[4]), _rows(node[5])
    share = left / (left + right) if left + right else 0.5
    return share * value(node[4], row, present, owners, target) + (1 - share) * value(
        node[5], row, present, owners, target
    )


def shapley(trees: list[Counted], row: list[float], owners: list[int], target: int) -> tuple[list[float], float]:
    """The Shapley value of each player, and what the trees give without any."""
    players = range(max(owners) + 1)
    n = len(players)

    def worth(present: tuple[int, ...]) -> float:
        return sum(value(tree, row, set(present), owners, target) for tree in trees)

    values = []
    for player in players:
        others = [other for other in players if other != player]
        total = 0.0
        for size in range(n):
            weight = factorial(size) * factorial(n - 1 - size) / factorial(n)
            for present in combinations(others, size):
                total += weight * (worth((*present, player)) - worth(present))
        values.append(total)
    return values, worth(())
