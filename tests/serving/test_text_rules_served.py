"""Rules over texts from the builder to HTTP: a mail filter."""

import importlib.metadata
import json
import sys

import numpy as np
import pandas as pd
import pytest
from serving.running import Running
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import edgeml
from edgeml.errors import RequirementError

WORDS = [f"offer{number}" for number in range(200)]
RULES = [
    {"id": f"r{number}", "when": f'subject contains word "{word}" ignoring case', "then": {"label": "spam"}}
    for number, word in enumerate(WORDS)
]
RULES += [
    {"id": "long", "when": "word_count(subject) > 20 or length(subject) > 500", "then": {"label": "ham"}},
    {"id": "number", "when": "subject matches 'order #[0-9]+'", "then": {"label": "ham", "score": 0.9}},
    {"id": "empty", "when": "subject is missing", "then": "abstain"},
]
SUBJECTS = ["Offer17 for you", "OFFER3, offer1", "hello", "order #77", None, "a " * 30, "best offer", "coffer1"]
ANSWERED = ["r17", "r1", None, "number", None, "long", None, None]


@pytest.fixture(scope="module")
def bundle():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"amount": random.normal(size=400), "subject": [SUBJECTS[i % 8] for i in range(400)]})
    label = np.where(table.amount > 0, "spam", "ham")
    columns = ColumnTransformer([("scale", StandardScaler(), ["amount"])])
    pipeline = make_pipeline(columns, LogisticRegression()).fit(table, label)
    features = {"subject": {"kind": "text", "missing": "allow"}}
    return edgeml.build(pipeline, table, label, name="mail", version="1", features=features, rules=RULES)


def test_the_builder_measures_them_and_says_what_a_box_needs(bundle):
    assert bundle.config["requires"]["google-re2"] == ">=1.1"
    documents = json.loads(bundle.members["rules.json"])["rules"]
    assert documents[17]["coverage"] == 0.125 and documents[17]["when"] == RULES[17]["when"]
    assert RULES[1]["when"] in bundle.members["CARD.md"].decode()


def test_a_box_without_re2_refuses_the_bundle(bundle, monkeypatch):
    real = importlib.metadata.version
    load = sys.modules["edgeml.runtime.load"]
    monkeypatch.setattr(load, "_version", lambda package: None if package == "google-re2" else real(package))
    with pytest.raises(RequirementError, match=r"needs google-re2 >=1.1, and this box has none; install edgeml\[re2\]"):
        load.predictor_of(bundle)


def test_they_answer_over_http(bundle, tmp_path):
    path = tmp_path / "mail.edgeml"
    bundle.save(path)
    running = Running(path)
    body = json.dumps({"records": [{"amount": -1.0, "subject": subject} for subject in SUBJECTS]}).encode()
    status, answer = running.post("/v1/predict", body)
    assert status == 200
    predictions = answer["predictions"]
    assert [prediction.get("rule") for prediction in predictions] == ANSWERED
    assert [prediction["tier"] for prediction in predictions] == [
        "model" if rule is None else "rule" for rule in ANSWERED
    ]
    for subject, rule in zip(SUBJECTS, ANSWERED, strict=True):
        body = json.dumps({"records": [{"amount": -1.0, "subject": subject}]}, ensure_ascii=False).encode()
        status, answer = running.post("/v1/predict", body)
        assert (status, answer["predictions"][0].get("rule")) == (200, rule)
    assert running.stop() == (0, "")
