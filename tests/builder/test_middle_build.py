"""Building a middle tier: learned or given, on which rows its threshold is chosen, what is refused and why."""

import numpy as np
import pytest
from runtime.middle_samples import BUDGET, LABELS, arguments, columns, pipelines, table
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import edgeml
from edgeml.builder.middle_model import learn_middle
from edgeml.builder.schema_inference import infer_schema
from edgeml.errors import BuildError
from edgeml.runtime.prediction import MIDDLE
from edgeml.runtime.predictor import Predictor


@pytest.fixture(scope="module")
def learned():
    """A bundle whose middle tier was learned, and its threshold chosen on a part of X."""
    return edgeml.build(**arguments(middle={"budget": 0.1}, held_out=(table(100, 2)[0], None)))


def test_one_is_learned_and_its_threshold_is_chosen_on_a_part_that_it_has_not_seen(learned):
    middle = learned.config["middle"]
    assert (middle["source"], middle["rows"], middle["estimator"]) == ("split", 90, "LogisticRegression")
    assert middle["bound"] <= middle["budget"] and 0.2 < middle["answered"] <= 1 - middle["rules"]
    assert middle["parity"]["flips"] == 0 and middle["parity"]["rows"] > 100
    card = learned.members["CARD.md"].decode()
    assert "The middle tier (LogisticRegression) answers from a largest score of" in card
    assert "at most 0.1 of all such records are answered wrongly by the middle tier. Of" in card


def test_rules_hide_no_error_on_rows_that_they_may_have_been_made_of(learned):
    rules = [{"when": "true", "then": {"label": LABELS[0]}}]
    hidden = edgeml.build(**arguments(middle={"budget": 0.1}, held_out=(table(100, 2)[0], None), rules=rules))
    assert hidden.config["middle"]["rules"] == 1.0
    assert hidden.config["middle"]["lost"] == learned.config["middle"]["lost"] > 0


def test_on_fresh_rows_no_more_is_lost_than_was_promised(learned):
    fresh, truth = table(400, 9)
    records = [
        {"weight": None if np.isnan(w) else w, "where": p, "remark": r} for w, p, r in fresh.itertuples(index=False)
    ]
    answers = Predictor.from_bundle(learned).predict_many(records)
    alone, said = pipelines()[0].predict(fresh), np.array(answers.label_list())
    middle = answers.tiers == MIDDLE
    assert middle.sum() > 100 and ((said != truth) & (alone == truth) & middle).mean() <= 0.1


def test_rows_that_neither_has_seen_count_only_what_the_model_would_have_known():
    calibration = table(150, 5)
    bundle = edgeml.build(
        **arguments(middle={"pipeline": pipelines()[1], "budget": BUDGET, "calibration": calibration})
    )
    middle = bundle.config["middle"]
    assert (middle["source"], middle["rows"]) == ("calibration", 150)
    X, truth = calibration
    small, full = pipelines()[1], pipelines()[0].predict(X)
    scores, rule = small.predict_proba(X), X["remark"].str.split().map(lambda said: "opec" in said).to_numpy()
    answered = ~rule & (scores.max(axis=1) >= middle["threshold"])
    lost = answered & (small.classes_[scores.argmax(axis=1)] != truth) & (full == truth)
    assert (middle["lost"], middle["rules"]) == (lost.sum(), pytest.approx(rule.mean()))
    assert middle["answered"] == pytest.approx(answered.mean())
    assert "would have been right" in bundle.members["CARD.md"].decode()


def test_a_table_of_numbers_takes_trees_where_they_answer_more():
    random = np.random.default_rng(0)
    X = random.uniform(-1, 1, (400, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)  # no line parts them
    full = RandomForestClassifier(30, random_state=0).fit(X, y)
    inferred = infer_schema(X, pipeline=full, overrides=None, unknown_fields="reject")
    assert type(learn_middle(inferred, X, y, budget=0.02)[-1]).__name__ == "HistGradientBoostingClassifier"
    line = (X[:, 0] + X[:, 1] > 0).astype(int)
    assert type(learn_middle(inferred, X, line, budget=0.02)[-1]).__name__ == "LogisticRegression"
    bundle = edgeml.build(full, X, y, name="xor", version="1", middle={"budget": 0.1})
    assert bundle.config["middle"]["estimator"] == "HistGradientBoostingClassifier"
    assert bundle.config["middle"]["answered"] > 0.5


def test_texts_alone():
    X, y = table(300, 1)
    texts, later = X["remark"].tolist(), table(150, 2)
    full = make_pipeline(columns(None).transformers[2][1], LogisticRegression()).fit(texts, y)
    small = make_pipeline(columns(8).transformers[2][1], MultinomialNB()).fit(texts, y)
    given = {"name": "texts", "version": "1", "held_out": (later[0]["remark"].tolist(), later[1])}
    calibration = (table(150, 4)[0]["remark"].tolist(), table(150, 4)[1])
    for middle in ({"pipeline": small, "calibration": calibration}, {"calibration": calibration}):
        bundle = edgeml.build(full, texts, y, middle={**middle, "budget": 0.2}, **given)
        assert bundle.config["tiers"]["middle"] > 10


LINEAR = LinearRegression().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"middle": "lean"}, "'lean' is neither 'learn' nor a fitted pipeline"),
        ({"middle": {"budgit": 1}}, "unknown key 'budgit'; the keys are pipeline, budget"),
        ({"middle": {"budget": 0}}, "budget 0 must be a number above 0 and below 1"),
        ({"middle": {"confidence": "high"}}, "confidence 'high' must be a number"),
        ({"middle": "learn", "y": None}, "a small model learns from known answers"),
        ({"held_out": None}, "rows that neither model has seen; give held_out"),
        ({"middle": {"calibration": table(30, 1)[0]}}, "calibration must be a pair"),
        ({"middle": {"calibration": (table(30, 1)[0], None)}}, "calibration needs known answers"),
        ({"middle": {"budget": 0.001}}, "240 calibration rows .* at least 2995: give more"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_remedy(changes, message):
    with pytest.raises(BuildError, match=message):
        edgeml.build(**arguments(**changes))


def test_other_models_than_classifiers_with_probabilities_in_the_kernel_are_refused():
    X, y = table(300, 1)
    two = np.where(y == LABELS[0], LABELS[0], LABELS[1])
    for small, message in (
        (make_pipeline(columns(8), LinearSVC()).fit(X, y), "LinearSVC gives no probabilities"),
        (make_pipeline(columns(8), LogisticRegression()).fit(X, two), "fit it on rows of all labels"),
    ):
        with pytest.raises(BuildError, match=message):
            edgeml.build(**arguments(middle={"pipeline": small, "budget": BUDGET}))
    with pytest.raises(BuildError, match="a regression has no middle tier"):
        edgeml.build(LINEAR, [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0], name="line", version="1", middle="learn")


def test_the_same_inputs_give_the_same_digest(learned):
    again = edgeml.build(**arguments(middle={"budget": 0.1}, held_out=(table(100, 2)[0], None)))
    assert again.digest == learned.digest
