"""Quality of answers on real data: the estimate without labels against numpy and against the truth; labels by id."""

import json

import numpy as np
import pytest
from oracles.cbpe_oracle import calibrated, estimate
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

import edgeml
from edgeml.bundles import Bundle
from edgeml.errors import BundleError, RequestError
from edgeml.monitor.prediction_id import read_prediction_id
from edgeml.monitor.quality import Quality
from edgeml.monitor.quality_report import quality_report
from edgeml.runtime.answer_quality import AnswerQuality
from edgeml.runtime.engine import Engine

MODELS = {
    # Its scores crowd at 0 and 1: calibration has something to do.
    "cancer": (load_breast_cancer, GaussianNB(), None),
    "cancer with rules": (
        load_breast_cancer,
        GaussianNB(),
        [
            {"id": "large", "when": "x20 > 20", "then": {"label": 0}},
            {"id": "never", "when": "x0 > 1e9", "then": {"label": 1}},
        ],
    ),
    "digits": (load_digits, RandomForestClassifier(40, random_state=0), None),
    "logistic": (load_digits, LogisticRegression(max_iter=3000), None),
    # Decisions, which are no probabilities before calibration.
    "decisions": (load_digits, LinearSVC(random_state=0), None),
}


def parts_of(load):
    """Rows to learn from, rows held out, and rows that nobody has seen when the bundle is built."""
    X, y = load(return_X_y=True)
    order = np.random.default_rng(7).permutation(len(X))
    parts = np.array_split(order, 3)
    return [(X[part], y[part]) for part in parts]


class Made:
    def __init__(self, name):
        load, estimator, rules = MODELS[name]
        (X, y), held_out, self.fresh = parts_of(load)
        features = {f"x{column}": {"min": None, "max": None} for column in range(X.shape[1])}
        self.bundle = edgeml.build(
            estimator.fit(X, y), X, y, name="m", version="1", held_out=held_out, rules=rules, features=features
        )
        self.reference = json.loads(self.bundle.members["reference.json"])["quality"]

    def engine(self):
        predictor = edgeml.Predictor.from_bundle(self.bundle)
        return Engine(predictor, quality=AnswerQuality.of(predictor, self.bundle))


@pytest.fixture(scope="module")
def made():
    kept = {}
    return lambda name: kept.setdefault(name, None) or kept.update({name: Made(name)}) or kept[name]


@pytest.mark.parametrize("name", ["cancer", "digits", "logistic", "decisions"])
def test_the_estimate_is_that_of_numpy_row_by_row(made, name):
    model = made(name)
    engine = model.engine()
    answers = engine.predict_matrix(model.fresh[0])
    chances = calibrated(answers.scores, model.reference["calibration"]["maps"])
    expected = estimate(chances, answers.label_index)
    got = quality_report(model.reference, Quality.from_document(engine.quality.document()))["estimated"]
    # Each probability is rounded to 2**-30 when it is added.
    assert got["accuracy"]["value"] == pytest.approx(expected["accuracy"], abs=1e-9)
    for label, measures in zip(engine.predictor.labels, expected["labels"], strict=True):
        for measure, value in measures.items():
            assert got["by_label"][str(label)][measure]["value"] == pytest.approx(value, abs=2e-9), (label, measure)
    for measure in ("precision", "recall", "f1"):
        mean = np.mean([each[measure] for each in expected["labels"]])
        assert got["macro"][measure]["value"] == pytest.approx(mean, abs=2e-9)


@pytest.mark.parametrize("name", MODELS)
def test_the_truth_is_within_the_interval(made, name):
    model = made(name)
    engine = model.engine()
    X, y = model.fresh
    answers = engine.predict_matrix(X)
    given = np.array(answers.label_list())
    report = quality_report(model.reference, Quality.from_document(engine.quality.document()))
    got = report["estimated"]
    assert report["notes"] == [] and got["left_out"] == 0 and got["rows"] == len(X)
    accuracy = (given == y).mean()
    assert got["accuracy"]["low"] <= accuracy <= got["accuracy"]["high"]
    assert got["accuracy"]["high"] - got["accuracy"]["low"] < 0.25
    for label in engine.predictor.labels:
        figures = got["by_label"][str(label)]
        right = ((given == label) & (y == label)).sum()
        truths = {
            "precision": right / (given == label).sum(),
            "recall": right / (y == label).sum(),
            "f1": 2 * right / ((given == label).sum() + (y == label).sum()),
        }
        for measure, truth in truths.items():
            assert figures[measure]["low"] - 1e-12 <= truth <= figures[measure]["high"] + 1e-12, (label, measure)
    assert report["reference"]["measures"]["overall"]["accuracy"] == pytest.approx(accuracy, abs=0.1)


def test_the_estimate_follows_the_truth_to_harder_rows(made):
    """Noise makes digits harder to read; the scores say so, and without a label the estimate falls with the truth."""
    model = made("logistic")
    X, y = model.fresh
    noisy = np.clip(X + np.random.default_rng(3).normal(0, 4, X.shape), 0, 16)
    found = []
    for rows in (X, noisy):
        engine = model.engine()
        truth = (np.array(engine.predict_matrix(rows).label_list()) == y).mean()
        counts = Quality.from_document(engine.quality.document())
        found.append((truth, quality_report(model.reference, counts)["estimated"]["accuracy"]["value"]))
    (truth, estimated), (hard_truth, hard_estimate) = found
    assert truth - hard_truth > 0.05
    assert estimated - hard_estimate > 0.3 * (truth - hard_truth)


def test_without_held_out_rows_the_estimate_says_that_it_is_too_kind():
    (X, y), _, fresh = parts_of(load_digits)
    bundle = edgeml.build(RandomForestClassifier(40, random_state=0).fit(X, y), X, y, name="m", version="1")
    reference = json.loads(bundle.members["reference.json"])["quality"]
    predictor = edgeml.Predictor.from_bundle(bundle)
    engine = Engine(predictor, quality=AnswerQuality.of(predictor, bundle))
    engine.predict_matrix(np.clip(fresh[0], X.min(axis=0), X.max(axis=0)))
    assert reference["held_out"] is False
    report = quality_report(reference, Quality.from_document(engine.quality.document()))
    assert report["estimated"]["rows"] == len(fresh[0])
    assert len(report["notes"]) == 1 and "held_out" in report["notes"][0]


def test_single_records_rows_of_json_and_batches_count_alike(penguins_bundle):
    predictor = edgeml.Predictor.from_bundle(penguins_bundle)
    records = [row["record"] for row in predictor.golden]
    documents = []
    for ask in (
        lambda engine: [engine.predict(record) for record in records],
        lambda engine: [engine.predict_json_record(json.dumps(record).encode()) for record in records],
        lambda engine: [engine.predict_json(json.dumps({"records": [record]}).encode()) for record in records],
        lambda engine: engine.predict_json(json.dumps({"records": records}).encode()),
        lambda engine: engine.predict_many(records),
    ):
        engine = Engine(predictor, quality=AnswerQuality.of(predictor, penguins_bundle))
        ask(engine)
        documents.append(engine.quality.document())
    assert documents[0]["labels"][0][0] and sum(documents[0]["rules"])
    for document in documents[1:]:
        assert document["rules"] == documents[0]["rules"]
        assert [label[0] for label in document["labels"]] == [label[0] for label in documents[0]["labels"]]
        # A batch keeps scores in single precision where one record has them in double.
        np.testing.assert_allclose(document["labels"], documents[0]["labels"], rtol=1e-6)


def test_a_fallback_counts_with_the_shares_of_all_known_labels(made):
    model = made("cancer")
    engine = model.engine()
    engine.quality.counters.count_fallback(1_000)
    got = quality_report(model.reference, Quality.from_document(engine.quality.document()))["estimated"]
    prior = model.reference["prior"]
    assert got["accuracy"]["value"] == pytest.approx(prior["true"][prior["label"]] / sum(prior["true"]))
    assert set(got["by_tier"]) == {"fallback"}


def test_a_rule_without_known_rows_is_left_out(made):
    model = made("cancer with rules")
    engine = model.engine()
    engine.predict_matrix(model.fresh[0])
    engine.quality.counters.count_rules(np.array([1] * 5, dtype=np.int32))
    report = quality_report(model.reference, Quality.from_document(engine.quality.document()))
    assert report["estimated"]["left_out"] == 5
    assert "5 answers are left out" in report["notes"][0]
    assert set(report["estimated"]["by_tier"]) == {"rule", "model"}


def id_of(engine, answer):
    counters = engine.quality.counters
    if answer.tier == "rule":
        opening = counters.id_of_rule(answer.rule)
    elif answer.value is not None:
        opening = counters.id_of_value(answer.value)
    else:
        opening = counters.id_of_model(answer.label, answer.scores)
    return read_prediction_id(opening[7:34].decode())


def test_labels_make_realised_quality_by_tier_label_and_rule(made):
    model = made("cancer with rules")
    engine = model.engine()
    X, y = model.fresh
    answers = list(engine.predict_matrix(X))
    for answer, truth in zip(answers, y.tolist(), strict=True):
        engine.quality.judge(id_of(engine, answer), {"label": truth})()
    report = quality_report(model.reference, Quality.from_document(engine.quality.document()))
    realised = report["realised"]
    given = np.array([answer.label for answer in answers])
    by_rule = np.array([answer.tier == "rule" for answer in answers])
    assert realised["rows"] == len(y)
    assert realised["accuracy"]["value"] == (given == y).mean()
    assert realised["by_tier"]["rule"]["value"] == (given == y)[by_rule].mean()
    assert realised["by_tier"]["model"]["rows"] == (~by_rule).sum()
    assert realised["by_rule"]["large"]["rows"] == by_rule.sum()
    for label in (0, 1):
        figures = realised["by_label"][str(label)]
        assert figures["recall"]["value"] == (given == y)[y == label].mean()
        assert figures["precision"]["value"] == (given == y)[given == label].mean()
        for figure in figures.values():
            assert figure["low"] <= figure["value"] <= figure["high"]
    agreement = report["agreement"]
    assert agreement["agrees"] and agreement["rows"] == (~by_rule).sum()
    assert sum(part["rows"] for part in agreement["reliability"]) == agreement["rows"]


def test_when_what_is_true_changes_the_estimate_is_contradicted(made):
    """Concept drift: the same inputs, other truths. The estimate cannot see it; the labels do."""
    model = made("cancer")
    engine = model.engine()
    X, y = model.fresh
    changed = np.where(np.random.default_rng(1).random(len(y)) < 0.4, 1 - y, y)
    for answer, truth in zip(list(engine.predict_matrix(X)), changed.tolist(), strict=True):
        engine.quality.judge(id_of(engine, answer), {"label": truth})()
    report = quality_report(model.reference, Quality.from_document(engine.quality.document()))
    assert report["estimated"]["accuracy"]["value"] > 0.85
    assert report["agreement"]["agrees"] is False


def test_a_regression_has_errors_by_tier_and_no_estimate():
    (X, y), held_out, fresh = parts_of(load_diabetes)
    features = {f"x{column}": {"min": None, "max": None} for column in range(X.shape[1])}
    bundle = edgeml.build(
        LinearRegression().fit(X, y), X, y, name="m", version="1", held_out=held_out, features=features
    )
    reference = json.loads(bundle.members["reference.json"])["quality"]
    predictor = edgeml.Predictor.from_bundle(bundle)
    engine = Engine(predictor, quality=AnswerQuality.of(predictor, bundle))
    answers = list(engine.predict_matrix(fresh[0]))
    for answer, truth in zip(answers, fresh[1].tolist(), strict=True):
        engine.quality.judge(id_of(engine, answer), {"value": truth})()
    report = quality_report(reference, Quality.from_document(engine.quality.document()))
    error = np.array([answer.value for answer in answers]) - fresh[1]
    got = report["realised"]["by_tier"]["model"]
    # Ids hold values in single precision.
    assert got["mean_absolute_error"] == pytest.approx(np.abs(error).mean(), rel=1e-6)
    assert got["root_mean_squared_error"] == pytest.approx(np.sqrt(np.square(error).mean()), rel=1e-6)
    assert report["estimated"] is None and "numbers" in report["notes"][0]
    measured = report["reference"]["by_tier"]["model"]
    assert measured["rows"] == len(held_out[1])
    assert measured["mean_absolute_error"] == pytest.approx(got["mean_absolute_error"], rel=0.3)


@pytest.mark.parametrize(
    ("item", "code"),
    [({"label": "x"}, "bad_label"), ({"label": True}, "bad_label"), ({"label": [1]}, "bad_label"), ({}, "bad_label"),
     ({"value": 1.0}, "bad_label"), ({"label": 1, "value": 1.0}, "bad_label")],
)  # fmt: skip
def test_a_label_that_there_is_not_is_refused_with_those_that_there_are(made, item, code):
    engine = made("cancer").engine()
    answer = id_of(engine, engine.predict_row(made("cancer").fresh[0][:1]))
    with pytest.raises(RequestError, match="expected one of 0, 1") as caught:
        engine.quality.judge(answer, item)
    assert (caught.value.code, caught.value.field) == (code, "label")
    assert engine.quality.document()["feedback"]["tiers"] == {}


def test_counts_of_another_bundle_are_refused(made):
    counts = Quality.from_document(made("cancer").engine().quality.document())
    with pytest.raises(ValueError, match="another bundle"):
        quality_report(made("digits").reference, counts)


def test_without_a_reference_there_is_no_estimate_and_labels_still_count(made):
    predictor = edgeml.Predictor.from_bundle(made("cancer").bundle)
    engine = Engine(predictor)
    answer = engine.predict_row(made("cancer").fresh[0][:1])
    engine.quality.judge(id_of(engine, answer), {"label": answer.label})()
    report = quality_report(None, Quality.from_document(engine.quality.document()))
    assert report["estimated"] is None and "known answers" in report["notes"][0]
    assert report["realised"]["accuracy"]["value"] == 1.0


@pytest.mark.parametrize(
    "breaks",
    [
        lambda quality: quality.pop("calibration"),
        lambda quality: quality.update(labels=[0, 1]),
        lambda quality: quality.update(rules=[{"id": "x"}]),
        lambda quality: quality["calibration"].update(maps=[{"edges": [1, 0], "values": [0.1, 0.2, 0.3]}] * 10),
        lambda quality: quality["calibration"].update(maps=7),
    ],
)
def test_a_reference_that_does_not_fit_is_refused(made, breaks):
    bundle = made("digits").bundle
    reference = json.loads(bundle.members["reference.json"])
    breaks(reference["quality"])
    changed = Bundle.create(bundle.config, {**bundle.members, "reference.json": json.dumps(reference).encode()})
    with pytest.raises(BundleError, match=r"reference\.json: quality"):
        AnswerQuality.of(edgeml.Predictor.from_bundle(changed), changed)


def test_afresh_counts_from_nothing(made):
    engine = made("cancer").engine()
    engine.predict_matrix(made("cancer").fresh[0])
    assert sum(label[0] for label in engine.quality.document()["labels"])
    assert engine.quality.afresh().document() == made("cancer").engine().quality.document()
