"""The drift reference: exact counts that add up."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeml.builder.drift_reference import category_reference, number_reference, text_reference


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=300))
def test_every_number_is_counted_once(values):
    document = number_reference(np.array(values))
    known = [value for value in values if value == value]
    assert document["missing"] == len(values) - len(known)
    assert sum(document["counts"]) == len(known)
    edges = document["edges"]
    assert all(low < high for low, high in zip(edges, edges[1:], strict=False))
    assert len(document["counts"]) == (len(edges) + 1 if edges else 0)
    for index, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        last = index == len(edges) - 2
        expected = sum(low <= value < high or (last and value == high) for value in known)
        assert document["counts"][index + 1] == expected


def test_moments_are_those_of_the_values():
    values = np.array([1.0, 2.0, 4.0, np.nan])
    document = number_reference(values)
    assert document["mean"] == pytest.approx(7 / 3)
    assert document["m2"] == pytest.approx(np.var([1, 2, 4]) * 3)
    assert (document["min"], document["max"]) == (1.0, 4.0)


def test_levels_beyond_the_most_frequent_are_other():
    codes = np.repeat(np.arange(70), np.arange(70, 0, -1)).astype(np.int32)
    codes = np.concatenate([codes, [-1, -1, -2]]).astype(np.int32)
    document = category_reference(codes, [f"level {code}" for code in range(70)])
    assert len(document["levels"]) == 64 and document["levels"][0] == "level 0"
    assert document["counts"][0] == 70 and document["other"] == sum(range(1, 7))
    assert (document["missing"], document["unseen"]) == (2, 1)
    assert sum(document["counts"]) + document["other"] + 3 == document["n"]


def test_texts_are_counted_by_length():
    document = text_reference([b"", b"a", b"ab", b"abcd", None])
    assert (document["n"], document["missing"], document["empty"]) == (5, 1, 1)
    assert sum(document["counts"]) == 4


def test_the_bundle_carries_it(penguins_bundle):
    document = json.loads(penguins_bundle.members["reference.json"])
    assert set(document["features"]) == {
        "bill_length_mm",
        "bill_depth_mm",
        "flipper_length_mm",
        "body_mass_g",
        "island",
        "sex",
    }
    assert sum(document["answers"]["labels"].values()) <= document["rows"]
    assert document["features"]["sex"]["missing"] > 0
    assert sum(document["answers"]["confidence"]["counts"]) <= document["rows"]
