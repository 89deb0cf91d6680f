"""The calibration map: isotonic regression as steps, kept where it helps, and what is measured beside it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from edgeml.builder.calibration import (
    MOST_STEPS,
    apply_steps,
    calibrate,
    expected_calibration_error,
    fit_steps,
)


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=60))
def test_the_steps_are_the_isotonic_regression_at_every_score(rows):
    scores = np.array([score / 12 for score, _ in rows])
    hits = np.array([float(hit) for _, hit in rows])
    edges, values = fit_steps(scores, hits)
    assert len(values) == len(edges) + 1 <= MOST_STEPS
    assert (np.diff(edges) > 0).all() and (np.diff(values) > 0).all()
    expected = IsotonicRegression().fit(scores, hits).predict(scores)
    np.testing.assert_allclose(apply_steps((edges, values), scores), expected, atol=1e-12)


def test_more_steps_than_fit_are_merged_and_the_mean_stays():
    scores = np.linspace(0, 1, 400)
    # Shares that rise with every pair of rows, so that isotonic regression has very many steps.
    hits = np.sort(np.random.default_rng(0).random(400))
    edges, values = fit_steps(scores, hits)
    assert len(values) == MOST_STEPS
    made = apply_steps((edges, values), scores)
    assert made.mean() == pytest.approx(hits.mean(), abs=1e-12)
    assert np.abs(made - hits).max() < 0.05
    assert (np.diff(values) > 0).all()


def test_scores_that_are_almost_equal_are_no_trouble():
    """Naive Bayes gives many of them; isotonic regression takes them together."""
    scores = np.array([1e-300, 1e-200, 1e-17, 0.5, 1 - 1e-16, 1.0])
    edges, values = fit_steps(scores, np.array([0.0, 0, 1, 0, 1, 1]))
    assert np.isfinite(edges).all() and np.isfinite(values).all()


def test_the_calibration_error_by_hand():
    probabilities = np.repeat([0.1, 0.9], 50)
    hits = np.concatenate([np.repeat([1.0, 0.0], [10, 40]), np.repeat([1.0, 0.0], [40, 10])])
    # Bins of ten: in the first half 10 of 50 hits, all in the first bin; in the second 40 of 50.
    expected = (abs(0.1 - 1) + 4 * 0.1 + 4 * abs(0.9 - 1) + 0.9) / 10
    assert expected_calibration_error(probabilities, hits) == pytest.approx(expected)
    assert expected_calibration_error(np.array([0.3]), np.array([1.0])) == pytest.approx(0.7)


def rows_of(n, bend, seed=0):
    """Scores of two labels whose true chance is ``bend`` of the score."""
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    return np.column_stack([1 - score, score]), (rng.random(n) < bend(score)).astype(np.int64)


def test_bent_scores_are_straightened_and_straight_ones_kept():
    bent, true = rows_of(2_000, lambda score: score**3)
    found = calibrate(bent, true, probabilities=True)
    assert found["maps"] is not None and found["calibrated_error"] < 0.04 < 0.2 < found["error"]
    fresh, _ = rows_of(2_000, lambda score: score**3, seed=1)
    made = apply_steps(tuple(map(np.array, found["maps"][1].values())), fresh[:, 1])
    assert np.abs(made - fresh[:, 1] ** 3).mean() < 0.04
    straight, true = rows_of(2_000, lambda score: score)
    kept = calibrate(straight, true, probabilities=True)
    assert (
        kept["scored"] and kept["error"] < 0.04 and (kept["maps"] is None or kept["calibrated_error"] < kept["error"])
    )


def test_two_probabilities_have_one_map_from_both_sides():
    scores, true = rows_of(500, lambda score: score**3)
    first, second = (
        tuple(map(np.array, each.values())) for each in calibrate(scores, true, probabilities=True)["maps"]
    )
    np.testing.assert_allclose(apply_steps(first, scores[:, 0]) + apply_steps(second, scores[:, 1]), 1.0)


def test_decisions_need_a_map_and_few_rows_say_nothing():
    scores, true = rows_of(200, lambda score: score)
    decisions = 20 * (scores - 0.5)
    found = calibrate(decisions, true, probabilities=False)
    assert found["scored"] and found["error"] is None and all(each["values"] for each in found["maps"])
    few = calibrate(decisions[:49], true[:49], probabilities=False)
    assert not few["scored"] and few["maps"] is None
    assert calibrate(scores[:49], true[:49], probabilities=True)["scored"]


def test_a_label_that_never_came_is_never_expected():
    scores = np.random.default_rng(0).dirichlet([1, 1, 1], 300)
    true = np.random.default_rng(1).integers(0, 2, 300)
    found = calibrate(scores, true, probabilities=True)
    assert found["maps"][2] == {"edges": [], "values": [0.0]}


def test_the_reference_of_penguins(penguins_bundle):
    quality = json.loads(penguins_bundle.members["reference.json"])["quality"]
    config = penguins_bundle.config["quality"]
    assert quality["held_out"] is config["held_out"] is True and quality["rows"] == config["rows"]
    assert sum(quality["confusion"].values()) == quality["rows"]
    overall = quality["measures"]["overall"]
    assert overall["accuracy"] == pytest.approx(config["overall"]["accuracy"])
    for label, measures in config["by_label"].items():
        for measure in ("precision", "recall", "f1"):
            assert overall["by_label"][label][measure] == pytest.approx(measures[measure])
    rules = json.loads(penguins_bundle.members["rules.json"])["rules"]
    for rule, measured in zip(rules, quality["rules"], strict=True):
        assert rule["id"] == measured["id"]
        assert sum(measured["true"]) == round(rule["coverage"] * quality["rows"])
        if sum(measured["true"]):
            assert measured["true"][measured["label"]] / sum(measured["true"]) == pytest.approx(rule["precision"])
    assert quality["measures"]["rule"]["rows"] == sum(sum(rule["true"]) for rule in quality["rules"])


def test_without_known_answers_there_is_no_quality():
    from sklearn.linear_model import LogisticRegression

    import edgeml

    X = np.random.default_rng(0).random((60, 2))
    bundle = edgeml.build(LogisticRegression().fit(X, X[:, 0] > 0.5), X, name="m", version="1")
    assert "quality" not in json.loads(bundle.members["reference.json"])
