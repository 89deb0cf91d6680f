"""The same bundle without some of its rules, and by its model alone."""

import numpy as np
import pytest
from runtime.test_auditor import NEITHER, RIGHT, RULES, WRONG, X, signs  # noqa: F401
from sklearn.linear_model import LogisticRegression

from edgeml.builder import build
from edgeml.runtime.engine import Engine
from edgeml.runtime.explanation import Explainer
from edgeml.runtime.explanation_budget import Allowance
from edgeml.runtime.live_rules import answers_early, model_alone, without_rules
from edgeml.runtime.load import predictor_of

RECORDS = [{"x": float(x), "z": float(z)} for x, z in np.random.default_rng(1).uniform(-1.2, 1.2, (200, 2))]


@pytest.mark.parametrize("left_out", [["right"], ["wrong"], ["right", "wrong"], ["silent"], ["right", "silent"]])
def test_it_answers_as_a_bundle_that_was_built_without_them(signs, left_out):  # noqa: F811
    kept = [rule for rule in RULES if rule["id"] not in left_out]
    labels = np.where(X["x"] > 0, "plus", "minus")
    other = build(LogisticRegression(C=100).fit(X, labels), X, labels, name="signs", version="1", rules=kept)
    expected, whole = predictor_of(other), predictor_of(signs)
    made = without_rules(whole, left_out)
    said, wanted = made.predict_many(RECORDS), expected.predict_many(RECORDS)
    for record, one, many in zip(RECORDS, wanted, said, strict=True):
        alone = made.predict(record)
        assert (alone.tier, alone.label, alone.rule) == (one.tier, one.label, one.rule)
        assert (many.tier, many.label, many.rule) == (one.tier, one.label, one.rule)
    # Indexes stay those of the bundle, and the whole one is as it was.
    assert set(said.rule_index.tolist()) - {-1} <= {0, 1} - {0 if "right" in left_out else -1}
    assert {answer.rule for answer in whole.predict_many([RIGHT, WRONG])} == {"right", "wrong"}
    assert made.rules.rules is whole.rules.rules


def test_ids_that_it_does_not_have_are_passed_over(signs):  # noqa: F811
    whole = predictor_of(signs)
    assert without_rules(whole, ["nobody"]) is whole and without_rules(whole, ()) is whole


def test_the_model_alone_answers_everything(signs):  # noqa: F811
    whole = predictor_of(signs)
    alone = model_alone(whole)
    assert {answer.tier for answer in alone.predict_many(RECORDS)} == {"model"}
    assert alone.predict(WRONG).label == "minus" and whole.predict(WRONG).label == "plus"
    assert alone.session is whole.session
    assert answers_early(whole) and not answers_early(alone)


def test_an_engine_exchanges_its_rules_and_goes_on_counting(signs):  # noqa: F811
    engine = Engine(predictor_of(signs))
    engine.predict_many([RIGHT, WRONG, NEITHER])
    engine.disable(["wrong", "nobody"])
    assert engine.disabled == ("wrong",)
    answer = engine.predict(WRONG)
    assert (answer.tier, answer.label) == ("model", "minus")
    assert engine.predict(RIGHT).rule == "right"
    assert engine.quality.counters.counts()["rules"] == [2, 1, 0]
    assert engine.golden_check().passed  # golden rows are those of the whole bundle
    engine.disable([])
    assert engine.disabled == () and engine.predictor is engine.whole
    assert engine.predict(WRONG).rule == "wrong"
    assert engine.quality.counters.counts()["rules"] == [2, 2, 0]


def test_who_abstained_is_said_of_the_rules_that_were_asked(signs):  # noqa: F811
    engine = Engine(predictor_of(signs))
    explainer = Explainer(engine.whole, engine.rules)
    record = RIGHT | {"z": 1.0}

    def explained():
        return explainer.of_record(record, engine.predict(record), Allowance())

    assert explained()["rule"] == "right"
    engine.disable(["right"])
    assert explained()["abstained"] == "silent"
    engine.disable([])
    assert explained()["rule"] == "right" and explained()["values"] == {"x": 0.8}


def test_lists_definitions_and_targets_stay_though_nothing_uses_them_any_more(signs):  # noqa: F811
    given = {
        "define": {"large": "x > 0.5", "far": "large or x < -0.5"},
        "rules": [
            {"id": "a", "when": "large and z < 2", "then": {"label": "plus"}, "target": 0.9},
            {"id": "b", "when": "points(2 if far, 1 if z > 0) >= 2", "then": {"label": "minus"}},
        ],
    }
    labels = np.where(X["x"] > 0, "plus", "minus")
    whole = predictor_of(build(LogisticRegression(C=100).fit(X, labels), X, labels, name="s", version="1", rules=given))
    assert [whole.predict(each).rule for each in (RIGHT, WRONG)] == ["a", "b"]
    assert [without_rules(whole, ["a"]).predict(each).rule for each in (RIGHT, WRONG)] == ["b", "b"]
    made = without_rules(whole, ["a", "b"])
    assert [made.predict(each).tier for each in (RIGHT, WRONG)] == ["model", "model"]
    assert made.rules.to_document() == whole.rules.to_document()
