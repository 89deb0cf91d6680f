"""Pipelines whose model takes strings alone: no number goes through the door."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import edgeml
from edgeml.errors import BuildError, SchemaError

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
    assert bundle.config["schema"]["features"][0]["kind"] == "text"
    answers = predictor.predict_many(X)
    assert answers.label_list() == pipeline.predict(X).tolist()
    assert {answer.tier for answer in answers} == {"model"}
    one = predictor.predict({"s": X["s"][0]})
    assert list(one.scores.values()) == pytest.approx(pipeline.predict_proba(X[:1])[0].tolist(), abs=1e-5)


def moods(rows=60):
    X, y = sentences(rows)
    return X, make_pipeline(ColumnTransformer([("t", TfidfVectorizer(), "s")]), LogisticRegression()).fit(X, y)


def test_new_sentences_of_known_words_are_read():
    X, pipeline = moods()
    predictor = edgeml.Predictor.from_bundle(edgeml.build(pipeline, X, name="moods", version="1"))
    new = pd.DataFrame({"s": ["awful and broken", "clean and friendly", "late", ""]})
    answers = predictor.predict_many(new)
    np.testing.assert_allclose(answers.scores, pipeline.predict_proba(new), atol=1e-5)


def test_a_category_by_override_refuses_levels_that_it_cannot_keep():
    X, pipeline = moods()
    bundle = edgeml.build(pipeline, X, name="moods", version="1", features={"s": {"kind": "category"}})
    with pytest.raises(SchemaError, match="unseen_level"):
        edgeml.Predictor.from_bundle(bundle).predict({"s": "awful and broken"})
    with pytest.raises(BuildError, match="column 's'.*override it with"):
        edgeml.build(pipeline, X, name="moods", version="1", features={"s": {"unseen": "allow"}})


def test_an_encoder_takes_all_unseen_levels_alike():
    X = pd.DataFrame({"s": ["red wine", "white wine", "beer"] * 20})
    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(X, [0, 1, 1] * 20)
    (feature,) = edgeml.build(pipeline, X, name="drinks", version="1").config["schema"]["features"]
    assert (feature["kind"], feature["unseen"]) == ("category", "allow")
