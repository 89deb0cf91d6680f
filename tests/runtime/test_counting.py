"""What a Predictor counts: every answered record once, on every path; and nothing that is nobody's traffic."""

import json
import zlib
from array import array
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
from runtime.test_rules_alone import CONFIG as RULES_ALONE
from runtime.test_rules_alone import bundle_of
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import edgeml
from edgeml.bundles import Bundle
from edgeml.errors import BundleError, SchemaError
from edgeml.monitor.drift_layout import MEMBER
from edgeml.runtime.counting import drift_layout, drift_monitor
from edgeml.runtime.engine import Engine
from edgeml.runtime.predictor import Predictor
from edgeml.serving.limits import Limits
from edgeml.serving.warm_up import checked_engine

GENTOO = {
    "bill_length_mm": 47.0,
    "bill_depth_mm": 15.0,
    "flipper_length_mm": 217.0,
    "body_mass_g": 5000,
    "island": "Biscoe",
    "sex": "male",
}
UNCLEAR = GENTOO | {"bill_depth_mm": 18.5, "flipper_length_mm": 195.0, "body_mass_g": 3700}


def watched(bundle, backend="auto"):
    """A predictor that counts, and its monitor."""
    predictor = Predictor.from_bundle(bundle, backend=backend)
    layout = drift_layout(bundle)
    assert layout is not None
    monitor = drift_monitor(layout, predictor)
    predictor.watch(monitor.counters)
    return predictor, monitor


def columns_of(monitor):
    """Name of each column -> its counts, as another process reads them."""
    document = monitor.document()
    block = array("q", zlib.decompress(b64decode(document["columns"]))).tolist()
    return {column.name: tuple(block[column.start : column.start + column.bins]) for column in monitor.layout.columns}


@pytest.mark.parametrize("backend", ["native", "c", "python"])
def test_every_path_counts_each_record_once(penguins_bundle, backend):
    predictor, monitor = watched(penguins_bundle, backend)
    line = json.dumps(UNCLEAR).encode()
    table = pd.DataFrame([UNCLEAR, GENTOO])
    body = json.dumps({"records": [UNCLEAR, GENTOO | {"sex": 3}, GENTOO], "partial": True}).encode()
    frame = predictor.reader.new_frame()
    predictor.reader.read_many(frame, [GENTOO, UNCLEAR, UNCLEAR])
    asked = 0
    for ask, records in (
        (lambda: predictor.predict(UNCLEAR), 1),
        (lambda: predictor.predict(GENTOO), 1),
        (lambda: predictor.predict_json_record(line), 1),
        (lambda: predictor.predict_json(b'{"records":[' + line + b"]}"), 1),
        (lambda: predictor.predict_json(body), 2),
        (lambda: predictor.predict_many([UNCLEAR, GENTOO]), 2),
        (lambda: predictor.predict_many([]), 0),
        (lambda: predictor.predict_many(table), 2),
        (lambda: predictor.predict_columns({name: table[name].to_numpy() for name in table}), 2),
        (lambda: predictor.predict_frame(frame), 3),
    ):
        before = columns_of(monitor)
        ask()
        asked += records
        counted = columns_of(monitor)
        for name, counts in counted.items():
            if name != "#confidence":  # which counts the model's rows alone
                assert sum(counts) - sum(before[name]) == records, name
        assert monitor.rows == asked
    rule, model, fallback = columns_of(monitor)["#tier"]
    assert (rule, model, fallback) == (6, 9, 0) and sum(columns_of(monitor)["#confidence"]) == model


def test_what_is_refused_is_not_counted(penguins_bundle):
    predictor, monitor = watched(penguins_bundle)
    for wrong in (GENTOO | {"sex": 3}, GENTOO | {"beak": 1}):
        with pytest.raises(SchemaError):
            predictor.predict(wrong)
        with pytest.raises(SchemaError):
            predictor.predict_many([GENTOO, wrong])
    assert monitor.rows == 0 and not any(map(any, columns_of(monitor).values()))


def test_golden_rows_and_warming_up_are_nobodys_traffic(penguins_bundle):
    engine = checked_engine(penguins_bundle, max_rows=Limits().rows)
    assert engine.drift is not None and engine.drift.rows == 0
    assert engine.golden_check().passed and engine.golden_check().rows > 0
    assert engine.watched()["drift"] is not None and engine.drift.rows == 0
    engine.predict(GENTOO)
    engine.predict_many([GENTOO, UNCLEAR])
    engine.infer({name: np.array([value]) for name, value in GENTOO.items()})
    assert engine.drift.rows == 4 and columns_of(engine.drift)["#tier"] == (3, 1, 0)


def test_an_engine_on_trial_again_goes_on_counting(penguins_bundle):
    engine = checked_engine(penguins_bundle, max_rows=10)
    engine.predict(GENTOO)
    again = Engine(engine.predictor, drift=engine.drift)
    again.predict(GENTOO)
    assert again.drift.rows == 2 and again.watched()["drift"]["birth"] == engine.watched()["drift"]["birth"]
    other = checked_engine(penguins_bundle, max_rows=10)
    assert other.watched()["drift"]["birth"] != engine.watched()["drift"]["birth"]
    assert other.watched()["drift"]["rows"] == 0


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("backend", ["native", "c"])
def test_the_reference_rows_count_as_the_reference(penguins, penguins_bundle, backend, one_by_one):
    """What the builder counted with numpy is what the kernel counts on the box."""
    for table, answered in ((penguins["X"], False), (penguins["held_out"][0], True)):
        predictor, monitor = watched(penguins_bundle, backend)
        if one_by_one:
            for record in table.to_dict("records"):
                predictor.predict({name: None if value != value else value for name, value in record.items()})
        else:
            predictor.predict_many(table)
        counted = columns_of(monitor)
        own = [column for column in monitor.layout.columns if (column.feature is None) == answered]
        assert len(own) == (3 if answered else 6)
        for column in own:
            assert counted[column.name] == column.reference, column.name


ROWS = np.array([[-2.0, 0.5], [-1.0, 0.1], [0.5, 0.2], [1.5, 0.9], [2.5, 0.3]] * 20)
RULES = [
    {"id": "left", "when": "x0 < -1.5", "then": {"label": 1}},
    {"id": "ask-the-model", "when": "x0 > 2", "then": "abstain"},
]
CLASSES = (ROWS[:, 0] > 0).astype(int)


@pytest.mark.parametrize(
    ("model", "y", "rules", "wanted"),
    [
        (LogisticRegression(), CLASSES, RULES, {"#tier", "#label", "#confidence"}),
        (LinearSVC(), CLASSES, RULES, {"#tier", "#label", "#confidence"}),
        (LinearRegression(), ROWS[:, 0] * 3, None, {"#tier", "#value"}),
        (LinearRegression(), ROWS * 3, None, {"#tier", "#value[0]", "#value[1]"}),
    ],
    ids=["probability", "decision", "regression", "several values"],
)
@pytest.mark.parametrize("backend", ["native", "c"])
def test_every_task_counts_its_answers(model, y, rules, wanted, backend):
    bundle = edgeml.build(model.fit(ROWS, y), ROWS, y, name="counted", version="1", rules=rules)
    reference = {column.name: column.reference for column in drift_layout(bundle).columns}
    assert {name for name in reference if name.startswith("#")} == wanted
    many, monitor = watched(bundle, backend)
    many.predict_many(ROWS)
    assert columns_of(monitor) == reference
    one, monitor = watched(bundle, backend)
    for row in ROWS:
        one.predict_row(row[None, :])
    assert columns_of(monitor) == reference
    plain, monitor = watched(bundle, backend)
    assert plain.predict_json_row(json.dumps(ROWS[0].tolist()).encode(), single=False) is not None
    assert plain.predict_json_row(b"[1]", single=False) is None and monitor.rows == 1
    assert not any(column.watched for column in monitor.layout.columns if column.feature is None)


def test_texts_are_counted_where_the_model_reads_them():
    texts = [f"the red ball number{i} is {'good' if i % 3 else 'bad'}" for i in range(60)]
    table, y = pd.DataFrame({"s": texts}), np.array([int(i % 3 > 0) for i in range(60)])
    pipeline = make_pipeline(ColumnTransformer([("t", CountVectorizer(), "s")]), LogisticRegression()).fit(table, y)
    predictor, monitor = watched(edgeml.build(pipeline, table, y, name="texts", version="1"))
    predictor.predict({"s": "the red ball"})
    predictor.predict_many([{"s": "the red ball"}, {"s": "Ganz andere Wörter"}])
    counted = columns_of(monitor)
    assert counted["s#words"] == (0, 0, 2, *[0] * 8, 1) and sum(counted["s"]) == sum(counted["#tier"]) == 3
    reference = next(column for column in monitor.layout.columns if column.name == "s#words")
    # One word of six is the row's own.
    assert reference.reference == (0, 0, 0, 60, *[0] * 8)


def test_rules_alone_count_and_fall_back():
    reference = {
        "format": 1,
        "rows": 4,
        "features": {"speed": {"kind": "number", "missing": 0, "edges": [0.0, 1.0, 3.0], "counts": [0, 2, 2, 0]}},
        "answers": {
            "held_out": True,
            "tiers": {"rule": 3, "model": 0, "fallback": 1},
            "label_counts": {"labels": ["close", "open"], "counts": [2, 2]},
        },
    }
    bundle = bundle_of(**{MEMBER: json.dumps(reference).encode()})
    predictor, monitor = watched(bundle)
    for speed in (0.1, 0.7, 1.5, 5.0):
        predictor.predict({"speed": speed})
    assert columns_of(monitor) == {"speed": (0, 0, 2, 1, 1), "#tier": (2, 0, 2), "#label": (0, 3, 1)}
    predictor.predict_many([{"speed": speed} for speed in (0.1, 0.7, 1.5, 5.0)])
    assert columns_of(monitor) == {"speed": (0, 0, 4, 2, 2), "#tier": (4, 0, 4), "#label": (0, 6, 2)}


def test_a_bundle_without_a_reference_is_not_watched():
    engine = checked_engine(bundle_of(), max_rows=10)
    engine.predict({"speed": 0.1})
    assert engine.drift is None and engine.watched()["drift"] is None


def test_a_reference_that_does_not_fit_is_refused_before_the_bundle_answers(penguins_bundle):
    members = penguins_bundle.members | {MEMBER: b'{"format":1,"rows":1,"features":{}}'}
    broken = Bundle.create(penguins_bundle.config, members)
    with pytest.raises(BundleError, match="reference.json: features, 'bill_length_mm'"):
        checked_engine(broken, max_rows=10)
    assert RULES_ALONE["task"] == "classification"
