"""What the exporter promises beside equal answers: described outputs, pinned graphs, equal bytes, named refusals."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from export_forms import cancer, fitted, run, wine
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

import edgeml
from edgeml.builder.export import doors, export_model, task_name
from edgeml.errors import UnsupportedError

ROOT = Path(__file__).resolve().parents[2]


def model_of(estimator, X, y=None, **given):
    """The estimator, fitted and exported through its first door."""
    fitted(estimator, X, y)
    return export_model(estimator, n_inputs=X.shape[1], door=doors(estimator, n_inputs=X.shape[1], **given)[0], **given)


# What the outputs mean

NONE = {"labels": None, "scores": None, "decision": None, "label_values": None, "n_values": None}


@pytest.mark.parametrize(
    ("estimator", "outputs"),
    [
        (LogisticRegression(), {"labels": [0, 1, 2], "scores": "probability", "decision": "argmax"}),
        (LinearSVC(), {"labels": [0, 1, 2], "scores": "decision", "decision": "argmax"}),
        (
            DecisionTreeClassifier(max_depth=2),
            {"labels": [0, 1, 2], "scores": "probability", "decision": "label", "label_values": [0, 1, 2]},
        ),
        (
            SVC(decision_function_shape="ovo"),
            {"labels": [0, 1, 2], "decision": "label", "label_values": [0, 1, 2]},
        ),
        (KMeans(2, n_init=1, random_state=0), {"labels": [0, 1], "decision": "label", "label_values": [0, 1]}),
        (
            IsolationForest(n_estimators=3, random_state=0),
            {"labels": [-1, 1], "scores": "decision", "decision": "label", "label_values": [0, 1]},
        ),
        (LinearRegression(), {"n_values": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_outputs_are_described_for_every_task(estimator, outputs):
    X, y = wine()
    model = model_of(estimator, X, y)
    assert model.outputs == NONE | outputs
    assert model.estimator == type(estimator).__name__
    expected = {"value"} if outputs.get("n_values") else ({"scores"} if outputs.get("scores") else set())
    assert set(run(model, X)) == expected | ({"label"} if outputs.get("decision") == "label" else set())


def test_two_labels_with_one_decision_get_a_score_each():
    X, y = cancer()
    scores = run(model_of(RidgeClassifier(), X, y), X)["scores"]
    assert scores.shape == (200, 2) and np.array_equal(scores[:, 0], -scores[:, 1])


def test_the_task_may_be_said_and_is_found_otherwise():
    X, y = wine()
    assert task_name(make_pipeline(StandardScaler(), SVC())) == "classification"
    assert task_name(KMeans()) == "clustering" and task_name(IsolationForest()) == "outlier"
    said = model_of(LogisticRegression(), X, y, task="classification")
    assert said == model_of(LogisticRegression(), X, y)
    with pytest.raises(UnsupportedError, match="StandardScaler is no classifier"):
        task_name(StandardScaler())


# Doors


def test_doors():
    X, y = wine()
    table = {
        ("float32",): (DecisionTreeClassifier(), RandomForestClassifier(3), DummyClassifier()),
        ("float64",): (LogisticRegression(), SVC(), KNeighborsClassifier(), make_pipeline(StandardScaler(), SVC())),
        ("float32", "float64"): (KNeighborsClassifier(metric="manhattan"),),
    }
    for expected, estimators in table.items():
        for estimator in estimators:
            assert doors(estimator.fit(X, y), n_inputs=5) == expected
    assert doors(LogisticRegression().fit(X, y), n_inputs=4, strings=["note"]) == ("float32", "float64")


# The graph

WRITTEN_AND_CONVERTED = [
    LogisticRegression(),
    RandomForestClassifier(4, random_state=0),
    KNeighborsClassifier(weights="distance"),
    KNeighborsClassifier(metric="manhattan"),
]


@pytest.mark.parametrize("estimator", WRITTEN_AND_CONVERTED, ids=lambda value: type(value).__name__)
def test_the_graph_is_pinned_and_holds_nothing_else(estimator):
    X, y = wine()
    exported = model_of(estimator, X, y)
    model = onnx.load_model_from_string(exported.model)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == exported.ir_version == 8
    assert {item.domain or "ai.onnx": item.version for item in model.opset_import} == exported.opset
    assert exported.opset == {"ai.onnx": 17, "ai.onnx.ml": 3}
    assert [info.name for info in model.graph.input] == ["dense"]
    assert {info.name for info in model.graph.output} <= {"scores", "label", "value"}
    assert not model.metadata_props and not model.doc_string and model.producer_version == ""
    assert all(node.output[0] not in ("", "dense") for node in model.graph.node)
    assert exported == model_of(estimator, X, y)


def digests():
    return [hashlib.sha256(model_of(one, *wine()).model).hexdigest() for one in WRITTEN_AND_CONVERTED]


def test_equal_bytes_in_a_process_with_another_hash_seed():
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    code = "import sys; sys.path.insert(0, 'tests/builder'); import test_export; print(test_export.digests())"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed.strip() == str(digests())


@pytest.mark.parametrize("metric", ["manhattan", "cosine"])
def test_what_skl2onnx_takes(metric):
    X, y = wine()
    names = np.array(["red", "green", "blue"])[y]
    estimator = KNeighborsClassifier(4, metric=metric).fit(X, names)
    assert export_model(estimator, n_inputs=5, door="float64").outputs["label_values"] == [0, 1, 2]
    bundle = edgeml.build(estimator, X, names, name="metric", version="1")
    assert bundle.config["parity"]["flips"] == 0 and bundle.config["parity"]["door"] == "float64"


def test_strings_go_through_the_door_beside_the_numbers():
    table, y = _reviews()
    prepare = ColumnTransformer([("words", _uncompiled(), "note"), ("number", StandardScaler(), ["size"])])
    pipeline = make_pipeline(prepare, LogisticRegression()).fit(table, y)
    given = {"name": "reviews", "version": "1", "features": {"note": {"kind": "text"}}}
    bundle = edgeml.build(pipeline, table, y, **given)
    assert bundle.config["parity"]["flips"] == 0 and bundle.config["outputs"]["labels"] == ["bad", "good"]
    assert bundle.config["requires"]["opset"]["com.microsoft"] == 1
    answer = edgeml.Predictor.from_bundle(bundle).predict({"note": "very GOOD indeed", "size": 2.0})
    assert answer.label == "good"


@pytest.mark.parametrize("name", ["label", "scores", "dense"])
def test_a_string_feature_may_not_have_an_outputs_name(name):
    table, y = _reviews()
    table = table.rename(columns={"note": name})
    prepare = ColumnTransformer([("words", _uncompiled(), name), ("number", StandardScaler(), ["size"])])
    pipeline = make_pipeline(prepare, LogisticRegression()).fit(table, y)
    with pytest.raises(UnsupportedError, match=f"{name!r}.*rename the column"):
        edgeml.build(pipeline, table, y, name="reviews", version="1", features={name: {"kind": "text"}})


def _uncompiled():
    """A vectorizer whose tokens the core does not know, so that ONNX cuts the texts."""
    return TfidfVectorizer(token_pattern=r"[a-zA-Z]+[0-9]*")


def _reviews():
    notes = ["GOOD and fine", "very bad", "Good", "bad and broken", "fine indeed", "broken"] * 8
    table = pd.DataFrame({"note": notes, "size": np.arange(48) % 7 + 0.5})
    return table, np.array(["good", "bad", "good", "bad", "good", "bad"] * 8)
