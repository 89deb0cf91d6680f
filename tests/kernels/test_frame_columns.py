"""The frame kernel against the slow oracle: columns and matrices."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.frame_oracle import check_value, rows_of
from oracles.frame_samples import fresh, violations_of

from edgeml.runtime.schema import Feature, Schema


@settings(max_examples=60, deadline=None)
@given(
    st.data(),
    st.sampled_from(
        ["float64", "float32", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"]
    ),
    st.sampled_from(["number", "integer", "boolean"]),
    st.sampled_from(["error", "allow"]),
)
def test_numeric_columns_agree_with_the_oracle(data, dtype, kind, missing):
    low, high = data.draw(st.sampled_from([(None, None), (-3.0, 3.0)]))
    if kind == "boolean":
        low = high = None
    feature = Feature(name="a", kind=kind, missing=missing, min=low, max=high)
    schema = Schema((feature, Feature(name="b", kind="number")))
    numbers = data.draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 100]), min_size=1, max_size=300))
    array = np.array(numbers).astype(dtype)
    if array.dtype.kind == "f":
        odd = data.draw(st.lists(st.sampled_from([math.nan, math.inf, -1.5, -9.0]), max_size=3))
        array[: len(odd)] = odd[: len(array)]
    if array.dtype.kind == "i":
        array[:: data.draw(st.integers(1, 9))] *= -1
    kernel, frame = fresh(schema)
    strided = np.repeat(array, 3)[::3]
    other = np.arange(len(array), dtype=np.float64)
    kernel.begin_columns(frame, len(array))
    assert kernel.fill_buffer(frame, 0, strided)
    assert kernel.fill_buffer(frame, 1, other)
    kernel.end_columns(frame)
    checked = [check_value(feature, value) for value in array.tolist()]
    good = [i for i, (_, code) in enumerate(checked) if code is None]
    assert rows_of(schema, frame) == [[checked[i][0], float(i)] for i in good]
    assert violations_of(schema, frame) == {(i, "a", code) for i, (_, code) in enumerate(checked) if code}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", [1, 127, 128, 129, 500])
def test_a_matrix_fills_all_fields(order, n):
    schema = Schema(tuple(Feature(name=f"x{j}", kind="number") for j in range(5)), layout="tensor")
    kernel, frame = fresh(schema)
    matrix = np.asarray(np.random.default_rng(n).normal(size=(n, 5)), order=order)
    kernel.begin_columns(frame, n)
    assert kernel.fill_matrix(frame, matrix)
    assert kernel.end_columns(frame) == 0
    assert np.array_equal(np.stack([np.asarray(frame.number_column(j)) for j in range(5)], axis=1), matrix)


def test_buffers_that_do_not_fit_are_refused():
    kernel, frame = fresh(Schema((Feature(name="a", kind="number"), Feature(name="b", kind="category", levels=("x",)))))
    kernel.begin_columns(frame, 3)
    with pytest.raises(ValueError, match="one value for each row"):
        kernel.fill_buffer(frame, 0, np.zeros(2))
    with pytest.raises(ValueError, match="one value for each row"):
        kernel.fill_list(frame, 0, [1.0])
    with pytest.raises(ValueError, match="too few columns"):
        kernel.fill_buffer(frame, 0, np.zeros((3, 2)), 2)
    with pytest.raises(IndexError):
        kernel.fill_list(frame, 2, [1, 2, 3])
    assert not kernel.fill_buffer(frame, 1, np.zeros(3))
    assert not kernel.fill_buffer(frame, 0, np.zeros(3, dtype="complex128"))
    assert not kernel.fill_buffer(frame, 0, np.zeros(3, dtype=">f8"))
    assert not kernel.fill_matrix(frame, np.zeros((3, 2)))
