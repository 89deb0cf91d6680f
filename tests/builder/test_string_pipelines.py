"""Pipelines whose model takes strings alone: no number goes through the door."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import edgeml

WORDS = {"bad": ["late", "broken", "awful"], "good": ["quick", "friendly", "clean"]}


def sentences(n, seed=0):
    """n sentences, all different, and what each says."""
    rng = np.random.default_rng(seed)
    said = [("bad", "good")[row % 2] for row in range(n)]
    words = [rng.choice(WORDS[mood], 2) for mood in said]
    texts = [f"{first} room number{row} and {second}" for row, (first, second) in enumerate(words)]
    return pd.DataFrame({"s": texts}), said


@pytest.mark.parametrize("rows", [60, 1500])
def test_a_bundle_of_strings_alone_answers_as_the_pipeline(rows, tmp_path):
    X, y = sentences(rows)
    pipeline = make_pipeline(ColumnTransformer([("t", TfidfVectorizer(), "s")]), LogisticRegression()).fit(X, y)
    bundle = edgeml.build(pipeline, X, y, name="moods", version="1")
    bundle.save(tmp_path / "moods.edgeml")
    predictor = edgeml.load(tmp_path / "moods.edgeml")
    answers = predictor.predict_many(X)
    assert answers.label_list() == pipeline.predict(X).tolist()
    assert {answer.tier for answer in answers} == {"model"}
    one = predictor.predict({"s": X["s"][0]})
    assert list(one.scores.values()) == pytest.approx(pipeline.predict_proba(X[:1])[0].tolist(), abs=1e-5)
