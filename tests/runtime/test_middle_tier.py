"""The middle tier on the request path: who answers, the same one by one and at once, counted, and never believed."""

import io
import json
import random

import msgspec
import numpy as np
import pandas as pd
import pytest
from runtime.middle_samples import LABELS, arguments, records_of, table

import edgeml
from edgeml.bundles import Bundle
from edgeml.errors import BundleError
from edgeml.monitor.counted import Answered
from edgeml.monitor.drift_layout import Layout
from edgeml.monitor.prediction_id import read_prediction_id
from edgeml.monitor.quality import Quality
from edgeml.monitor.quality_report import quality_report
from edgeml.runtime.answer_quality import AnswerQuality
from edgeml.runtime.counting import drift_layout, drift_monitor
from edgeml.runtime.engine import Engine
from edgeml.runtime.explanation import Explainer
from edgeml.runtime.explanation_budget import CONDITION, SPENT, Allowance
from edgeml.runtime.load import predictor_without_model
from edgeml.runtime.members import reference_of
from edgeml.runtime.predictor import Predictor
from edgeml.serving import Limits, make_data_plane
from edgeml.serving.capturing import Capturing, Tap
from edgeml.serving.records import Voice, answer_records

MIDDLE_MEMBERS = [f"middle.{name}" for name in ("features.json", "features.npy", "kernel.json", "kernel.npy")]


@pytest.fixture(scope="module")
def given():
    return arguments()


@pytest.fixture(scope="module")
def bundle(given):
    return edgeml.build(**given)


@pytest.fixture(scope="module")
def records():
    rows = records_of(table(150, 3)[0])
    rows[0]["where"], rows[1]["remark"] = "elsewhere", ""
    return rows


def frame_of(records):
    """The records as the training data were."""
    columns = {name: pd.Series([record[name] for record in records], dtype=object) for name in records[0]}
    return pd.DataFrame(columns).astype({"weight": float})


def test_the_small_pipeline_answers_where_it_is_sure(bundle, given, records):
    predictor = Predictor.from_bundle(bundle)
    threshold = bundle.config["middle"]["threshold"]
    X = frame_of(records)
    small, full = given["middle"]["pipeline"].predict_proba(X), given["pipeline"].predict_proba(X)
    tiers = set()
    for record, sure, slow in zip(records, small, full, strict=True):
        answer = predictor.predict(record)
        tiers.add(answer.tier)
        if "opec" in record["remark"].split():
            assert answer.tier == "rule"
            continue
        scores = sure if sure.max() >= threshold else slow
        assert answer.tier == ("middle" if sure.max() >= threshold else "model")
        assert answer.label == LABELS[scores.argmax()] and not answer.degraded
        assert list(answer.scores.values()) == pytest.approx(scores, abs=1e-6)
    assert tiers == {"rule", "middle", "model"}


def test_it_is_explained_beside_a_model_that_gives_labels_alone(bundle, records):
    predictor = Predictor.from_bundle(bundle)
    explainer = Explainer(predictor)
    predictor.outputs = msgspec.structs.replace(
        predictor.outputs, scores=None, decision="label", label_values=[0, 1, 2]
    )
    answers = [(record, predictor.predict(record)) for record in records]
    record, answer = next(pair for pair in answers if pair[1].tier == "middle")
    said = explainer.of_record(record, answer, Allowance())
    assert said["of"] == answer.label and said["contributions"] and "reason" not in said


@pytest.mark.parametrize("backend", ["native", "c"])
def test_tensors_have_scores_whoever_answers(bundle, records, backend):
    """Which outputs an inference answer has hangs on the bundle, and not on whether its model was asked."""
    engine = Engine(Predictor.from_bundle(bundle, backend=backend))
    answers = [engine.predict(record) for record in records]
    for tier in ("rule", "middle", "model"):
        rows = [at for at, answer in enumerate(answers) if answer.tier == tier][:3]
        given = {name: np.array([records[at][name] for at in rows], dtype=object) for name in records[0]}
        outputs = engine.infer(given).outputs
        assert list(outputs) == ["label", "scores", "tier"] and outputs["scores"].shape == (len(rows), len(LABELS))
        assert outputs["tier"].tolist() == [tier] * len(rows)
        for at, row in zip(rows, outputs["scores"].tolist(), strict=True):
            wanted = [np.nan] * len(LABELS) if tier == "rule" else list(answers[at].scores.values())
            assert row == pytest.approx(wanted, nan_ok=True, abs=1e-6)


@pytest.mark.parametrize("backend", ["native", "c"])
def test_one_by_one_as_in_a_batch(bundle, records, backend):
    predictor = Predictor.from_bundle(bundle, backend=backend)
    batch = predictor.predict_many(records)
    assert list(batch) == [predictor.predict(record) for record in records]
    lines = [predictor.predict_json_record(json.dumps(record).encode()) for record in records]
    assert lines == list(batch)
    _, several = predictor.predict_json(json.dumps({"records": records}).encode())
    assert list(several) == list(batch)
    assert batch.tier_counts()["middle"] == sum(answer.tier == "middle" for answer in batch) > 10
    assert sum(batch.tier_counts().values()) == len(records)


def test_the_counters_of_one_and_of_many_agree(bundle, records):
    blocks, documents = [], []
    for at_once in (False, True):
        predictor = Predictor.from_bundle(bundle)
        drift = drift_monitor(drift_layout(bundle), predictor)
        engine = Engine(predictor, drift=drift, quality=AnswerQuality.of(predictor, bundle))
        if at_once:
            engine.predict_many(records)
        else:
            for record in records:
                engine.predict(record)
        blocks.append(drift.counters.snapshot()[1])
        documents.append(engine.watched()["quality"])
        counted = Answered.from_document(engine.watched() | {"quality": documents[-1]})
        tiers = predictor.predict_many(records).tier_counts()
        assert counted.answers == tiers
        column = next(each for each in drift.layout.columns if each.name == "#tier")
        own = np.frombuffer(blocks[-1], dtype=np.int64)[column.start : column.start + column.bins]
        assert dict(zip(column.bin_names, own.tolist(), strict=True)) == tiers
    assert blocks[0] == blocks[1] and documents[0] == documents[1]
    assert sum(documents[0]["middle"].values()) == tiers["middle"]


def test_its_part_of_the_estimate_is_what_was_measured(bundle, records):
    predictor = Predictor.from_bundle(bundle)
    engine = Engine(predictor, quality=AnswerQuality.of(predictor, bundle))
    answers = engine.predict_many(records)
    reference = reference_of(bundle)["quality"]
    report = quality_report(reference, Quality.from_document(engine.watched()["quality"]))
    shares = [known[index] / sum(known) for index, known in enumerate(reference["middle"])]
    given = [LABELS.index(answer.label) for answer in answers if answer.tier == "middle"]
    assert report["estimated"]["by_tier"]["middle"]["value"] == pytest.approx(np.mean([shares[i] for i in given]))
    assert report["estimated"]["rows"] == len(records) and report["estimated"]["left_out"] == 0


def test_what_was_kept_before_there_was_a_middle_tier_is_still_read(penguins_bundle):
    predictor = Predictor.from_bundle(penguins_bundle)
    document = AnswerQuality.of(predictor, penguins_bundle).document()
    old = {key: value for key, value in document.items() if key != "middle"}
    assert Quality.from_document(old).add(Quality.from_document(document)).middle == {}
    column = next(each for each in drift_layout(penguins_bundle).columns if each.name == "#tier")
    assert column.bin_names == ("rule", "model", "fallback")
    reference = reference_of(penguins_bundle)
    assert "middle" not in reference["answers"]["tiers"] and "middle" not in penguins_bundle.config["tiers"]
    with pytest.raises(ValueError, match="middle"):
        Quality.from_document(document | {"middle": {"x": 1}})


def test_its_ids_take_labels(bundle, records):
    predictor = Predictor.from_bundle(bundle)
    quality = AnswerQuality.of(predictor, bundle)
    answer = next(each for each in predictor.predict_many(records) if each.tier == "middle")
    written = quality.counters.id_of_middle(answer.label)
    said = read_prediction_id(json.loads(written[:-1] + b"}")["id"])
    assert (said.tier, said.index, said.chance) == ("middle", LABELS.index(answer.label), None)
    quality.judge(said, {"label": answer.label})()
    assert quality.document()["feedback"]["tiers"] == {"middle": [1, 1]}
    with pytest.raises(ValueError, match="labels"):
        quality.counters.id_of_middle("nobody")


def test_tensors_have_its_scores(bundle, records):
    predictor = Predictor.from_bundle(bundle)
    answers = predictor.predict_many(records)
    weights = [np.nan if record["weight"] is None else record["weight"] for record in records]
    columns = {"weight": np.array(weights), "where": np.array([record["where"] for record in records], dtype=object)}
    columns["remark"] = np.array([record["remark"] for record in records], dtype=object)
    outputs = Engine(predictor).infer(columns).outputs
    assert outputs["tier"].tolist() == [answer.tier for answer in answers]
    for row, answer in zip(outputs["scores"], answers, strict=True):
        if answer.tier != "rule":
            assert row.tolist() == pytest.approx(list(answer.scores.values()))


def test_it_is_served_and_named(bundle, records):
    engine = make_data_plane(bundle, Limits()).engine()
    tap = Tap(Capturing(), engine, str)
    voice = Voice(engine.predictor, engine.quality)
    _, _, body = answer_records(engine, voice, json.dumps({"records": records}).encode(), tap)
    answers = engine.predictor.predict_many(records)
    for said, answer in zip(json.loads(body)["predictions"], answers, strict=True):
        assert (said["tier"], said["label"], said.get("scores")) == (answer.tier, answer.label, answer.scores)
        assert read_prediction_id(said["id"]).tier == answer.tier


def test_lines_of_one_request_share_what_explaining_may_cost(bundle, monkeypatch):
    engine = make_data_plane(bundle, Limits()).engine()
    voice, tap = Voice(engine.predictor, engine.quality), Tap(Capturing(), engine, str)
    line = json.dumps({"weight": 1, "where": None, "remark": "opec"}).encode()
    b"".join(voice.lines(engine, [line], tap, explain=True))  # the rule is taken apart once, and kept
    monkeypatch.setattr("edgeml.serving.records.Allowance", lambda: Allowance(2 * CONDITION))
    for _ in range(2):
        said = b"".join(voice.lines(engine, [line] * 3, tap, explain=True)).splitlines()
        explained = [json.loads(each)["explanation"] for each in said]
        assert [each.get("found") for each in explained] == [{"remark": ["opec"]}] * 2 + [None]
        assert explained[2]["reason"] == SPENT


def test_golden_rows_stand_on_both_sides_of_the_threshold(bundle):
    rows = [json.loads(line) for line in bundle.members["golden.jsonl"].splitlines()]
    predictor = Predictor.from_bundle(bundle)
    assert {row["expected"]["tier"] for row in rows} == {"rule", "middle", "model"}
    scores = predictor.predict_many([row["record"] for row in rows]).middle_scores.max(axis=1)
    distance = scores - bundle.config["middle"]["threshold"]
    assert np.nanmin(np.abs(distance)) > 2 * bundle.config["tolerance"]
    assert np.nanmin(distance[distance > 0]) < 0.1 and np.nanmax(distance[distance < 0]) > -0.1
    assert predictor.golden_check().passed


def test_where_the_model_is_left_out_so_is_the_middle_tier(bundle, records):
    predictor = predictor_without_model(bundle, "it ended the process")
    tiers = {predictor.predict(record).tier for record in records}
    assert tiers == {"rule", "fallback"} and predictor.golden_check().passed


def changed(bundle, members=None, **config):
    kept = {name: data for name, data in (dict(bundle.members) | (members or {})).items() if data is not None}
    settings = {key: value for key, value in (dict(bundle.config) | config).items() if value is not None}
    return Bundle.create(settings, kept)


@pytest.mark.parametrize("name", MIDDLE_MEMBERS)
def test_a_missing_member_is_named(bundle, name):
    with pytest.raises(BundleError, match=name):
        Predictor.from_bundle(changed(bundle, {name: None}))


@pytest.mark.parametrize("threshold", [None, "0.9", True, -0.1, 1.5, 1e999])
def test_a_threshold_that_is_none_is_refused(bundle, threshold):
    middle = {"threshold": 2.0 if threshold == 1e999 else threshold}
    with pytest.raises(BundleError, match="threshold must be a number from 0 to 1"):
        Predictor.from_bundle(changed(bundle, middle=middle))


def test_members_without_a_threshold_are_refused(bundle):
    with pytest.raises(BundleError, match="middle.features.json: the config has no member middle"):
        Predictor.from_bundle(changed(bundle, middle=None))


def test_a_kernel_of_other_labels_is_refused(bundle, penguins_bundle):
    stolen = {f"middle.{name}": penguins_bundle.members[name] for name in ("kernel.json", "kernel.npy")}
    with pytest.raises(BundleError, match="bundle member middle.kernel.json"):
        Predictor.from_bundle(changed(bundle, stolen))


def test_a_regression_has_none(bundle):
    with pytest.raises(BundleError, match="only a classification"):
        Predictor.from_bundle(changed(bundle, task="clustering"))


def test_damaged_members_are_refused_or_answer(bundle, records):
    """Bytes and numbers are changed at random; whatever loads answers each record, without harm."""
    seeded = random.Random(7)
    loaded = refused = 0
    for turn in range(150):
        name = seeded.choice([name for name in bundle.members if name.startswith("middle.")])
        damaged = bytearray(bundle.members[name])
        if name.endswith(".json") and turn % 2:
            digits = [at for at, byte in enumerate(damaged) if chr(byte).isdigit()]
            for at in seeded.sample(digits, k=min(2, len(digits))):
                damaged[at] = ord(seeded.choice("0123456789-"))
        elif name.endswith(".npy") and turn % 2:
            array = np.load(io.BytesIO(bytes(damaged)))
            array[seeded.randrange(len(array))] = seeded.choice([np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0])
            stream = io.BytesIO()
            np.save(stream, array)
            damaged = bytearray(stream.getvalue())
        else:
            damaged[seeded.randrange(len(damaged))] = seeded.randrange(256)
        try:
            predictor = Predictor.from_bundle(changed(bundle, {name: bytes(damaged)}))
        except BundleError as error:
            refused += 1
            assert "middle" in str(error), (name, error)
            continue
        loaded += 1
        batch = predictor.predict_many(records[:10])
        assert repr(list(batch)) == repr([predictor.predict(record) for record in records[:10]])
        assert set(batch.label_list()) <= set(LABELS)
    assert loaded > 10 and refused > 10


def test_a_reference_without_the_tier_counts_it_as_the_models(bundle, records):
    reference = reference_of(bundle)
    del reference["answers"]["tiers"]["middle"]
    predictor = Predictor.from_bundle(bundle)
    monitor = drift_monitor(Layout.of(reference, bundle.config["schema"]), predictor)
    predictor.watch(monitor.counters)
    tiers = predictor.predict_many(records).tier_counts()
    for record in records:
        predictor.predict(record)
    column = next(each for each in monitor.layout.columns if each.name == "#tier")
    block = np.frombuffer(monitor.counters.snapshot()[1], dtype=np.int64)
    expected = [2 * tiers["rule"], 2 * (tiers["model"] + tiers["middle"]), 0]
    assert block[column.start : column.start + 3].tolist() == expected


def test_without_one_nothing_is_there(penguins_bundle):
    assert not [name for name in penguins_bundle.members if name.startswith("middle.")]
    predictor = Predictor.from_bundle(penguins_bundle)
    assert predictor.middle is None and "middle" not in penguins_bundle.config
    assert predictor.predict_many([{"sex": None} | dict.fromkeys(predictor.schema.slots)]).middle_scores is None
