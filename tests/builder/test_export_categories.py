"""Categories inside histogram gradient boosting: texts by dtype, codes by position or name, missing and unknown."""

import numpy as np
import pandas as pd
import pytest
from export_forms import agree
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline

import edgeml


@pytest.fixture(scope="module")
def mixed():
    """A table with two string categories, one of them with missing values, two numbers, and a target of all four."""
    random = np.random.default_rng(0)
    n = 400
    town = random.choice(list("abcdefgh"), n).astype(object)
    town[::9] = None
    table = pd.DataFrame(
        {
            "age": random.normal(40, 9, n),
            "town": pd.Categorical(town),
            "income": random.gamma(2.0, 3.0, n),
            "sort": pd.Categorical(random.choice(["new", "old"], n)),
        }
    )
    table.loc[::13, "income"] = np.nan
    y = table["town"].cat.codes.isin([1, 4, 6]) * 2.0 + table["income"].fillna(4) * (table["sort"] == "new")
    return table, y.to_numpy()


@pytest.mark.parametrize("kind", ["regression", "poisson", "binary", "multiclass"])
def test_string_categories_by_dtype(mixed, kind):
    table, y = mixed
    settings = {"max_iter": 6, "categorical_features": "from_dtype", "min_samples_leaf": 5}
    if kind in ("regression", "poisson"):
        loss = {"regression": "squared_error"}.get(kind, kind)
        model, target = HistGradientBoostingRegressor(loss=loss, **settings), y
    else:
        model = HistGradientBoostingClassifier(**settings)
        target = y > 3 if kind == "binary" else np.digitize(y, [1.0, 3.0, 8.0])
    model.fit(table, target)
    bundle = edgeml.build(model, table, target, name="mixed", version="1")
    assert bundle.config["parity"]["flips"] == 0 and bundle.config["parity"]["max_difference"] <= 1e-6
    assert {"missing", "unseen", "boundary"} <= set(bundle.config["parity"]["kinds"])
    predictor = edgeml.Predictor.from_bundle(bundle)
    record = {"age": 30.0, "town": "nowhere", "income": None, "sort": "new"}
    frame = table.iloc[:1].assign(age=30.0, town=None, income=np.nan, sort=pd.Categorical(["new"], ["new", "old"]))
    frame["town"] = pd.Categorical([None], table["town"].cat.categories)
    answer = predictor.predict(record)
    assert (answer.value if target is y else answer.label) == pytest.approx(model.predict(frame)[0])


def numbers_of(table):
    """The same table as numbers, with the categories as codes 0, 3, 6, ..., and NaN for a missing one."""
    codes = {name: table[name].cat.codes.replace(-1, np.nan) * 3.0 for name in ("town", "sort")}
    return table.assign(**codes).astype(np.float64)


@pytest.mark.parametrize("categorical", [[1, 3], [False, True, False, True], [1]], ids=str)
def test_integer_codes_as_categories(mixed, categorical):
    table, y = mixed
    X = numbers_of(table).to_numpy()
    settings = {"max_iter": 6, "categorical_features": categorical, "min_samples_leaf": 5}
    model = HistGradientBoostingClassifier(**settings).fit(X, np.digitize(y, [1.0, 3.0, 8.0]))
    # The exporter alone asks the raw codes; inside a bundle the compiled core encodes them first.
    rows = np.repeat(X[:30], 6, axis=0)
    rows[:, 1] = np.tile([0.0, 3.0, 4.0, -1.0, 99.0, np.nan], 30)
    agree(model, np.vstack([X, rows]))
    bundle = edgeml.build(model, X, name="codes", version="1")
    assert bundle.config["parity"]["flips"] == 0
    answers = edgeml.Predictor.from_bundle(bundle).predict_many(rows)
    np.testing.assert_allclose(answers.scores, model.predict_proba(rows), atol=1e-6)


def test_columns_named_as_categories_behind_other_steps(mixed):
    table, y = mixed
    model = HistGradientBoostingRegressor(max_iter=5, categorical_features=["town"], min_samples_leaf=5)
    X = numbers_of(table)
    pipeline = make_pipeline(model).fit(X, y)
    bundle = edgeml.build(pipeline, X, y, name="named", version="1")
    assert bundle.config["parity"]["max_difference"] <= 1e-6
