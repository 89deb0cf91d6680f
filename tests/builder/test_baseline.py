"""Baselines: the simplest answers, measured on rows they have not seen."""

import numpy as np
import pytest

from edgeml.builder.baseline import baseline
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema

SCHEMA = Schema.from_dict(
    {
        "features": [
            {"name": "noise", "kind": "number", "missing": "allow"},
            {"name": "size", "kind": "number", "missing": "allow"},
            {"name": "colour", "kind": "category", "levels": ["blue", "red"], "missing": "allow"},
        ],
        "unknown_fields": "reject",
        "layout": "record",
    }
)


def frame_of(columns):
    reader = RecordReader(SCHEMA)
    frame = reader.new_frame(1)
    reader.read_columns(frame, columns)
    return frame


def columns(rows: int, seed: int):
    rng = np.random.default_rng(seed)
    size = rng.uniform(0, 10, rows)
    size[::17] = np.nan
    return {
        "noise": rng.normal(size=rows),
        "size": size,
        "colour": np.where(rng.random(rows) < 0.5, "red", "blue").astype(object),
    }


def test_the_best_single_split_is_found():
    train, test = columns(300, 1), columns(200, 2)
    y, y_test = (np.where(np.nan_to_num(part["size"]) > 6, "big", "small") for part in (train, test))
    found = baseline(SCHEMA, frame_of(train), y, frame_of(test), y_test, classify=True)
    assert found.measure == "accuracy"
    assert found.majority == pytest.approx(np.mean(y_test == "small"))
    assert found.one_rule > 0.97 and found.rule.startswith("size <= 6") or found.rule.startswith("size <= 5.9")


def test_the_best_category_is_found_for_a_regression():
    train, test = columns(300, 3), columns(200, 4)
    y, y_test = (np.where(part["colour"] == "red", 10.0, -10.0) for part in (train, test))
    found = baseline(SCHEMA, frame_of(train), y, frame_of(test), y_test, classify=False)
    assert found.one_rule == 0 and "colour" in found.rule and "red -> 10" in found.rule
    assert found.majority > 5


def test_without_a_rule_the_majority_stands():
    train, test = columns(30, 5), columns(30, 6)
    y = np.full(30, "same")
    found = baseline(SCHEMA, frame_of(train), y, frame_of(test), y, classify=True)
    assert found.majority == found.one_rule == 1.0 and found.rule == ""
