"""The rows that parity asks: every kind is there, pairs straddle decisions, and the same seed gives the same rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from edgeml.builder.parity_rows import BOUNDARY_PAIRS, UNSEEN, held_out_records, parity_rows
from edgeml.builder.schema_inference import infer_schema

IRIS = load_iris()
RANDOM = np.random.default_rng(3)
MIXED = pd.DataFrame(
    {
        "width": RANDOM.normal(3.0, 1.0, 60),
        "count": RANDOM.integers(0, 9, 60),
        "town": RANDOM.choice(["here", "there"], 60),
        "new": RANDOM.random(60) > 0.5,
        "never": RANDOM.normal(size=60),
    }
)
OPEN = {"width": {"missing": "allow"}, "town": {"missing": "allow", "unseen": "allow"}}


def labels_of(model, form):
    """A signal: the index of the label."""
    return lambda records: np.searchsorted(model.classes_, model.predict(form.table(records))).astype(np.float64)


def made(form, table, signal=None, *, labelled=True):
    """All rows for a table."""
    signal = signal or (lambda records: np.zeros(len(records)))
    return parity_rows(form, held_out_records(form, table), signal, labelled=labelled)


def of_kind(rows, kind):
    """The records of one kind."""
    return [record for record, name in zip(rows.records, rows.kinds, strict=True) if name == kind]


def test_every_kind_is_there():
    form = infer_schema(MIXED, overrides=OPEN)
    rows = made(form, MIXED, lambda records: np.array([float((row["width"] or 0) > 3) for row in records]))
    assert set(rows.kinds) == {"held_out", "boundary", "split", "jitter", "missing", "unseen", "edge"}
    assert len(rows.records) == len(rows.kinds) and of_kind(rows, "held_out") == form.records(MIXED)
    missing, unseen = of_kind(rows, "missing"), of_kind(rows, "unseen")
    assert all(row["width"] is None or row["town"] is None for row in missing)
    assert {row["town"] for row in unseen} == {UNSEEN}
    for row in rows.records:
        assert row["never"] is not None and row["count"] is not None and isinstance(row["new"], bool)
        assert isinstance(row["count"], int)
    edges = of_kind(rows, "edge")
    assert {True, False} <= {row["new"] for row in edges} and {"here", "there"} <= {row["town"] for row in edges}
    assert {0.0, -1e6, 1e6, MIXED["width"].min(), MIXED["width"].max()} <= {row["width"] for row in edges}


def test_missing_and_unseen_only_where_the_schema_allows_them():
    rows = made(infer_schema(MIXED), MIXED)
    assert not {"missing", "unseen"} & set(rows.kinds)
    assert all(value is not None for row in rows.records for value in row.values())


def test_bounds_of_the_schema_are_kept():
    form = infer_schema(MIXED, overrides={"width": {"min": -1.0, "max": 8.0}, "count": {"min": 0, "max": 20}})
    for row in made(form, MIXED).records:
        assert -1.0 <= row["width"] <= 8.0 and 0 <= row["count"] <= 20


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_boundary_pairs_straddle_a_decision(dtype):
    X = IRIS.data.astype(dtype)
    model = DecisionTreeClassifier(random_state=0).fit(X, IRIS.target)
    form = infer_schema(X)
    signal = labels_of(model, form)
    rows = of_kind(made(form, X, signal), "boundary")
    half = len(rows) // 2
    assert half == BOUNDARY_PAIRS
    low, high = form.table(rows[::2]), form.table(rows[1::2])
    labels = signal(rows)
    apart = labels[::2] != labels[1::2]
    gap = np.abs(low.astype(np.float64) - high).max(axis=1)
    if dtype == np.float64:
        assert apart.all() and gap.max() < 1e-8
    else:
        # Both ends may round to the same float32 number; the others still stand on two sides.
        assert low.dtype == np.float32 and apart.sum() > half / 2 and gap.max() < 1e-6
    thresholds = model.tree_.threshold[model.tree_.feature >= 0]
    moved = np.argmax(np.abs(low.astype(np.float64) - high), axis=1)
    at = low[np.arange(half), moved]
    found = {int(np.argmin(np.abs(thresholds - value))) for value in at}
    assert len(found) > len(thresholds) / 3


def test_a_regression_halves_towards_the_larger_jump():
    X, y = IRIS.data[:, :3], IRIS.data[:, 3]
    model = DecisionTreeRegressor(max_depth=2, random_state=0).fit(X, y)
    form = infer_schema(X)
    rows = of_kind(made(form, X, lambda records: model.predict(form.table(records)), labelled=False), "boundary")
    values = model.predict(form.table(rows))
    assert len(values) and (values[::2] != values[1::2]).all()


def test_a_model_without_any_border_has_no_pairs():
    X = IRIS.data
    form = infer_schema(X)
    assert not of_kind(made(form, X), "boundary")
    line = LinearRegression().fit(X, IRIS.target)
    rows = made(form, X, lambda records: line.predict(form.table(records)), labelled=False)
    assert len(of_kind(rows, "boundary")) == 2 * BOUNDARY_PAIRS


def test_rows_that_the_pipeline_refuses_are_no_ends_of_a_pair():
    form = infer_schema(IRIS.data)

    def signal(records):
        values = np.array([row["x0"] for row in records])
        return np.where(values > 6.5, np.nan, (values > 5.5).astype(np.float64))

    rows = of_kind(made(form, IRIS.data, signal), "boundary")
    assert rows and np.isfinite(signal(rows)).all()


def test_the_same_rows_every_time():
    form = infer_schema(MIXED, overrides=OPEN)

    def signal(records):
        return np.array([float((row["width"] or 0) > 3) for row in records])

    assert made(form, MIXED, signal) == made(form, MIXED, signal)


def test_many_rows_are_thinned_evenly():
    X = np.arange(10_000.0).reshape(-1, 1)
    records = held_out_records(infer_schema(X), X)
    numbers = [record["x0"] for record in records]
    assert len(records) == 2000 and numbers[0] == 0.0 and numbers[-1] == 9999.0 and max(np.diff(numbers)) <= 6


def test_few_rows_and_no_numbers():
    one = infer_schema(MIXED)
    rows = made(one, MIXED[:1])
    assert "held_out" in rows.kinds and "boundary" not in rows.kinds and "split" not in rows.kinds
    words = MIXED[["town", "new"]]
    kinds = set(made(infer_schema(words), words).kinds)
    assert kinds == {"held_out", "edge"}
    assert made(one, MIXED[:0]).records == []


def test_every_row_can_stand_in_the_training_datas_own_columns():
    table = MIXED[["width", "count"]].astype({"width": np.float32, "count": np.int16})
    form = infer_schema(table)
    for row in made(form, table).records:
        assert row["width"] == float(np.float32(row["width"]))
