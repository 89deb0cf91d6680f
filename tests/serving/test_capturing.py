"""What a data plane keeps of its traffic: which records, under which ids, and as the operator says at the moment."""

import json
import os
import random
import threading

import pytest
from serving.test_feedback import Plane as Asked

from edgeml.bundles.box_settings import change_settings
from edgeml.bundles.store import Store
from edgeml.monitor.capture_file import CaptureFile
from edgeml.monitor.capture_policy import CapturePolicy, Nobody, Sampler
from edgeml.monitor.capture_source import JsonRecords
from edgeml.runtime.engine import Engine
from edgeml.serving.capturing import FILE, KEY, Capturing
from edgeml.serving.limits import Limits
from edgeml.serving.warm_up import checked_engine, make_empty_plane


class Plane(Asked):
    """A data plane of a store, in this process; nobody looks at the settings unless a test does."""

    def __init__(self, bundle, root, **settings):
        self.root = root
        self.store = Store.create(root, keyring=None, allow_unsigned=True)
        self.said = []
        self.capturing = Capturing(root, say=self.said.append)
        self.set(**{"capture_share": 1.0, "capture_boost": 1.0} | settings)
        self.plane = make_empty_plane(Limits(), self.capturing)
        self.engine = checked_engine(bundle, max_rows=1000)
        self.plane.show({self.engine.name: self.engine}, {})

    def set(self, *, look=True, **settings):
        lists = {name: settings.pop(name) for name in ("excluded", "hashed", "open_fields") if name in settings}
        change_settings(self.store, settings, **lists, who="cli")
        if look:
            self.capturing.look()

    def rows(self):
        self.capturing.end()
        return list(CaptureFile(self.root / FILE).rows())


@pytest.fixture
def plane(penguins_bundle, tmp_path):
    return Plane(penguins_bundle, tmp_path / "store")


def test_what_is_captured_has_the_id_of_the_answer(plane, row, gentoo):
    records = [row, gentoo | {"island": None}, row | {"body_mass_g": 4000}]
    (one,) = plane.post("/v1/predict", {"records": [row]})[1]["predictions"]
    many = plane.post("/v1/models/penguins/predict", {"id": "x", "records": records})[1]["predictions"]
    lines = "\n".join(map(json.dumps, records)).encode()
    status, _, pieces = plane.plane.answer(environ("/v1/predict", lines, "application/x-ndjson"))
    told = [json.loads(line) for line in b"".join(pieces).splitlines()]
    rows = plane.rows()
    answers = [one, *many, *told]
    assert status == 200
    assert [each.id for each in rows] == [each["id"] for each in answers]
    assert [each.record for each in rows] == [row, *records, *records]
    assert [each.prediction.get("label") for each in rows] == [each["label"] for each in answers]
    assert [each.tier for each in rows] == [each["tier"] for each in answers]
    assert rows[0].prediction["scores"] == one["scores"]
    assert {(each.model, each.bundle, each.version, each.chance) for each in rows} == {
        ("penguins", plane.engine.digest, plane.engine.version, 1.0)
    }
    assert plane.capturing.document() == {"kept": 7, "dropped": 0, "labels": 0, "lost_labels": 0}


def test_explanations_change_nothing_of_what_is_captured(plane, row, gentoo):
    for records in ([row], [gentoo, row]):
        asked = {"records": records, "explain": True}
        given = plane.post("/v1/predict", asked)[1]["predictions"]
        assert all(each["explanation"] for each in given)
        last = given[-1]["id"]
    rows = plane.rows()
    assert [each.record for each in rows] == [row, gentoo, row] and rows[-1].id == last
    assert all("explanation" not in each.prediction for each in rows)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/predict/", "/v1/models/penguins/predict/"])
def test_lines_are_given_as_they_are_made_by_whatever_path(plane, row, path):
    lines = (json.dumps(row) + "\n").encode() * 2000
    status, headers, pieces = plane.plane.answer(environ(path, lines, "application/x-ndjson"))
    assert status == 200 and ("content-type", "application/x-ndjson") in [(a.lower(), b) for a, b in headers]
    assert not isinstance(pieces, bytes)
    first = next(iter(pieces))
    assert 0 < first.count(b"\n") < 2000
    assert (first + b"".join(pieces)).count(b"\n") == 2000


def environ(path, body, kind="application/json"):
    return {
        "PATH_INFO": path,
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": kind,
        "CONTENT_LENGTH": str(len(body)),
        "edgeml.body": body,
    }


def test_refused_records_are_not_captured(plane, row):
    bad = row | {"body_mass_g": "heavy"}
    said = plane.post("/v1/predict", {"partial": True, "records": [bad, row, bad, row | {"body_mass_g": 5000}, bad]})
    assert plane.post("/v1/predict", {"records": [bad]})[0] == 400
    lines = "\n".join(map(json.dumps, [bad, row])).encode()
    _, _, pieces = plane.plane.answer(environ("/v1/predict", lines, "application/x-ndjson"))
    last = json.loads(b"".join(pieces).splitlines()[1])
    rows = plane.rows()
    assert [each.record["body_mass_g"] for each in rows] == [3700, 5000, 3700]
    given = said[1]["predictions"]
    assert [each.id for each in rows] == [given[1]["id"], given[3]["id"], last["id"]]


def test_infer_requests_are_captured_by_the_names_of_the_features(plane, row):
    kinds = {float: "FP64", int: "FP64", str: "BYTES"}
    inputs = [
        {"name": name, "shape": [2, 1], "datatype": kinds[type(value)], "data": [value, value]}
        for name, value in row.items()
    ]
    inputs[0]["data"][1] = None
    status, said = plane.post("/v2/models/penguins/infer", {"inputs": inputs})
    rows = plane.rows()
    assert status == 200
    assert [each.record for each in rows] == [row, row | {"bill_length_mm": None}]
    assert [each.prediction["label"] for each in rows] == said["outputs"][0]["data"]
    assert len({each.id for each in rows}) == 2


@pytest.mark.parametrize("shape", ["one", "again", "chosen", "many"])
def test_rows_of_numbers_are_captured_by_name(numbers_bundle, tmp_path, shape):
    plane = Plane(numbers_bundle, tmp_path / "store")
    names = [each.name for each in plane.engine.predictor.schema.features]
    data = [[float(place) for place in range(len(names))], [0.5] * len(names)]
    sent = data[:1] if shape != "many" else data
    document = {
        "inputs": [{"name": "input", "shape": [len(sent), len(names)], "datatype": "FP64", "data": sum(sent, [])}]
    }
    if shape == "chosen":
        document["outputs"] = [{"name": "tier"}]
    path = f"/v2/models/{plane.engine.name}/infer"
    expected = [dict(zip(names, each, strict=True)) for each in sent]
    for _ in range(2 if shape == "again" else 1):
        assert plane.post(path, document)[0] == 200
    rows = plane.rows()
    assert [each.record for each in rows] == expected * (2 if shape == "again" else 1)
    assert len({each.id for each in rows}) == len(rows)


@pytest.fixture(scope="session")
def numbers_bundle():
    """A bundle of numbers alone: whole rows come in one tensor."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    import edgeml

    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = ["a", "b", "c", "d"]
    return edgeml.build(pipeline=LogisticRegression(max_iter=500).fit(X, y), X=X, y=y, name="iris", version="1")


def test_labels_join_and_those_that_are_refused_do_not(plane, row):
    first, second, third = plane.ids(row, row, row)
    plane.post("/v1/feedback", {"id": first, "label": "Gentoo"})
    plane.post("/v1/feedback", {"id": first, "label": "Adelie"})  # a duplicate
    plane.post("/v1/feedback", {"id": second, "label": "Penguin"})  # there is none
    said = {"partial": True, "feedback": [{"id": third, "label": "Chinstrap"}, {"id": second[:-1], "label": "Adelie"}]}
    plane.post("/v1/feedback", said)
    rows = plane.rows()
    assert [each.label for each in rows] == ["Gentoo", None, "Chinstrap"]
    assert plane.capturing.document()["labels"] == 2


def test_nothing_is_there_where_capture_is_off(penguins_bundle, tmp_path, row):
    plane = Plane(penguins_bundle, tmp_path / "store", capture_share=0.0)
    assert isinstance(plane.capturing.sampler, Nobody)
    plane.post("/v1/feedback", {"id": plane.ids(row)[0], "label": "Gentoo"})
    assert plane.rows() == [] and not (plane.root / FILE).exists() and not (plane.root / KEY).exists()
    assert plane.capturing.document() == {"kept": 0, "dropped": 0, "labels": 0, "lost_labels": 0}


def test_a_change_counts_without_a_restart_and_counts_go_on(plane, row):
    plane.ids(row)
    plane.set(capture_share=0.0)
    plane.ids(row, row)
    plane.set(capture_share=1.0, excluded=["sex"])
    plane.ids(row, row, row)
    rows = plane.rows()
    # What waited when it was turned off was dropped.
    assert [set(row) - set(each.record) for each in rows] == [{"sex"}] * 3
    assert plane.capturing.document() == {"kept": 3, "dropped": 1, "labels": 0, "lost_labels": 0}


def test_what_waits_is_written_down_by_the_new_settings_or_not_at_all(plane, row):
    plane.ids(row)
    plane.set(capture_boost=2.0)
    plane.ids(row)
    plane.set(hashed=["island"])
    plane.ids(row)
    rows = plane.rows()
    assert [each.record["island"][:5] for each in rows] == ["Bisco", "hash:"]


def test_private_fields_never_reach_the_disk(penguins_bundle, tmp_path, row):
    plane = Plane(penguins_bundle, tmp_path / "store", excluded=["sex"], hashed=["island", "body_mass_g"])
    plane.ids(*[row | {"sex": "female", "body_mass_g": 6123}] * 50)
    tensors = [{"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "FP64", "data": [value]}
               for name, value in (row | {"body_mass_g": 6123, "sex": "female"}).items()]  # fmt: skip
    plane.post("/v2/models/penguins/infer", {"inputs": tensors})
    kept = list(plane.rows())
    written = b"".join(path.read_bytes() for path in plane.root.glob("capture*"))
    assert (
        b"female" not in written
        and b"Biscoe" not in written
        and b'"body_mass_g":6' not in written
        and b'"body_mass_g":"hash:' in written
    )
    # The same value has the same hash, whatever it came in; the key is for nobody else.
    assert len({(each.record["island"], each.record["body_mass_g"]) for each in kept}) == 1 and len(kept) == 51
    for name in (FILE, KEY):
        assert (plane.root / name).stat().st_mode & 0o777 == 0o600


def test_the_key_is_made_once(penguins_bundle, tmp_path, row):
    plane = Plane(penguins_bundle, tmp_path / "store", hashed=["island"])
    plane.ids(row)
    (before,) = plane.rows()
    key = (plane.root / KEY).read_bytes()
    other = Capturing(plane.root)
    plane.plane.capturing.look()
    other.look()
    again = make_empty_plane(Limits(), other)
    again.show({"penguins": plane.engine}, {})
    again.answer(environ("/v1/predict", json.dumps({"records": [row]}).encode()))
    other.end()
    first, second = CaptureFile(plane.root / FILE).rows()
    assert first == before and first.record["island"] == second.record["island"]
    assert (plane.root / KEY).read_bytes() == key and len(key) == 32


@pytest.mark.parametrize("name", ["settings.json", KEY])
def test_what_is_damaged_turns_capture_off_and_is_said_once(penguins_bundle, tmp_path, row, name):
    plane = Plane(penguins_bundle, tmp_path / "store", hashed=["island"])
    good = (plane.root / name).read_bytes()
    (plane.root / name).write_bytes(b"{")
    plane.set(look=False, capture_boost=2.0) if name == KEY else None
    for _ in range(3):
        plane.capturing.look()
    assert plane.post("/v1/predict", {"records": [row]})[0] == 200
    assert "damaged" in plane.capturing.failure and len(plane.said) == 1 and name in plane.said[0]
    assert plane.capturing.document()["kept"] == 0
    (plane.root / name).write_bytes(good)
    plane.capturing.look()
    assert plane.capturing.failure == ""
    plane.ids(row)
    assert len(plane.rows()) == 1


def test_a_disk_that_refuses_costs_no_answer_and_comes_back(plane, row):
    os.mkdir(plane.root / FILE)  # what SQLite cannot open
    ids = plane.ids(row, row)
    plane.post("/v1/feedback", {"id": ids[0], "label": "Gentoo"})
    plane.capturing._capture.flush()
    plane.capturing.look()
    assert plane.capturing.document() == {"kept": 0, "dropped": 2, "labels": 0, "lost_labels": 1}
    assert "unable to open" in plane.said[0]
    os.rmdir(plane.root / FILE)
    plane.ids(row)
    assert len(plane.rows()) == 1


def test_many_threads_lose_no_record(plane, row):
    """Where every record is to be kept every one is, though threads take off at once."""

    def ask():
        for _ in range(200):
            plane.ids(row)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({each.id for each in plane.rows()}) == 1600


@pytest.mark.parametrize("n", [1, 2])
def test_records_that_are_taken_off_while_one_is_chosen_count(n):
    """Between the choice of a record and the draw of the next gap another thread takes ten off."""

    def draw():
        if sampler is not None:
            sampler.left -= 10
        return 0.5

    sampler = None
    sampler = Sampler(CapturePolicy(share=0.1, boost=1.0), draw)
    gap = sampler.left
    sampler._drawn.clear()
    sampler.left = -n
    assert len(sampler.choose(n)) == 1
    assert (sampler.left - gap - 1 + n) % 10 == 0 and sampler.left < -1000


@pytest.mark.parametrize("chance", [1.0, 0.3])
def test_a_candidate_of_a_thread_that_comes_late_is_not_lost(chance):
    """Two threads take off one record each before either asks; as many are chosen as when they ask in turn."""
    policy = CapturePolicy(share=chance, boost=1.0)
    together, inturn = (Sampler(policy, random.Random(7).random) for _ in range(2))
    chosen = [0, 0]
    for _ in range(2000):
        together.left -= 1
        together.left -= 1
        for _ in range(2):
            chosen[0] += len(together.choose(1)) if together.left < 0 or together._owed else 0
            inturn.left -= 1
            chosen[1] += len(inturn.choose(1)) if inturn.left < 0 else 0
    assert chosen[0] == pytest.approx(chosen[1], abs=1) and chosen[1] > 1000


@pytest.mark.parametrize(
    "body",
    [
        b'{"records":[{"a":1},{"a":"]}"},{"a":null}]}',
        b' {\n"id" : "records" , "partial":true,"records" : [ {"a":1} , {"a":"]}"}\t,{"a":null} ] , "unit":"u" } ',
    ],
)
def test_a_body_is_read_record_by_record_as_json_is(body):
    assert list(JsonRecords(body).records()) == json.loads(body)["records"]
    assert list(JsonRecords(body, refused=[1]).records()) == [{"a": 1}, {"a": None}]
    assert list(JsonRecords(b'{"records":[]}').records()) == []


def test_what_one_engine_counted_is_never_told_of_another(plane, row):
    first, second = plane.engine, Engine(plane.engine.predictor)
    ids = plane.ids(row, row)
    plane.post("/v1/feedback", {"id": ids[0], "label": "Gentoo"})
    plane.capturing._capture.flush()
    assert plane.capturing.counted(first) == {"kept": 2, "dropped": 0, "labels": 1}
    plane.ids(row)
    plane.set(capture_boost=3.0)  # another Capture counts from here on
    assert plane.capturing.counted(first) == {"kept": 3, "dropped": 0, "labels": 1}
    assert plane.capturing.counted(second) == {"kept": 0, "dropped": 0, "labels": 0}
    plane.plane.show({"penguins": second}, {})
    plane.ids(row, row)
    plane.capturing.end()
    assert plane.capturing.counted(second) == {"kept": 2, "dropped": 0, "labels": 0}


def test_engines_of_the_same_model_share_the_ring(plane, row):
    plane.ids(row)
    engine = Engine(plane.engine.predictor)
    plane.plane.show({"penguins": engine, "other": plane.engine}, {})
    assert plane.post("/v1/models/penguins/predict", {"records": [row]})[0] == 200
    assert plane.post("/v1/models/other/predict", {"records": [row]})[0] == 200
    assert len(plane.rows()) == 3
