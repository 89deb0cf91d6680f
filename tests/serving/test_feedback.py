"""POST /v1/feedback: labels find the answers that they are for, once, also after a restart."""

import json
import threading

import pytest
from serving.running import Running

from edgeml.kernels.quality_counters import QualityCounters
from edgeml.monitor.prediction_id import read_prediction_id
from edgeml.monitor.recent_answers import REMEMBERED
from edgeml.runtime.engine import Engine
from edgeml.serving.feedback import MOST_ITEMS
from edgeml.serving.limits import Limits
from edgeml.serving.warm_up import checked_engine, make_data_plane

OTHER = QualityCounters(["a"], ["r"], b"\x01\x02\x03\x04")


def other_id():
    """The id of a bundle that nobody has."""
    return OTHER.id_of_rule("r")[7:34].decode()


class Plane:
    """A data plane in this process, whose counts can be seen."""

    def __init__(self, bundle):
        self.plane = make_data_plane(bundle, Limits())
        self.engine = next(iter(self.plane.shown.engines.values()))

    def post(self, path, document, kind="application/json"):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        status, _, answer = self.plane.answer(
            {
                "PATH_INFO": path,
                "REQUEST_METHOD": "POST",
                "CONTENT_TYPE": kind,
                "CONTENT_LENGTH": str(len(body)),
                "edgeml.body": body,
            }
        )
        return status, json.loads(answer if isinstance(answer, bytes) else b"".join(answer))

    def ids(self, *records):
        return [each["id"] for each in self.post("/v1/predict", {"records": list(records)})[1]["predictions"]]

    @property
    def feedback(self):
        return self.engine.quality.document()["feedback"]


@pytest.fixture
def plane(penguins_bundle):
    return Plane(penguins_bundle)


def test_one_label(service, row):
    (answer,) = service.post("/v1/predict", {"records": [row]})[1]["predictions"]
    item = {"id": answer["id"], "label": "Gentoo"}
    assert service.post("/v1/feedback", item) == (200, {"status": "accepted"})
    assert service.post("/v1/feedback", item) == (200, {"status": "duplicate"})
    assert service.post("/v1/feedback", item | {"label": "Adelie"}) == (200, {"status": "duplicate"})


def test_labels_of_lines(service, row, gentoo):
    lines = "\n".join(map(json.dumps, [row, gentoo])).encode()
    _, _, answer = service.ask("POST", "/v1/predict", lines, {"Content-Type": "application/x-ndjson"})
    items = [{"id": json.loads(line)["id"], "label": "Gentoo"} for line in answer.splitlines()]
    status, answer = service.post("/v1/feedback", {"feedback": items})
    assert (status, answer) == (200, {"feedback": [{"status": "accepted"}] * 2})


def test_ids_say_who_answered(plane, row, gentoo):
    model, rule = map(read_prediction_id, plane.ids(row, gentoo))
    answer = plane.engine.predictor.predict(row)
    assert (model.tier, plane.engine.predictor.labels[model.index]) == ("model", answer.label)
    assert model.chance == pytest.approx(max(answer.scores.values()), abs=1e-4)
    assert rule.tier == "rule"
    assert plane.engine.predictor.rules.rules[rule.index].id == "gentoo-shallow-bill"
    assert model.bundle == rule.bundle == bytes.fromhex(plane.engine.digest[7:15])
    assert model.number != rule.number


def test_labels_are_counted_by_tier_label_and_rule(plane, row, gentoo):
    labels = list(plane.engine.predictor.labels)
    given = labels.index(plane.engine.predictor.predict(row).label)
    ids = plane.ids(row, row, gentoo, gentoo)
    trues = [labels[given], "Gentoo", "Gentoo", "Adelie"]
    items = [{"id": each, "label": true} for each, true in zip(ids, trues, strict=True)]
    assert plane.post("/v1/feedback", {"feedback": items})[0] == 200
    feedback, rule = plane.feedback, str(read_prediction_id(ids[2]).index)
    assert feedback["tiers"] == {"model": [2, 1], "rule": [2, 1]}
    assert feedback["rules"] == {rule: [2, 1]}
    assert feedback["confusion"] == {
        f"model,{given},{given}": 1,
        f"model,{given},{labels.index('Gentoo')}": 1,
        f"rule,{labels.index('Gentoo')},{labels.index('Gentoo')}": 1,
        f"rule,{labels.index('Gentoo')},{labels.index('Adelie')}": 1,
    }
    assert sum(n for n, _, _ in feedback["reliability"]) == 2


def test_labels_come_after_a_restart(penguins_path, row, gentoo):
    first = Running(penguins_path)
    answers = first.post("/v1/predict", {"records": [row, gentoo]})[1]["predictions"]
    assert first.stop()[0] == 0
    second = Running(penguins_path)
    try:
        items = [{"id": each["id"], "label": "Gentoo"} for each in answers]
        status, answer = second.post("/v1/feedback", {"feedback": items})
        assert (status, answer) == (200, {"feedback": [{"status": "accepted"}] * 2})
    finally:
        second.stop()


def test_a_label_for_a_bundle_that_is_not_loaded_is_said_and_counted(plane, row):
    items = [{"id": other_id(), "label": "anything"}, {"id": plane.ids(row)[0], "label": "Gentoo"}]
    assert plane.post("/v1/feedback", items[0]) == (200, {"status": "unknown_bundle"})
    status, answer = plane.post("/v1/feedback", {"feedback": items})
    assert (status, answer) == (200, {"feedback": [{"status": "unknown_bundle"}, {"status": "accepted"}]})
    assert plane.plane.labels.unknown_bundles == 2
    assert plane.feedback["tiers"] == {"model": [1, 0]}


def test_a_bundle_that_answers_no_more_but_is_kept_takes_labels(plane, penguins_bundle, row):
    (late,) = plane.ids(row)
    plane.plane.show({}, {"penguins": "it is being exchanged"})
    assert plane.post("/v1/feedback", {"id": late, "label": "Gentoo"}) == (200, {"status": "accepted"})
    assert plane.feedback["tiers"] == {"model": [1, 0]}
    # Loaded again, the bundle has another engine: the one that is shown counts.
    again = checked_engine(penguins_bundle, max_rows=10)
    plane.plane.show({"penguins": again}, {})
    assert plane.post("/v1/feedback", {"id": late, "label": "Gentoo"}) == (200, {"status": "duplicate"})
    assert plane.post("/v1/feedback", {"id": plane.ids(row)[0], "label": "Gentoo"})[1] == {"status": "accepted"}
    assert again.quality.document()["feedback"]["tiers"] == {"model": [1, 0]}


def test_one_that_is_wrong_refuses_all(plane, row):
    good, bad = plane.ids(row, row)
    items = [{"id": good, "label": "Gentoo"}, {"id": bad, "label": "Emperor"}]
    status, answer = plane.post("/v1/feedback", {"feedback": items})
    assert status == 400
    assert (answer["code"], answer["field"], answer["index"]) == ("bad_label", "label", 1)
    assert "feedback 1: label: expected one of 'Adelie', 'Chinstrap', 'Gentoo', got 'Emperor'" in answer["error"]
    assert plane.feedback["tiers"] == {}
    status, answer = plane.post("/v1/feedback", {"feedback": items, "partial": True})
    assert status == 200
    assert answer["feedback"][0] == {"status": "accepted"}
    assert (answer["feedback"][1]["code"], answer["feedback"][1]["field"]) == ("bad_label", "label")
    assert plane.feedback["tiers"] == {"model": [1, 0]}


WRONG = [
    (b"[", "invalid_json", None),
    (b"\xff", "invalid_json", None),
    ([], "bad_envelope", None),
    ({}, "bad_id", "id"),
    ({"id": 7, "label": "Gentoo"}, "bad_id", "id"),
    ({"id": "x", "label": "Gentoo"}, "bad_id", "id"),
    ({"id": "ID", "label": 7}, "bad_label", "label"),
    ({"id": "ID"}, "bad_label", "label"),
    ({"id": "ID", "value": 7.5}, "bad_label", "label"),
    ({"id": "ID", "label": "Gentoo", "tier": "rule"}, "unknown_member", "tier"),
    ({"feedback": {}}, "bad_envelope", "feedback"),
    ({"feedback": [], "partial": 1}, "bad_envelope", "partial"),
    ({"feedback": [], "id": "ID"}, "unknown_member", "id"),
    ({"feedback": [7]}, "bad_envelope", None),
]


@pytest.mark.parametrize(("document", "code", "field"), WRONG)
def test_what_is_wrong_is_refused_by_name(plane, row, document, code, field):
    if isinstance(document, dict) and document.get("id") == "ID" and "feedback" not in document:
        document = document | {"id": plane.ids(row)[0]}
    status, answer = plane.post("/v1/feedback", document)
    assert (status, answer["code"], answer.get("field")) == (400, code, field)
    assert plane.feedback["tiers"] == {}


def test_an_id_of_the_bundle_with_a_label_that_it_has_not_is_refused(plane):
    prefix = plane.engine.quality.bundle
    strange = QualityCounters(list("abcdef"), [f"r{n}" for n in range(99)], prefix)
    for opening in (strange.id_of_model("f", None), strange.id_of_rule("r98"), strange.id_of_value(1.0)):
        item = {"id": opening[7:34].decode(), "label": "Gentoo"}
        status, answer = plane.post("/v1/feedback", item)
        assert (status, answer["code"], answer["field"]) == (400, "bad_id", "id")


def test_too_many_and_other_types_are_refused(plane):
    status, answer = plane.post("/v1/feedback", {"feedback": [{}] * (MOST_ITEMS + 1)})
    assert (status, answer["code"]) == (413, "too_many_records")
    status, answer = plane.post("/v1/feedback", {}, "application/x-ndjson")
    assert (status, answer["code"]) == (415, "unsupported_media_type")


def test_a_label_counts_once_from_many_threads(plane, row):
    items = [{"id": each, "label": "Gentoo"} for each in plane.ids(*[row] * 50)]
    statuses = []

    def send():
        _, answer = plane.post("/v1/feedback", {"feedback": items})
        statuses.extend(each["status"] for each in answer["feedback"])

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count("accepted"), statuses.count("duplicate")) == (50, 150)
    assert plane.feedback["tiers"] == {"model": [50, 0]}


def test_the_bound_of_what_is_remembered(plane, row):
    (first,) = plane.ids(row)
    assert plane.post("/v1/feedback", {"id": first, "label": "Gentoo"})[1] == {"status": "accepted"}
    counters = plane.engine.quality.counters
    for start in range(0, REMEMBERED, MOST_ITEMS):
        count = min(MOST_ITEMS, REMEMBERED - start)
        items = [{"id": counters.id_of_fallback()[7:34].decode(), "label": "Adelie"} for _ in range(count)]
        assert plane.post("/v1/feedback", {"feedback": items})[0] == 200
    assert plane.post("/v1/feedback", {"id": first, "label": "Gentoo"})[1] == {"status": "accepted"}
    assert plane.feedback["tiers"]["fallback"][0] == REMEMBERED


def test_stats_show_labels_for_unknown_bundles(service):
    before = service.get("/v1/stats")[1]["feedback"]["unknown_bundle"]
    service.post("/v1/feedback", {"id": other_id(), "label": 1})
    assert service.get("/v1/stats")[1]["feedback"]["unknown_bundle"] == before + 1


@pytest.fixture(scope="module")
def regression():
    import numpy as np
    from sklearn.linear_model import LinearRegression

    import edgeml

    rng = np.random.default_rng(0)
    X = rng.random((200, 2))
    one, two = 3 * X[:, 0] + X[:, 1], np.column_stack([X[:, 0], X[:, 1]])
    rules = [{"id": "low", "when": "x0 < 0.05", "then": {"value": 1.5}}]
    return [
        edgeml.build(LinearRegression().fit(X, y), X, y, name="r", version="1", rules=given)
        for y, given in ((one, rules), (two, None))
    ]


def test_errors_of_a_regression(regression):
    plane = Plane(regression[0])
    records = [{"x0": 0.5, "x1": 0.5}, {"x0": 0.01, "x1": 0.5}]
    answers = plane.post("/v1/predict", {"records": records})[1]["predictions"]
    assert [each["tier"] for each in answers] == ["model", "rule"]
    items = [{"id": each["id"], "value": each["value"] + 0.25} for each in answers]
    assert plane.post("/v1/feedback", {"feedback": items})[0] == 200
    for tier in ("model", "rule"):
        assert plane.feedback["errors"][tier] == pytest.approx([1, 0.25, 0.0625], abs=1e-6)


@pytest.mark.parametrize(
    "item", [{"value": "7"}, {"value": True}, {"value": None}, {"value": 1e39}, {"label": 7}, {}, {"value": 10**400}]
)
def test_values_that_are_none_are_refused(regression, item):
    plane = Plane(regression[0])
    (answer,) = plane.post("/v1/predict", {"records": [{"x0": 0.5, "x1": 0.5}]})[1]["predictions"]
    status, refusal = plane.post("/v1/feedback", {"id": answer["id"]} | item)
    assert status == 400 and (refusal.get("field"), refusal["code"]) in {("value", "bad_value"), (None, "invalid_json")}
    assert plane.feedback["errors"] == {}


def test_several_numbers_at_once_take_no_feedback(regression):
    plane = Plane(regression[1])
    (answer,) = plane.post("/v1/predict", {"records": [{"x0": 0.5, "x1": 0.5}]})[1]["predictions"]
    assert len(answer["value"]) == 2
    status, refusal = plane.post("/v1/feedback", {"id": answer["id"], "value": 1.0})
    assert (status, refusal["code"]) == (400, "bad_value") and "several numbers" in refusal["error"]


def test_the_id_of_a_label_is_no_id_of_a_number(regression):
    plane = Plane(regression[0])
    strange = QualityCounters(["a"], [], plane.engine.quality.bundle)
    for made in (strange.id_of_model("a", None), strange.id_of_middle("a")):
        item = {"id": made[7:34].decode(), "value": 1.0}
        assert plane.post("/v1/feedback", item)[1]["code"] == "bad_id"
    assert plane.feedback["errors"] == {}


def test_engines_that_were_made_by_hand_write_ids_too(penguins_bundle, row):
    import edgeml
    from edgeml.serving.records import Voice

    engine = Engine(edgeml.Predictor.from_bundle(penguins_bundle))
    written = json.loads(Voice(engine.predictor, engine.quality).prediction(engine.predict(row)))
    assert read_prediction_id(written["id"]).bundle == bytes.fromhex(penguins_bundle.digest[7:15])
