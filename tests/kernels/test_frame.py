"""The frame kernel against the slow oracle: Python values."""

import json
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.frame_oracle import MISSING, read_records, rows_of
from oracles.frame_samples import columns, fresh, scalars, schemas, violations_of

from edgeml.runtime.reader import _CODES
from edgeml.runtime.schema import Feature, Schema


@settings(max_examples=50, deadline=None)
@given(st.data(), schemas())
def test_records_as_mappings_agree_with_the_oracle(data, schema):
    keys = st.sampled_from([*schema.names, *schema.names, "stray", "other"])
    records = data.draw(
        st.lists(st.dictionaries(keys, scalars, max_size=6) | st.sampled_from([None, 3, "x"]), max_size=6)
    )
    kernel, frame = fresh(schema)
    for _ in range(2):  # a frame is filled again and again
        count = kernel.read_many(frame, records)
        rows, found = read_records(schema, records)
        assert rows_of(schema, frame) == rows
        assert violations_of(schema, frame) == found
        assert count == len(found) and frame.n_records == len(records)


def test_order_of_keys_does_not_matter():
    schema = Schema(tuple(Feature(name=f"f{i}", kind="number") for i in range(6)))
    kernel, frame = fresh(schema)
    keys = list(schema.names)
    for seed in range(50):
        random.Random(seed).shuffle(keys)
        record = {key: float(key[1:]) for key in keys}
        assert kernel.read(frame, record) == 0
        assert rows_of(schema, frame) == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
        assert kernel.read_json_record(frame, json.dumps(record).encode()) == 0
        assert rows_of(schema, frame) == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]


class _Text(str):
    __slots__ = ()

    def __eq__(self, other):
        return False

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("number", np.float32(1.5), 1.5),
        ("number", np.float64(1.5), 1.5),
        ("number", np.int64(-3), -3.0),
        ("number", np.uint8(3), 3.0),
        ("number", np.float16(0.5), 0.5),
        ("number", np.float32("nan"), MISSING),
        ("number", np.float32("inf"), "not_finite"),
        ("number", np.bool_(True), "wrong_type"),
        ("number", True, "wrong_type"),
        ("number", "1", "wrong_type"),
        ("number", b"1", "wrong_type"),
        ("number", 1 + 2j, "wrong_type"),
        ("number", np.datetime64("2020-01-01"), "wrong_type"),
        ("number", np.array([1.0]), "wrong_type"),
        ("number", [1.0], "wrong_type"),
        ("number", object(), "wrong_type"),
        ("number", 10**400, "not_finite"),
        ("integer", 2**53 - 1, 2.0**53 - 1),
        ("integer", 2**53, "above_max"),
        ("integer", -(2**53), "below_min"),
        ("integer", 2**53 + 1, "above_max"),
        ("integer", np.int32(7), 7.0),
        ("integer", 1.0, 1.0),
        ("integer", 1.5, "not_integer"),
        ("integer", False, "wrong_type"),
        ("boolean", np.bool_(True), 1.0),
        ("boolean", 1, 1.0),
        ("boolean", 0.0, 0.0),
        ("boolean", np.int8(1), 1.0),
        ("boolean", 2, "wrong_type"),
        ("boolean", 0.5, "wrong_type"),
        ("boolean", math.inf, "wrong_type"),
        ("boolean", "true", "wrong_type"),
        ("category", np.str_("x"), 0),
        ("category", _Text("y"), 1),
        ("category", b"y", 1),
        ("category", b"\xff", "wrong_type"),
        ("category", "z", "unseen_level"),
        ("category", math.nan, MISSING),
        ("category", 1, "wrong_type"),
        ("category", "\ud800", "wrong_type"),
        ("text", "naïve", "naïve".encode()),
        ("text", b"na\xc3\xafve", "naïve".encode()),
        ("text", "x" * 21, "too_long"),
        ("text", "\ud800", "wrong_type"),
        ("text", 5, "wrong_type"),
    ],
)
def test_single_values(kind, value, kept):
    more = {"category": {"levels": ("x", "y")}, "text": {"max_bytes": 20}}.get(kind, {})
    schema = Schema((Feature(name="f", kind=kind, missing="allow", **more),))
    kernel, frame = fresh(schema)
    bad = isinstance(kept, str) and kept in _CODES and kept != MISSING
    for read in (lambda: kernel.read(frame, {"f": value}), lambda: columns(kernel, frame, [value])):
        assert read() == (1 if bad else 0)
        if bad:
            assert violations_of(schema, frame) == {(0, "f", kept)}
            assert frame.n_rows == 0
        else:
            assert rows_of(schema, frame) == [[kept]]


def test_pandas_markers_are_missing():
    pandas = pytest.importorskip("pandas")
    for kind, more in (("number", {}), ("category", {"levels": ("x",)}), ("text", {}), ("boolean", {})):
        schema = Schema((Feature(name="f", kind=kind, missing="allow", **more),))
        kernel, frame = fresh(schema)
        for marker in (pandas.NA, pandas.NaT):
            assert kernel.read(frame, {"f": marker}) == 0
            assert rows_of(schema, frame) == [[MISSING]]


def test_what_came_is_told_shortly():
    schema = Schema((Feature(name="f", kind="number"),), unknown_fields="reject")
    kernel, frame = fresh(schema)
    for value in ("x" * 10_000, [1] * 10_000, 1 << 100_000, object(), {"a": 1}):
        kernel.read(frame, {"f": value, "k" * 10_000: 1})
        assert all(len(text) <= 80 for violation in frame.violations for text in (str(violation[1]), violation[3]))
    kernel.read_json_record(frame, json.dumps({"f": "é" * 10_000, "k" * 10_000: 1}).encode())
    assert all(len(text) <= 80 for violation in frame.violations for text in (str(violation[1]), violation[3]))
