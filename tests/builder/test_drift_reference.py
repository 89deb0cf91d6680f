"""The drift reference: exact counts that add up."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

import edgeml
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
    tiers = document["answers"]["tiers"]
    assert sum(tiers.values()) == document["rows"] and tiers["rule"] > 0 and document["answers"]["abstain"] == 0
    assert sum(document["answers"]["labels"].values()) == tiers["model"]
    assert document["features"]["sex"]["missing"] > 0
    assert sum(document["answers"]["confidence"]["counts"]) == tiers["model"]


ROWS = np.array([[-2.0, 0.5], [-1.0, 0.1], [0.5, 0.2], [1.5, 0.9], [2.5, 0.3]] * 20)
LEFT = {"id": "left", "when": "x0 < -1.5", "then": {"label": 0}}
ASK = {"id": "ask-the-model", "when": "x0 > 2", "then": "abstain"}


def reference_of(model, y, **more):
    bundle = edgeml.build(model.fit(ROWS, y), ROWS, y, name="drifting", version="1", **more)
    return json.loads(bundle.members["reference.json"])


@pytest.mark.parametrize("model", [LinearSVC(), LogisticRegression()], ids=["decision", "probability"])
def test_scores_are_counted_over_the_rows_of_the_model(model):
    document = reference_of(model, (ROWS[:, 0] > 0).astype(int), rules=[LEFT, ASK])
    answers = document["answers"]
    assert answers["tiers"] == {"rule": 20, "model": 80, "fallback": 0} and answers["abstain"] == 20
    assert sum(answers["confidence"]["counts"]) == 80
    edges = answers["confidence"]["edges"]
    assert len(edges) == 21 and edges[0] == 0.0 and edges[-1] >= 1.0 and edges == sorted(edges)
    assert sum(answers["labels"].values()) == 80


def test_values_are_counted_over_the_rows_of_the_model():
    rule = {"id": "left", "when": "x0 < -1.5", "then": {"value": 7.0}}
    document = reference_of(LinearRegression(), ROWS[:, 0] * 3, rules=[rule])
    (values,) = document["answers"]["values"]
    assert (values["n"], values["missing"], sum(values["counts"])) == (80, 0, 80)
    assert document["answers"]["tiers"]["rule"] == 20 and document["answers"]["abstain"] == 0


def test_rules_that_answer_everything_leave_nothing_to_count():
    document = reference_of(LinearSVC(), (ROWS[:, 0] > 0).astype(int), rules=[LEFT | {"when": "true"}])
    answers = document["answers"]
    assert answers["tiers"] == {"rule": 100, "model": 0, "fallback": 0}
    assert sum(answers["confidence"]["counts"]) == 0 and len(answers["confidence"]["edges"]) == 21
