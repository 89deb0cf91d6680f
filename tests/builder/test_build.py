"""edgeml.build: what is packed, what is refused, and that the same inputs give the same digest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import edgeml
from edgeml.errors import BuildError, ParityError, RuleError, UnsupportedError

ROOT = Path(__file__).resolve().parents[2]
IRIS = load_iris()


@pytest.fixture(scope="module")
def iris():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(IRIS.data, IRIS.target)


def test_everything_is_in_the_bundle(penguins_bundle):
    assert set(penguins_bundle.members) == {
        "model.onnx",
        "features.json",
        "features.npy",
        "kernel.json",
        "kernel.npy",
        "kernel.counts.npy",
        "rules.json",
        "reference.json",
        "golden.jsonl",
        "CARD.md",
    }
    config = penguins_bundle.config
    assert config["parity"]["flips"] == 0 and config["parity"]["max_difference"] <= 1e-5
    assert config["parity"]["rows"] > 150 and config["parity"]["engine"] == "native"
    assert config["outputs"]["labels"] == ["Adelie", "Chinstrap", "Gentoo"]
    assert config["slo"]["deadline_ms"] > 0
    assert {"scikit-learn", "skl2onnx", "onnxruntime", "python"} <= set(config["toolchain"])
    assert config["requires"]["opset"] and config["requires"]["ir_version"]
    assert config["quality"]["held_out"] and config["quality"]["overall"]["accuracy"] > 0.95
    assert config["baseline"]["majority"] < config["baseline"]["one_rule"] < 1
    assert config["tiers"]["rule"] > config["tiers"]["model"] > 0


def test_rules_are_measured(penguins_bundle):
    rules = json.loads(penguins_bundle.members["rules.json"])["rules"]
    assert len(rules) == 4
    for rule in rules:
        assert 0 < rule["coverage"] < 1 and rule["precision"] > 0.9


def test_the_card_tells_the_measured_facts(penguins_bundle):
    card = penguins_bundle.members["CARD.md"].decode()
    for words in (
        "# penguins 1.0.0",
        "three islands",
        "0 labels differ",
        "| Gentoo |",
        "gentoo-shallow-bill",
        "bill_length_mm | number [mm]",
        "best single rule",
    ):
        assert words in card


def test_same_inputs_same_digest_across_processes():
    code = (
        "import edgeml; from edgeml.builder.script import build_script; "
        "print(build_script('models/penguins/train.py').digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1 and next(iter(digests)).startswith("sha256:")


def test_an_array_without_names(iris):
    bundle = edgeml.build(iris, IRIS.data, IRIS.target, name="iris", version="1")
    predictor = edgeml.Predictor.from_bundle(bundle)
    answers = predictor.predict_many(IRIS.data)
    assert answers.label_list() == iris.predict(IRIS.data).tolist()
    assert bundle.config["quality"]["held_out"] is False
    assert "too kind" in bundle.members["CARD.md"].decode()
    assert predictor.predict({"x0": 5.1, "x1": 3.5, "x2": 1.4, "x3": 0.2}).label == 0


def test_a_regression():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(X, y)
    bundle = edgeml.build(model, X, y, name="diabetes", version="1")
    answers = edgeml.Predictor.from_bundle(bundle).predict_many(X)
    np.testing.assert_allclose(answers.value_list(), model.predict(X), rtol=1e-5)
    assert bundle.config["fallback"]["value"] == np.median(y)
    assert bundle.config["quality"]["overall"]["R2"] > 0.4


def test_several_values_at_once():
    X, y = load_diabetes(return_X_y=True)
    both = np.column_stack([y, -2 * y])
    model = LinearRegression().fit(X, both)
    predictor = edgeml.Predictor.from_bundle(edgeml.build(model, X, both, name="two", version="1"))
    np.testing.assert_allclose(predictor.predict_many(X).value_list(), model.predict(X), rtol=1e-5)
    one = predictor.predict({f"x{i}": value for i, value in enumerate(X[0].tolist())})
    assert one.value == pytest.approx(model.predict(X[:1])[0].tolist(), rel=1e-5)


def test_a_rule_cannot_give_one_value_for_several():
    X, y = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(X, np.column_stack([y, y]))
    with pytest.raises(RuleError, match="rule 'one': it answers with one number where the model gives 2"):
        edgeml.build(model, X, name="two", version="1", rules=[{"id": "one", "when": "x0 > 0", "then": {"value": 1.0}}])


def test_an_outlier_detector_and_a_clusterer():
    for model in (IsolationForest(n_estimators=20, random_state=0), KMeans(3, random_state=0, n_init=2)):
        model.fit(IRIS.data)
        predictor = edgeml.Predictor.from_bundle(edgeml.build(model, IRIS.data, name="odd", version="1"))
        assert predictor.predict_many(IRIS.data).label_list() == model.predict(IRIS.data).tolist()
        assert (
            predictor.predict(dict(zip(("x0", "x1", "x2", "x3"), IRIS.data[0].tolist(), strict=True))).tier == "model"
        )


class Doubler(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X * 2


def test_a_step_that_nothing_can_take_is_named():
    table = pd.DataFrame(IRIS.data, columns=list("abcd"))
    pipeline = make_pipeline(Doubler(), LogisticRegression(max_iter=500)).fit(table, IRIS.target)
    with pytest.raises(UnsupportedError, match="[Dd]oubler") as refusal:
        edgeml.build(pipeline, table, IRIS.target, name="doubled", version="1")
    assert refusal.value.step and set(refusal.value.columns) <= set("abcd")


def test_an_unfitted_pipeline_is_refused():
    with pytest.raises(BuildError, match="not fitted"):
        edgeml.build(LogisticRegression(), IRIS.data, IRIS.target, name="iris", version="1")


def test_what_cannot_predict_is_refused():
    with pytest.raises(BuildError, match="no predict"):
        edgeml.build(StandardScaler().fit(IRIS.data), IRIS.data, name="iris", version="1")


def test_several_labels_at_once_are_refused():
    model = MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(IRIS.data, np.column_stack([IRIS.target] * 2))
    with pytest.raises(UnsupportedError, match="MultiOutputClassifier"):
        edgeml.build(model, IRIS.data, name="iris", version="1")


def test_parity_refuses_and_shows_the_rows(iris, monkeypatch):
    class Shifty(LogisticRegression):
        """Says one thing to the exporter (its coefficients) and another to whoever asks."""

        def predict_proba(self, X):
            return np.roll(super().predict_proba(X), 1, axis=1)

    shifty = Shifty(max_iter=500).fit(IRIS.data, IRIS.target)
    with pytest.raises(BuildError) as refusal:
        edgeml.build(shifty, IRIS.data, IRIS.target, name="iris", version="1")
    assert isinstance(refusal.value, (ParityError, UnsupportedError))
    assert "Shifty" in str(refusal.value) or refusal.value.report


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"id": "a", "when": "x9 > 1", "then": {"label": 0}}], "x9"),
        ([{"id": "a", "when": "x0 >", "then": {"label": 0}}], "a"),
        ([{"id": "a", "when": "x0 > 1", "then": {"label": 7}}], "7"),
    ],
)
def test_a_wrong_rule_is_refused(iris, rules, message):
    with pytest.raises(RuleError, match=message):
        edgeml.build(iris, IRIS.data, IRIS.target, name="iris", version="1", rules=rules)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Has Spaces"}, "name"),
        ({"version": ""}, "version"),
        ({"features": {"x9": {"min": 0}}}, "x9"),
        ({"fallback": {"label": "no such"}}, "fallback"),
        ({"tolerance": -1.0}, "tolerance"),
    ],
)
def test_wrong_arguments_are_named(iris, arguments, message):
    with pytest.raises(edgeml.EdgemlError, match=message):
        edgeml.build(iris, IRIS.data, IRIS.target, **({"name": "iris", "version": "1"} | arguments))


def test_progress_names_every_step(iris):
    said = []
    edgeml.build(
        iris,
        IRIS.data,
        name="iris",
        version="1",
        progress=lambda step, number, total: said.append((step, number, total)),
    )
    assert [number for _, number, _ in said] == list(range(1, 8)) and {total for _, _, total in said} == {7}


def test_created_comes_from_the_source_date(iris, monkeypatch):
    plain = edgeml.build(iris, IRIS.data, name="iris", version="1")
    assert "created" not in plain.config
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert edgeml.build(iris, IRIS.data, name="iris", version="1").config["created"] == "1970-01-01T00:00:00Z"
