"""Golden rows: some of every kind that parity has asked about, and none that another processor may answer otherwise."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

import edgeml
from edgeml.builder.parity_rows import UNSEEN

IRIS = load_iris()
NAMES = ["x0", "x1", "x2", "x3"]


def golden_of(bundle):
    return [json.loads(line) for line in bundle.members["golden.jsonl"].splitlines()]


def is_held_out(record, table):
    """Whether a record is one of the table's rows."""
    return any(
        all((value is None and pd.isna(row[name])) or value == row[name] for name, value in record.items())
        for row in table.to_dict("records")
    )


def test_missing_values_unseen_levels_and_boundaries_are_among_them(penguins, penguins_bundle):
    rows = golden_of(penguins_bundle)
    table, _ = penguins["held_out"]
    made = [row for row in rows if not is_held_out(row["record"], table)]
    assert len(rows) == 48 and len(made) == 20
    assert {row["expected"]["tier"] for row in made} == {"model"}
    assert any(UNSEEN in row["record"].values() for row in made)
    assert any(None in row["record"].values() for row in made)
    assert any(both_sides(one, other) for one in made for other in made)


def both_sides(one, other):
    """Whether two rows stand on both sides of a decision: numbers nearly equal, labels not."""
    pairs = zip(one["record"].values(), other["record"].values(), strict=True)
    near = all(a == b if not isinstance(a, float) else b == pytest.approx(a, rel=1e-6) for a, b in pairs)
    return near and one["expected"]["label"] != other["expected"]["label"]


@pytest.mark.parametrize("model", [LogisticRegression(max_iter=500), KMeans(3, random_state=0, n_init=2)])
def test_no_row_is_on_the_border_where_a_last_bit_decides(model):
    bundle = edgeml.build(model.fit(IRIS.data, IRIS.target), IRIS.data, name="iris", version="1")
    for row in golden_of(bundle):
        scores = sorted(row["expected"].get("scores", [0.0, 1.0]))
        assert scores[-1] - scores[-2] > 2e-5
    predictor = edgeml.Predictor.from_bundle(bundle)
    near = np.array([[row["record"][name] for name in NAMES] for row in golden_of(bundle)])
    for factor in (1 - 1e-9, 1 + 1e-9):
        answers = predictor.predict_many(near * factor)
        assert answers.label_list() == [row["expected"]["label"] for row in golden_of(bundle)]


def test_a_regression_has_edge_cases_too():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    bundle = edgeml.build(
        GradientBoostingRegressor(n_estimators=10, random_state=0).fit(X, y), X, y, name="sugar", version="1"
    )
    made = [row for row in golden_of(bundle) if not is_held_out(row["record"], X)]
    assert len(made) == 20 and all("value" in row["expected"] for row in made)
    assert any(abs(value) == 1e6 for row in made for value in row["record"].values())


def test_the_packed_rows_pass_when_they_are_asked_again(penguins_bundle):
    report = edgeml.Predictor.from_bundle(penguins_bundle).golden_check()
    assert report.passed and report.rows == 48
