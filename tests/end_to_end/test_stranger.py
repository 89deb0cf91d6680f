"""A stranger's own data and pipeline: fit, build, serve, a thousand records over HTTP, every label scikit-learn's."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import edgeml

NUMBERS = ["age", "income", "balance", "visits", "distance km"]
CATEGORIES = ["country", "channel", "segment"]


def strangers_table(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows).astype(float),
            "income": rng.lognormal(10, 0.7, rows),
            "balance": rng.normal(0, 1000, rows),
            "visits": rng.poisson(3, rows).astype(float),
            "distance km": rng.exponential(12, rows),
            "country": rng.choice(["NO", "SE", "DK", "Ísland"], rows),
            "channel": rng.choice(["web", "shop", "phone"], rows),
            "segment": rng.choice(list("abcdefgh"), rows),
        }
    )
    signal_part = (
        (table["income"] > 25_000).astype(int)
        + (table["balance"] > 0).astype(int)
        + (table["country"] == "NO").astype(int)
        + (table["visits"] > 3).astype(int)
    )
    y = np.where(signal_part + rng.normal(0, 0.4, rows) > 2, "buys", "leaves")
    for column in table.columns:
        table.loc[rng.random(rows) < 0.06, column] = None if column in CATEGORIES else np.nan
    return table, y


@pytest.fixture(scope="module")
def pipeline_and_bundle(tmp_path_factory):
    X, y = strangers_table(1500, seed=1)
    pipeline = Pipeline(
        [
            (
                "prepare",
                ColumnTransformer(
                    [
                        ("num", Pipeline([("fill", SimpleImputer()), ("scale", StandardScaler())]), NUMBERS),
                        (
                            "cat",
                            Pipeline(
                                [
                                    (
                                        "fill",
                                        SimpleImputer(strategy="constant", fill_value="unknown", missing_values=None),
                                    ),
                                    ("encode", OneHotEncoder(handle_unknown="ignore")),
                                ]
                            )
                            if X["country"].dtype == object
                            else OneHotEncoder(handle_unknown="ignore"),
                            CATEGORIES,
                        ),
                    ]
                ),
            ),
            ("model", GradientBoostingClassifier(random_state=0)),
        ]
    ).fit(X, y)
    path = tmp_path_factory.mktemp("stranger") / "stranger.edgeml"
    edgeml.build(pipeline, X, y, name="stranger", version="1").save(path)
    return pipeline, path


def test_a_thousand_records_over_http_have_scikit_learns_labels(pipeline_and_bundle):
    pipeline, path = pipeline_and_bundle
    X, _ = strangers_table(1000, seed=2)
    X.loc[::50, "country"] = "FI"  # never seen in training; the encoder ignores it
    expected = pipeline.predict(X).tolist()
    probabilities = pipeline.predict_proba(X)
    records = [
        {name: None if value is None or value != value else value for name, value in row.items()}
        for row in X.to_dict("records")
    ]
    server = subprocess.Popen(
        [sys.executable, "-m", "edgeml", "serve", str(path), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        port = None
        for line in server.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                port = int(found.group(1))
                break
        assert port, "the server did not say where it listens"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        answers = []
        for record in records:
            connection.request(
                "POST", "/v1/predict", json.dumps({"records": [record]}), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            document = json.loads(response.read())
            assert response.status == 200, document
            answers += document["predictions"]
        connection.close()
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0
        server.stdout.close()
    assert [answer["label"] for answer in answers] == expected
    classes = list(pipeline.classes_)
    got = np.array([[answer["scores"][label] for label in classes] for answer in answers])
    assert np.abs(got - probabilities).max() <= 1e-5


def test_one_record_and_a_batch_answer_alike(pipeline_and_bundle):
    _, path = pipeline_and_bundle
    X, _ = strangers_table(200, seed=3)
    predictor = edgeml.load(path)
    together = predictor.predict_many(X)
    for row, answer in zip(X.to_dict("records"), together, strict=True):
        alone = predictor.predict(row)
        assert (alone.label, alone.tier) == (answer.label, answer.tier)
        # For several rows ONNX Runtime takes other vector instructions, so the last digits may differ.
        assert alone.scores == pytest.approx(answer.scores, abs=1e-12)
