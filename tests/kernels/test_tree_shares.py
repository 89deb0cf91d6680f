"""Shapley values of trees: against every set of players, additive to the sum, and hostile arrays."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.shapley_oracle import counted, leaves_in_kernel_order, shapley
from oracles.tree_oracle import answer, packed

from edgeml.kernels.native_model import DEPTH_LIMIT, OPERATIONS, NativeModel, TreeShares
from edgeml.runtime.contributions import quadrature

WIDTH = 4
VALUES = st.one_of(st.sampled_from([0.0, 1.0, -1.0, math.nan]), st.floats(-3, 3))


@st.composite
def trees(draw, depth=5):
    """A tree as nested tuples; see ``tree_oracle``."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.lists(st.floats(-3, 3), min_size=2, max_size=2))
    threshold = draw(st.sampled_from([0.0, 0.5, 1.0, -1.0]))
    parts = draw(trees(depth=depth - 1)), draw(trees(depth=depth - 1))
    return (draw(st.integers(0, WIDTH - 1)), threshold, draw(st.booleans()), draw(st.booleans()), *parts)


def leaves(node):
    return leaves(node[4]) + leaves(node[5]) if isinstance(node, tuple) else 1


def model_of(roots, width=WIDTH):
    index, constants, sizes = packed(roots)
    operation = [OPERATIONS.index("trees"), width, 0, width, 0, len(constants), 2, 0]
    return NativeModel(
        np.array([operation], dtype=np.int32), np.array(index, dtype=np.int32), np.array([*constants, 0.0, 0.0]),
        width=width, n_registers=width + 2, ensembles=[sizes],
    )  # fmt: skip


def shares_of(model, counts, owners):
    _, _, deepest = model.size_of(0)
    points, weights = quadrature(min(deepest, max(owners) + 1))
    return TreeShares(model, 0, np.array(counts, dtype=np.int32), np.array(owners, dtype=np.int32), points, weights)


@settings(max_examples=60)
@given(
    st.lists(trees(), min_size=1, max_size=3),
    st.lists(VALUES, min_size=WIDTH, max_size=WIDTH),
    st.sampled_from([[0, 1, 2, 3], [0, 0, 1, 1], [2, 1, 0, 1], [0, 0, 0, 0]]),
    st.data(),
)
def test_shares_are_shapley_values(roots, row, owners, data):
    counts = [data.draw(st.lists(st.integers(0, 9), min_size=leaves(r), max_size=leaves(r))) for r in roots]
    known = [counted(root, list(given)) for root, given in zip(roots, counts, strict=True)]
    shares = shares_of(model_of(roots), [n for each in known for n in leaves_in_kernel_order(each)], owners)
    for target in (0, 1):
        out = np.zeros(max(owners) + 1)
        expected = shares.add(np.array(row), target, out)
        want, without = shapley(known, row, owners, target)
        assert expected == pytest.approx(without, abs=1e-11)
        assert out.tolist() == pytest.approx(want, abs=1e-11)
        assert expected + out.sum() == pytest.approx(sum(answer(root, row)[target] for root in roots), abs=1e-11)


def chain(depth, width):
    """A tree that asks about one column after the other, ``depth`` times."""
    node = [float(depth), -1.0]
    for at in range(depth):
        node = (at % width, 0.5 + at // width, False, False, node, [float(at), 1.0])
    return node


@pytest.mark.parametrize("width", [1, 3, DEPTH_LIMIT])
def test_the_deepest_tree_adds_up(width):
    root = chain(DEPTH_LIMIT, width)
    model = model_of([root], width)
    rng = np.random.default_rng(0)
    _, n_leaves, _ = model.size_of(0)
    shares = shares_of(model, rng.integers(0, 50, n_leaves), list(range(width)))
    for row in rng.normal(size=(3, width)):
        out = np.zeros(width)
        assert shares.add(row, 0, out) + out.sum() == pytest.approx(answer(root, row.tolist())[0], rel=1e-9)


def test_deeper_trees_are_refused():
    model = model_of([chain(DEPTH_LIMIT + 1, 2)], 2)
    with pytest.raises(ValueError, match="deeper than 256"):
        shares_of(model, [1] * (DEPTH_LIMIT + 2), [0, 1])


STUMP = (0, 0.5, False, False, [1.0, 2.0], [3.0, 4.0])


def test_a_stump_divides_as_its_rows_were_divided():
    shares = shares_of(model_of([STUMP]), [3, 1], [0, 1, 2, 3])
    out = np.zeros(4)
    assert shares.add(np.zeros(4), 0, out) == 1.5
    assert out.tolist() == [-0.5, 0, 0, 0]
    shares.add(np.zeros(4), 0, out)
    assert out.tolist() == [-1.0, 0, 0, 0]  # is added to
    # A target that no tree gives.
    assert shares.add(np.zeros(4), 7, out) == 0.0 == shares.add(np.zeros(4), -1, out)
    assert out.tolist() == [-1.0, 0, 0, 0]


def test_leaves_are_counted():
    model = model_of([STUMP, (1, 0.0, True, False, STUMP, [0.0, 0.0])])
    assert model.size_of(0) == (8, 5, 2)
    counts = np.zeros(5, dtype=np.int64)
    rows = np.array([[0.0, 1.0, 0, 0], [1.0, -1.0, 0, 0], [np.nan, np.nan, 0, 0], [0.0, -2.0, 0, 0]])
    model.count_leaves(0, rows, counts)
    # The second tree's leaf beside its stump stands before the stump's own.
    assert counts.tolist() == [2, 2, 1, 1, 2]


POINTS = (np.array([0.5]), np.array([1.0]))


@pytest.mark.parametrize(
    ("counts", "players", "points", "said"),
    [
        ([1], [0, 1, 2, 3], POINTS, "1 counts|one number of rows"),
        ([1, 2, 3], [0, 1, 2, 3], POINTS, "3 counts for 2 leaves"),
        ([1, -1], [0, 1, 2, 3], POINTS, "one number of rows for each leaf"),
        ([1, 1], [0, 1, 2], POINTS, "4 columns needs a player"),
        ([1, 1], [0, 1, 2, -1], POINTS, "column 3 has no player"),
        ([1, 1], [0, 1, 2, 2**30], POINTS, "column 3 has no player"),
        ([1, 1], [0, 1, 2, 3], (np.empty(0), np.empty(0)), "0 points do not do"),
        ([1, 1], [0, 1, 2, 3], (np.array([0.5]), np.empty(0)), "1 points do not do"),
        ([1, 1], [0, 1, 2, 3], (np.array([1.0]), np.ones(1)), "not between 0 and 1"),
        ([1, 1], [0, 1, 2, 3], (np.array([np.nan]), np.ones(1)), "not between 0 and 1"),
    ],
)
def test_hostile_arrays(counts, players, points, said):
    model = model_of([STUMP])
    with pytest.raises(ValueError, match=said):
        TreeShares(model, 0, np.array(counts, dtype=np.int32), np.array(players, dtype=np.int32), *points)


def test_nodes_that_are_shared_are_refused():
    """Sixty questions that lead to the next or to the one after it: an answer takes sixty steps, shares 10 ** 12."""
    n = 60
    nodes = [[0.5, 0.0, at + 1.0, 0.0] for at in range(n - 2)] + [[0.0, -1.0, 0.0, 0.0], [0.0, -1.0, 1.0, 0.0]]
    constants = np.array([*np.ravel(nodes), 1.0, 2.0, 0.0])
    operation = [OPERATIONS.index("trees"), 1, 0, 1, 0, len(constants) - 1, 1, 0]
    model = NativeModel(
        np.array([operation], dtype=np.int32), np.array([0, n, 0, 1], dtype=np.int32), constants,
        width=1, n_registers=2, ensembles=[(0, 1, 0, n, 2)],
    )  # fmt: skip
    with pytest.raises(ValueError, match="node 2 has several parents"):
        shares_of(model, [5, 5], [0])


def test_hostile_calls():
    model = model_of([STUMP])
    shares = shares_of(model, [1, 1], [0, 1, 2, 3])
    for row, out in ((np.zeros(3), np.zeros(4)), (np.zeros(4), np.zeros(3))):
        with pytest.raises(ValueError, match="expected 4 columns"):
            shares.add(row, 0, out)
    with pytest.raises(TypeError, match="once"):
        shares.__init__(model, 0, np.ones(2, np.int32), np.zeros(4, np.int32), *POINTS)
    with pytest.raises(ValueError, match="refused"):
        TreeShares.__new__(TreeShares).add(np.zeros(4), 0, np.zeros(4))
    empty = NativeModel.__new__(NativeModel)
    for call in (lambda: empty.operations(), lambda: empty.size_of(0), lambda: empty.index(0, 0)):
        with pytest.raises((ValueError, IndexError)):
            call()
    for number in (-1, 1, 2**40):
        with pytest.raises(IndexError):
            model.size_of(number)
    for part in (model.index, model.constants):
        for start, count in ((0, 10**6), (-1, 1), (0, -1), (10**6, 0), (2**62, 2**62)):
            with pytest.raises(IndexError, match="beyond the end"):
                part(start, count)
    with pytest.raises(ValueError, match="2 leaves"):
        model.count_leaves(0, np.zeros((1, 4)), np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match="4 columns"):
        model.count_leaves(0, np.zeros((1, 3)), np.zeros(2, dtype=np.int64))
