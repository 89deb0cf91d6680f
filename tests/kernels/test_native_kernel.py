"""The native kernel: random trees and operations against a slow oracle, and hostile models."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.tree_oracle import answer, packed

from edgeml.errors import BundleError, ModelError
from edgeml.kernels.native_model import OPERATIONS, NativeBinding, NativeModel
from edgeml.runtime.native_session import WIDE_BLOCK_BYTES, NativeSession

WIDTH = 3
VALUES = st.one_of(st.sampled_from([0.0, 1.0, -1.0, math.nan, 1e300, math.inf, -math.inf]), st.floats(-5, 5))


@st.composite
def tree(draw, depth=4):
    """A tree as nested tuples: (column, threshold, missing_left, equal, left, right), or a leaf's list of numbers."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.lists(st.floats(-3, 3), min_size=2, max_size=2))
    threshold = draw(st.sampled_from([0.0, 0.5, 1.0, -1.0]))
    return (
        draw(st.integers(0, WIDTH - 1)),
        threshold,
        draw(st.booleans()),
        draw(st.booleans()),
        draw(tree(depth=depth - 1)),
        draw(tree(depth=depth - 1)),
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(tree(), min_size=1, max_size=9),
    st.lists(st.lists(VALUES, min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=5),
    st.sampled_from(["float32", "float64"]),
)
def test_random_trees(trees, rows, door):
    index, constants, sizes = packed(trees)
    operation = [OPERATIONS.index("trees"), WIDTH, 0, WIDTH, 0, len(constants), 2, 0]
    model = NativeModel(
        np.array([operation], dtype=np.int32), np.array(index, dtype=np.int32), np.array([*constants, 0.5, -0.5]),
        width=WIDTH, n_registers=WIDTH + 2, ensembles=[sizes],
    )  # fmt: skip
    with np.errstate(over="ignore"):
        matrix = np.array(rows).astype(door)
    out = np.empty((len(rows), 2))
    NativeBinding(model, matrix, [(WIDTH, out)]).run()
    for row, got in zip(matrix.astype(np.float64).tolist(), out.tolist(), strict=True):
        want = [0.5, -0.5]
        for root in trees:
            want = [a + b for a, b in zip(want, answer(root, row), strict=True)]
        assert got == pytest.approx(want, rel=1e-12, abs=1e-12)


ROWS = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])


@pytest.mark.parametrize(
    ("op", "constants", "expected"),
    [
        ("add", [1, 2, 3], ROWS + [1, 2, 3]),
        ("subtract", [1, 2, 3], ROWS - [1, 2, 3]),
        ("multiply", [1, 2, 3], ROWS * [1, 2, 3]),
        ("divide", [1, 2, 4], ROWS / [1, 2, 4]),
        ("power", [2, 2, 2], ROWS**2),
        ("from", [1, 2, 3], [1, 2, 3] - ROWS),
        ("base", [2, 2, 2], 2**ROWS),
        ("at_least", [1, 0, 0], ROWS >= [1, 0, 0]),
        ("above", [1, 0, 0], ROWS > [1, 0, 0]),
        ("sigmoid", [], 1 / (1 + np.exp(-ROWS))),
        ("exp", [], np.exp(ROWS)),
        ("softmax", [], np.exp(ROWS) / np.exp(ROWS).sum(axis=1, keepdims=True)),
        ("round", [], ROWS.astype(np.float32)),
    ],
)
def test_operations(op, constants, expected):
    model = NativeModel(
        np.array([[OPERATIONS.index(op), 3, 0, 3, 0, 0, 0, 0]], dtype=np.int32), np.empty(0, dtype=np.int32),
        np.array(constants, dtype=np.float64), width=3, n_registers=6,
    )  # fmt: skip
    out = np.empty((2, 3))
    NativeBinding(model, ROWS, [(3, out)]).run()
    np.testing.assert_allclose(out, expected, rtol=1e-14)


@pytest.mark.parametrize("results", [1, 2, 3, 5])
@pytest.mark.parametrize("width", [1, 3, 4, 9, 158])
def test_products(width, results):
    rng = np.random.default_rng(0)
    rows, weights, bias = rng.normal(size=(4, width)), rng.normal(size=(results, width)), rng.normal(size=results)
    model = NativeModel(
        np.array([[OPERATIONS.index("product"), width, 0, width, 0, 0, results, 0]], dtype=np.int32),
        np.empty(0, dtype=np.int32), np.concatenate([weights.ravel(), bias]),
        width=width, n_registers=width + results,
    )  # fmt: skip
    out = np.empty((4, results))
    NativeBinding(model, rows, [(width, out)]).run()
    np.testing.assert_allclose(out, rows @ weights.T + bias, rtol=1e-12, atol=1e-13)


def document(**change):
    made = {
        "format": 1,
        "door": "float64",
        "width": 2,
        "registers": 4,
        "index": [0, 3, 0, 1],
        "operations": [{"op": "trees", "to": 2, "count": 2, "extra": 1, "constant": 14}],
        "ensembles": [(0, 1, 0, 3, 2)],
        "outputs": [{"name": "value", "start": 2, "columns": 0, "dtype": "float64"}],
    }
    return made | change


STUMP = [0.5, 0, 1, 0, 0, -1, 0, 0, 0, -1, 1, 0, 10.0, 20.0, 1.0]


def stump(**nodes):
    return [nodes.get(f"n{at}", number) for at, number in enumerate(STUMP)]


def test_a_stump():
    session = NativeSession(document(), np.array(STUMP))
    assert session.run({"dense": np.array([[0.5, 9], [0.6, 9]])})["value"].tolist() == [11.0, 21.0]
    assert session.backend == "native" and session.inputs[0].shape == (-1, 2)
    with pytest.raises(ModelError, match=r"\[n, 2\]"):
        session.run({"dense": np.zeros((1, 3))})
    with pytest.raises(ModelError, match="no output 'scores'"):
        session.binding(1, outputs=["scores"])


@pytest.mark.parametrize(
    ("width", "door", "rows"),
    [
        (2, "float64", 16_384),
        (158, "float32", 414),
        (3_000, "float64", 16),
        (200_000, "float64", 16),
        (300_000, "float64", 13),
        (300_000, "float32", 16),
        (1_000_000, "float64", 4),
        (2**22 + 1, "float64", 1),
        (2**24 - 2, "float32", 1),
    ],
)
def test_blocks_of_rows_are_bounded_by_bytes(width, door, rows):
    change = {"width": width, "registers": width + 2, "door": door}
    tree = [{"op": "trees", "to": width, "count": width, "extra": 1, "constant": 14}]
    output = [{"name": "value", "start": width, "columns": 0, "dtype": "float64"}]
    session = NativeSession(document(operations=tree, outputs=output, **change), np.array(STUMP))
    blocks = []

    def fill(block, start):
        blocks.append(len(block))
        block[:, 0] = np.arange(start, start + len(block)) % 2

    given = session.stream(rows + 2, outputs=["value"], fill=fill)["value"]
    assert blocks == ([1, 1, 1] if rows == 1 else [rows, 2])
    assert rows == 1 or rows * width * np.dtype(door).itemsize <= WIDE_BLOCK_BYTES
    assert given.tolist() == [11.0 if row % 2 == 0 else 21.0 for row in range(rows + 2)]


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        (stump(n1=5), "no column 5"),
        (stump(n1=0.5), "no column 0.5"),
        (stump(n2=0), "children are not behind"),
        (stump(n2=2), "children are not behind"),
        (stump(n2=-1), "children are not behind"),
        (stump(n2=1e300), "children are not behind"),
        (stump(n6=2), "not among the values"),
        (stump(n6=-1), "not among the values"),
        (STUMP[:12], "beyond the end of the constants"),
    ],
)
def test_a_hostile_tree_is_refused(constants, message):
    with pytest.raises(BundleError, match=f"kernel.json.*{message}"):
        NativeSession(document(), np.array(constants, dtype=np.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"door": "int8"}, "door"),
        ({"width": 0}, "out of range"),
        ({"registers": 1}, "beyond the registers|out of range"),
        ({"operations": [{"op": "explode"}]}, "no operation 'explode'"),
        ({"operations": [{"op": "trees", "to": 2, "count": 1, "extra": 1, "constant": 14}]}, "whole row"),
        ({"operations": [{"op": "trees", "to": 2, "count": 2, "extra": 1, "index": 1}]}, "no ensemble 1"),
        ({"operations": [{"op": "trees", "to": 2, "count": 2, "extra": 9, "constant": 14}]}, "register beyond"),
        ({"operations": [{"op": "exp", "to": 1, "count": 1}]}, "writes over the row"),
        ({"operations": [{"op": "exp", "to": 3, "from": 2, "count": 1}]}, "read before it is written"),
        ({"operations": [{"op": "exp", "to": 2, "count": 0}]}, "works on nothing"),
        ({"registers": 9, "operations": [{"op": "exp", "to": 4, "from": 1, "count": 2}]}, "beyond the end of the row"),
        ({"operations": [{"op": "pick", "to": 2, "count": 1, "index": 9}]}, "end of the index"),
        ({"index": [0, 9, 0, 1]}, "do not follow"),
        ({"index": [0, 3, 4, 1]}, "target beyond"),
        ({"index": [0, 3, -1, 1]}, "targets out of range"),
        ({"index": [0, 3, 0]}, "end of the index"),
        ({"ensembles": [(0, 1, 0, 2, 2)]}, "do not follow"),
        ({"ensembles": [(0, 1, 0, 3, 99)]}, "end of the constants"),
        ({"ensembles": [(0, -1, 0, 3, 2)]}, "out of range"),
        ({"outputs": [{"name": "value", "start": 4, "columns": 0, "dtype": "float64"}]}, "beyond the registers"),
        ({"outputs": [{"name": "value", "start": 2, "columns": 0, "dtype": "int8"}]}, "malformed"),
        ({"more": 1}, "more"),
    ],
)
def test_a_hostile_document_is_refused(change, message):
    with pytest.raises(BundleError, match=f"kernel.json.*({message})"):
        NativeSession(document(**change), np.array(STUMP))


@pytest.mark.parametrize(
    "sizes",
    [
        [0, 1, 2**63 - 4 - 2**24, 1, 2**24],
        [0, 1, 2**63 - 4 - 8, 1, 8],
        [2**63 - 4, 2, 0, 1, 2],
        [0, 1, 2**62, 1, 2],
    ],
)
def test_an_ensemble_that_begins_where_sums_run_over_is_refused(sizes):
    with pytest.raises(BundleError, match="kernel.json.*begins beyond the end"):
        NativeSession(document(ensembles=[sizes]), np.array(STUMP))


def test_arrays_of_another_shape_or_type_are_refused():
    model = NativeModel(
        np.array([[OPERATIONS.index("exp"), 2, 0, 2, 0, 0, 0, 0]], dtype=np.int32), np.empty(0, dtype=np.int32),
        np.empty(0), width=2, n_registers=4,
    )  # fmt: skip
    good, out = np.zeros((3, 2)), np.zeros((3, 2))
    NativeBinding(model, good, [(2, out)]).run()
    for rows, outputs in (
        (np.zeros((3, 3)), [(2, out)]),
        (np.zeros((3, 2), dtype=np.int64), [(2, out)]),
        (good, [(3, out)]),
        (good, [(0, out)]),
        (good, [(2, np.zeros((2, 2)))]),
        (good, [(2, np.zeros((3, 2), dtype=np.float32))]),
        (good, [(2, out)] * 5),
    ):
        with pytest.raises(ValueError, match="input|output"):
            NativeBinding(model, rows, outputs)


@pytest.mark.parametrize("width", [1, 8, 19])
def test_columns_of_opposite_weights_give_what_two_columns_give(width):
    """A binary classifier's second column is worked out from its first; changing one weight's last bit undoes that."""
    random = np.random.default_rng(width)
    weights, biases, rows = random.normal(size=width), np.array([0.25, -0.5]), random.normal(size=(50, width))
    operation = np.array([[OPERATIONS.index("product"), width, 0, width, 0, 0, 2, 0]], dtype=np.int32)
    outs = []
    for second in (-weights, np.append(-weights[:-1], np.nextafter(-weights[-1], 0))):
        constants = np.concatenate([weights, second, biases])
        model = NativeModel(operation, np.array([], dtype=np.int32), constants, width=width, n_registers=width + 2)
        outs.append(np.empty((50, 2)))
        NativeBinding(model, rows, [(width, outs[-1])]).run()
    short, full = outs
    assert short[:, 0].tolist() == full[:, 0].tolist()
    assert (short[:, 1] - biases[1]) == pytest.approx(-(short[:, 0] - biases[0]), abs=1e-12)
    assert full[:, 1] == pytest.approx(short[:, 1], abs=1e-14)


@pytest.mark.parametrize(
    ("place", "count"),
    [(-1.0, 2.0), (0.5, 2.0), (9.0, 2.0), (math.nan, 2.0), (2.0, 3.0), (2.0, -1.0), (2.0, 0.5), (2.0, math.nan),
     (2.0, 1e300)],
)  # fmt: skip
def test_ranges_beyond_the_values_are_refused(place, count):
    with pytest.raises(ValueError, match="its ranges"):
        _ranges(place, count)


def _ranges(place: float, count: float) -> NativeModel:
    """One node asking column 0 for ranges, two leaves; values: 10, 20, number of bounds, bounds 1 and 2."""
    constants = [place, 0, 1, 4 + 1, 0, -1, 0, 0, 0, -1, 1, 0, 10, 20, count, 1, 2, 0]
    operation = [OPERATIONS.index("trees"), WIDTH, 0, WIDTH, 0, len(constants) - 1, 1, 0]
    return NativeModel(
        np.array([operation], dtype=np.int32), np.array([0, 3, 0, 1], dtype=np.int32),
        np.array(constants, dtype=np.float64), width=WIDTH, n_registers=WIDTH + 1, ensembles=[(0, 1, 0, 3, 5)],
    )  # fmt: skip


@pytest.mark.parametrize(("x", "wanted"), [(1.0, 20), (1.5, 10), (2.0, 10), (2.1, 20), (math.nan, 10), (math.inf, 20)])
def test_ranges(x, wanted):
    out = np.empty(1)
    NativeBinding(_ranges(2.0, 2.0), np.array([[x, 0, 0]]), [(WIDTH, out)]).run()
    assert out[0] == wanted
