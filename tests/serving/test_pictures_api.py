"""A service whose records are pictures: records, lines, tensors, its documents, and what of it is captured."""

import base64
import hashlib
import json
import struct

import numpy as np
import pytest
from runtime.image_samples import data, disks, file_of, png_header
from serving.running import Running
from serving.test_capturing import Plane

from edgeml.runtime import image_reader

PICTURES, COLOURS = data()
FILES = [file_of(each, "JPEG", quality=95) if at % 2 else file_of(each) for at, each in enumerate(PICTURES[:6])]
TEXTS = [base64.b64encode(each).decode() for each in FILES]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    path = tmp_path_factory.mktemp("disks") / "disks.edgeml"
    disks().save(path)
    running = Running(path, "--max-body", "200000")
    yield running
    status, errors = running.stop()
    assert (status, errors) == (0, "")


def post(service, path, document):
    status, _, body = service.ask("POST", path, json.dumps(document), {"Content-Type": "application/json"})
    return status, json.loads(body)


def labels(answer):
    return [each["label"] for each in answer["predictions"]]


def test_records(pictures):
    status, answer = post(pictures, "/v1/predict", {"records": [{"image": each} for each in TEXTS]})
    assert status == 200 and labels(answer) == list(COLOURS[:6])
    dark = base64.b64encode(file_of(np.zeros((5, 5), np.uint8))).decode()
    status, answer = post(pictures, "/v1/models/disks/predict", {"records": [{"image": dark}]})
    assert answer["predictions"][0]["rule"] == "dark"


def test_rules_over_pictures_are_explained_and_models_say_why_not(pictures):
    dark = base64.b64encode(file_of(np.zeros((5, 5), np.uint8))).decode()
    records = [{"image": TEXTS[0]}, {"image": dark}]
    status, answer = post(pictures, "/v1/predict", {"records": records, "explain": True})
    model, rule = (each["explanation"] for each in answer["predictions"])
    assert status == 200 and model == {"contributions": None, "reason": "the model reads a picture"}
    assert rule["rule"] == "dark" and list(rule["values"].values()) == [0.0]


def test_lines(pictures):
    body = "\n".join(json.dumps({"image": each}) for each in [TEXTS[0], "?", TEXTS[1]])
    status, _, body = pictures.ask("POST", "/v1/predict", body, {"Content-Type": "application/x-ndjson"})
    one, wrong, two = map(json.loads, body.splitlines())
    assert status == 200 and [one["label"], two["label"]] == list(COLOURS[:2])
    assert wrong["field"] == "image" and wrong["violation"] == "not_base64"


@pytest.mark.parametrize(
    "image, violation",
    [
        ("?", "not_base64"),
        (base64.b64encode(b"no picture").decode(), "not_a_picture"),
        (base64.b64encode(png_header(65535, 65535)).decode(), "too_many_pixels"),
        (7, "wrong_type"),
    ],
)
def test_what_is_wrong_is_a_400_that_names_the_field(pictures, image, violation):
    status, answer = post(pictures, "/v1/predict", {"records": [{"image": TEXTS[0]}, {"image": image}]})
    assert status == 400
    assert (answer["field"], answer["violation"], answer["index"]) == ("image", violation, 1)
    assert "PNG or JPEG" in answer["expected"] or "at most 40000 pixels" in answer["expected"]


def test_what_is_wrong_is_counted_by_field_and_reason(tmp_path):
    plane = Plane(disks(), tmp_path / "store")
    for image in ("?", "?", base64.b64encode(b"no picture").decode()):
        assert plane.post("/v1/predict", {"records": [{"image": image}]})[0] == 400
    counted = plane.engine.validation.document()["fields"]
    assert counted == {"image": {"not_base64": 2, "not_a_picture": 1}}


def test_too_many_pixels_in_all_are_a_413(tmp_path, monkeypatch):
    monkeypatch.setattr(image_reader, "MAX_DECODED_PIXELS", 1000)
    plane = Plane(disks(), tmp_path / "store")
    status, answer = plane.post("/v1/predict", {"records": [{"image": each} for each in TEXTS]})
    assert (status, answer["code"], answer["field"]) == (413, "too_many_pixels", "image")


def test_tensors(pictures):
    levels = np.stack(PICTURES[:2])
    inputs = [
        {"name": "image", "datatype": "UINT8", "shape": list(levels.shape), "data": levels.ravel().tolist()},
        {"name": "image", "datatype": "UINT8", "shape": list(levels.shape), "data": levels.tolist()},
        {"name": "image", "datatype": "BYTES", "shape": [2], "data": TEXTS[:2]},
    ]
    for given in inputs:
        status, answer = post(pictures, "/v2/models/disks/infer", {"inputs": [given]})
        outputs = {each["name"]: each["data"] for each in answer["outputs"]}
        assert status == 200 and outputs["label"] == list(COLOURS[:2])


@pytest.mark.parametrize(
    "given, code",
    [
        ({"name": "image", "datatype": "FP32", "shape": [1, 2, 2, 1], "data": [0] * 4}, "bad_shape"),
        ({"name": "image", "datatype": "UINT8", "shape": [4], "data": [0] * 4}, "bad_shape"),
        ({"name": "image", "datatype": "BYTES", "shape": [1], "data": ["?"]}, "schema_violation"),
        ({"name": "image", "datatype": "UINT8", "shape": [1, 2, 2, 2], "data": [0] * 8}, "schema_violation"),
        ({"name": "input", "datatype": "FP64", "shape": [1, 18], "data": [0] * 18}, "bad_shape"),
        ({"name": "image.red_1", "datatype": "FP64", "shape": [1], "data": [0]}, "unknown_input"),
    ],
)
def test_tensors_that_are_no_pictures(pictures, given, code):
    status, answer = post(pictures, "/v2/models/disks/infer", {"inputs": [given]})
    assert (status, answer["code"]) == (400, code)


def test_documents(pictures):
    assert pictures.get("/v2/models/disks")[1]["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    record = pictures.get("/openapi.json")[1]["components"]["schemas"]["Record"]
    assert record["properties"]["image"]["contentEncoding"] == "base64"
    assert record["required"] == ["image"] and list(record["properties"]) == ["image"]


def test_of_a_picture_a_digest_is_captured(tmp_path):
    plane = Plane(disks(), tmp_path / "store")
    plane.post("/v1/predict", {"records": [{"image": each} for each in TEXTS[:2]]})
    levels = PICTURES[0]
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *levels.shape], "data": levels.ravel().tolist()}
    plane.post("/v2/models/disks/infer", {"inputs": [tensor]})
    kept = [row.record["image"] for row in plane.rows()]
    assert kept == [
        f"sha256:{hashlib.sha256(each).hexdigest()} ({len(each)} bytes)" for each in (*FILES[:2], levels.tobytes())
    ]


@pytest.mark.parametrize("setting", ["excluded", "hashed"])
def test_a_private_picture_has_no_digest(tmp_path, setting):
    plane = Plane(disks(), tmp_path / "store", **{setting: ["image"]})
    plane.post("/v1/predict", {"records": [{"image": TEXTS[0]}]})
    (row,) = plane.rows()
    assert hashlib.sha256(FILES[0]).hexdigest() not in json.dumps(row.record)
    assert row.record.keys() == ({"image"} if setting == "hashed" else set())


def test_hostile_files_end_no_process(pictures):
    random = np.random.default_rng(0)
    for _ in range(60):
        file = bytearray(FILES[int(random.integers(6))])
        for at in random.integers(8, len(file), 3):
            file[at] = random.integers(256)
        status, _ = post(pictures, "/v1/predict", {"records": [{"image": base64.b64encode(file).decode()}]})
        assert status in (200, 400)
    chunk = struct.pack(">I", 2**31 - 1) + b"zTXt" + b"\x00" * 40
    file = FILES[0][:33] + chunk + FILES[0][33:]
    assert post(pictures, "/v1/predict", {"records": [{"image": base64.b64encode(file).decode()}]})[0] == 400
