"""Contributions of built models: they add up to the score of the answer, and are whose they are said to be."""

import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeRegressor

import edgeml
from edgeml.errors import BundleError
from edgeml.runtime.explanation import Explainer
from edgeml.runtime.explanation_budget import STEPS, Allowance
from edgeml.runtime.predictor import Predictor

TABLES = {"iris": load_iris(), "cancer": load_breast_cancer(), "diabetes": load_diabetes()}
WORDS = ["café net dividend", "oil and gas ünï", "wheat or corn", "net profit", "oil oil price", "corn fields"] * 5
TOPICS = ["earn", "crude", "grain"] * 10


def explainer(pipeline, X, y=None, **given):
    predictor = Predictor.from_bundle(edgeml.build(pipeline, X, y, name="m", version="1", **given))
    return predictor, Explainer(predictor)


def parts(said):
    return said["baseline"] + said["rest"] + sum(each["contribution"] for each in said["contributions"])


def of_the_scores(answer, scale):
    """The number that must come out, worked out of the answer's own score or value."""
    if answer.label is None:
        return {"score": answer.value, "log": math.log(max(answer.value, 1e-300))}[scale]
    own = answer.scores[str(answer.label)]
    if scale == "log-odds":
        return math.log(own / (1 - own))
    if scale == "log-ratio":
        return math.log(own) - np.mean([math.log(score) for score in answer.scores.values()])
    assert scale == "score"
    return own


@pytest.mark.parametrize(
    ("data", "pipeline", "scale"),
    [
        ("cancer", make_pipeline(StandardScaler(), LogisticRegression()), "log-odds"),
        ("iris", make_pipeline(StandardScaler(), LogisticRegression()), "log-ratio"),
        ("iris", make_pipeline(StandardScaler(), PCA(2), LogisticRegression()), "log-ratio"),
        ("cancer", make_pipeline(StandardScaler(), LinearSVC()), "score"),
        ("diabetes", LinearRegression(), "score"),
        ("diabetes", make_pipeline(StandardScaler(), PoissonRegressor()), "log"),
        ("cancer", RandomForestClassifier(9, random_state=0), "score"),
        ("diabetes", RandomForestRegressor(9, random_state=0), "score"),
        ("cancer", GradientBoostingClassifier(n_estimators=9), "log-odds"),
        ("iris", GradientBoostingClassifier(n_estimators=9), "log-ratio"),
        ("iris", HistGradientBoostingClassifier(max_iter=5), "log-ratio"),
        ("iris", IsolationForest(n_estimators=9, random_state=0), "inner"),
    ],
)
def test_contributions_add_up_to_the_score(data, pipeline, scale):
    X, y = TABLES[data].data[::5], TABLES[data].target[::5].astype(float if data == "diabetes" else int)
    given = () if scale == "inner" else (y,)
    predictor, explain = explainer(pipeline.fit(X, *given), X, *given)
    for row in X[:: len(X) // 4]:
        record = dict(zip(predictor.schema.names, row.tolist(), strict=True))
        answer = predictor.predict(record)
        said = explain.of_record(record, answer, Allowance())
        assert said["scale"] == scale and said.get("of") == answer.label
        assert parts(said) == pytest.approx(said["sum"], abs=1e-9)
        if scale != "inner":
            assert said["sum"] == pytest.approx(of_the_scores(answer, scale), rel=1e-8, abs=1e-8)
        if scale == "log-odds":
            decision = pipeline.decision_function(row.reshape(1, -1))[0]
            assert said["sum"] == pytest.approx(decision if answer.label else -decision, rel=1e-9)
        for each in said["contributions"]:
            if "feature" in each:
                assert each["value"] == record[each["feature"]]


def test_a_weight_times_a_value_is_what_a_column_contributes():
    X, y = TABLES["diabetes"].data, TABLES["diabetes"].target.astype(float)
    model = LinearRegression().fit(X, y)
    predictor, explain = explainer(model, X, y)
    record = dict(zip(predictor.schema.names, X[3].tolist(), strict=True))
    said = explain.of_record(record, predictor.predict(record), Allowance())
    got = {each["feature"]: each["contribution"] for each in said["contributions"]}
    assert got == pytest.approx(dict(zip(predictor.schema.names, model.coef_ * X[3], strict=True)))
    assert said["baseline"] == pytest.approx(model.intercept_)


def test_a_tree_is_explained_by_the_rows_that_it_was_fitted_on():
    X, y = TABLES["diabetes"].data[:, :3], TABLES["diabetes"].target.astype(float)
    tree = DecisionTreeRegressor(max_depth=1).fit(X, y)
    predictor, explain = explainer(tree, X, y)
    record = dict(zip(predictor.schema.names, X[0].tolist(), strict=True))
    answer = predictor.predict(record)
    said = explain.of_record(record, answer, Allowance())
    assert said["baseline"] == pytest.approx(y.mean())
    (only,) = said["contributions"]
    assert only["contribution"] == pytest.approx(answer.value - y.mean())


def mixed():
    rng = np.random.default_rng(0)
    n = 240
    table = pd.DataFrame(
        {
            "size (mm)": rng.normal(size=n),
            "île": rng.choice(["Dream", "Ünï", "Biscoe"], n),
            "count": rng.integers(0, 5, n),
        }
    )
    table.loc[::17, "size (mm)"] = np.nan
    y = ((table["île"] == "Ünï") | (table["count"] > 3)).map({True: "yes", False: "no"})
    return table, y.to_numpy()


@pytest.mark.parametrize("estimator", [LogisticRegression(), RandomForestClassifier(7, random_state=0)])
def test_encoded_columns_are_one_feature(estimator):
    table, y = mixed()
    table = table.fillna({"size (mm)": 0.0})
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["size (mm)", "count"])]
        + [("levels", OneHotEncoder(handle_unknown="ignore"), ["île"])]
    )
    predictor, explain = explainer(make_pipeline(columns, estimator).fit(table, y), table, y)
    record = {"size (mm)": 0.5, "île": "Ünï", "count": 4}
    said = explain.of_record(record, predictor.predict(record), Allowance())
    assert sorted(each["feature"] for each in said["contributions"]) == ["count", "size (mm)", "île"]
    assert {each["feature"]: each["value"] for each in said["contributions"]} == record
    record["île"] = "elsewhere"
    said = explain.of_record(record, predictor.predict(record), Allowance())
    values = {each["feature"]: each["value"] for each in said["contributions"]}
    assert values.get("île", {"unseen": True}) == {"unseen": True}


def test_missing_values_and_categories_of_histogram_trees():
    table, y = mixed()
    table["île"] = table["île"].astype("category")
    model = HistGradientBoostingClassifier(max_iter=9, categorical_features="from_dtype").fit(table, y)
    predictor, explain = explainer(model, table, y)
    for size in (None, 0.3):
        record = {"size (mm)": size, "île": "Ünï", "count": 4}
        answer = predictor.predict(record)
        said = explain.of_record(record, answer, Allowance())
        assert said["sum"] == pytest.approx(of_the_scores(answer, "log-odds"))
        assert said["contributions"][0]["feature"] in ("île", "count")
        assert all(each["value"] == record[each["feature"]] for each in said["contributions"])


@pytest.mark.parametrize(
    ("vectorizer", "estimator", "scale"),
    [
        (TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(), "log-ratio"),
        (TfidfVectorizer(stop_words="english"), LinearSVC(), "score"),
        (CountVectorizer(), MultinomialNB(), "log-ratio"),
        (CountVectorizer(), RandomForestClassifier(5, random_state=0), "score"),
        (HashingVectorizer(n_features=32), LogisticRegression(), "log-ratio"),
    ],
)
def test_words_contribute(vectorizer, estimator, scale):
    pipeline = make_pipeline(vectorizer, estimator).fit(WORDS, TOPICS)
    predictor, explain = explainer(pipeline, WORDS, TOPICS)
    for text in ("café net", WORDS[1], ""):
        answer = predictor.predict({"text": text})
        said = explain.of_record({"text": text}, answer, Allowance())
        assert said["scale"] == scale and said["of"] == answer.label
        assert parts(said) == pytest.approx(said["sum"]) == pytest.approx(of_the_scores(answer, scale))
        assert {each["feature"] for each in said["contributions"]} <= {"text"}
        terms = [each["term"] for each in said["contributions"]]
        if text == "café net" and not isinstance(vectorizer, HashingVectorizer) and scale != "score":
            assert set(terms) <= {"café", "net", "café net"} and "café" in terms
    assert isinstance(estimator, RandomForestClassifier) or not terms  # nothing is in an empty text


def test_words_beside_numbers():
    table = pd.DataFrame({"n": np.arange(30.0), "remark": WORDS})
    columns = ColumnTransformer([("n", StandardScaler(), ["n"]), ("words", CountVectorizer(), "remark")])
    pipeline = make_pipeline(columns, LogisticRegression()).fit(table, TOPICS)
    predictor, explain = explainer(pipeline, table, TOPICS, features={"remark": {"kind": "text"}})
    record = {"n": 3.0, "remark": "oil ünï"}
    answer = predictor.predict(record)
    said = explain.of_record(record, answer, Allowance())
    assert said["sum"] == pytest.approx(of_the_scores(answer, "log-ratio"))
    names = {(each["feature"], each.get("term", each.get("value"))) for each in said["contributions"]}
    assert names == {("n", 3.0), ("remark", "oil"), ("remark", "ünï")}


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [(MLPClassifier((3,), max_iter=2000, tol=0.01), "no sum over its inputs"), (SVC(), "ONNX Runtime")],
)
def test_what_adds_up_to_nothing_says_why(estimator, reason):
    X, y = TABLES["iris"].data, TABLES["iris"].target
    predictor, explain = explainer(estimator.fit(X, y), X, y)
    record = dict(zip(predictor.schema.names, X[0].tolist(), strict=True))
    said = explain.of_record(record, predictor.predict(record), Allowance())
    assert said["contributions"] is None and reason in said["reason"]


def test_without_counts_trees_are_not_explained(penguins_bundle):
    members = {name: data for name, data in penguins_bundle.members.items() if name != "kernel.counts.npy"}
    predictor = Predictor.from_bundle(edgeml.Bundle.create(penguins_bundle.config, members))
    answers = [(row["record"], predictor.predict(row["record"])) for row in predictor.golden]
    record, answer = next(pair for pair in answers if pair[1].tier == "model")
    said = Explainer(predictor).of_record(record, answer, Allowance())
    assert said["contributions"] is None and "build it again" in said["reason"]


@pytest.mark.parametrize(
    "counts",
    [
        np.ones(3, np.int32),
        np.full(899, -1, np.int32),
        np.ones(899),
        np.ones((899, 1), np.int32),
        np.empty(0, np.int32),
    ],
)
def test_counts_that_do_not_fit_are_refused(penguins_bundle, counts):
    known = np.load(io.BytesIO(penguins_bundle.members["kernel.counts.npy"]))
    assert known.dtype == np.int32 and known.min() >= 0 and len(known) == 899
    stream = io.BytesIO()
    np.save(stream, counts)
    members = dict(penguins_bundle.members) | {"kernel.counts.npy": stream.getvalue()}
    with pytest.raises(BundleError, match=r"kernel\.counts\.npy"):
        Predictor.from_bundle(edgeml.Bundle.create(penguins_bundle.config, members))


def test_an_answer_is_never_lost_for_its_explanation(penguins_bundle):
    predictor = Predictor.from_bundle(penguins_bundle)
    explainer = Explainer(predictor)
    record = predictor.golden[0]["record"]
    answer = predictor.predict(record)
    explainer._places, explainer._rules = {}, object()
    for said in (
        explainer.of_record(record, answer, Allowance()),
        explainer.of_json(json.dumps(record).encode(), answer, Allowance()),
    ):
        what, _, why = said["reason"].partition(": ")
        assert what == "the answer could not be explained" and why in ("KeyError", "AttributeError")


def test_work_is_bounded(penguins_bundle):
    predictor = Predictor.from_bundle(penguins_bundle)
    answers = [(row["record"], predictor.predict(row["record"])) for row in predictor.golden]
    record, answer = next(pair for pair in answers if pair[1].tier == "model")
    allowance, explain = Allowance(), Explainer(predictor)
    assert explain.of_record(record, answer, allowance)["contributions"]
    assert 0 < STEPS - allowance.left < STEPS // 1000
    said = explain.of_record(record, answer, Allowance(left=10))
    assert said["contributions"] is None and "used up" in said["reason"]


def test_explaining_counts_nothing_twice():
    X, y = TABLES["iris"].data, TABLES["iris"].target
    predictor, explain = explainer(LogisticRegression(max_iter=500).fit(X, y), X, y, unknown_fields="count")
    record = dict(zip(predictor.schema.names, X[0].tolist(), strict=True)) | {"other": 1}
    answer = predictor.predict(record)
    assert explain.of_record(record, answer, Allowance())["of"] == answer.label
    assert predictor.reader.unknown_counts() == {"other": 1}
