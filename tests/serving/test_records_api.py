"""POST /v1/predict and its longer name: answers, refusals, partial answers, lines."""

import gzip
import json
import zlib

import pytest

import edgeml

NDJSON = {"Content-Type": "application/x-ndjson"}
MEMBERS = {"model", "version", "bundle", "predictions"}


@pytest.fixture(scope="module")
def predictor(penguins_path):
    return edgeml.load(penguins_path)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/models/penguins/predict"])
def test_answers_are_the_predictors_in_request_order(service, predictor, path, row, gentoo):
    records = [row, gentoo, row | {"sex": None}, gentoo]
    status, answer = service.post(path, {"records": records})
    assert status == 200
    assert set(answer) == MEMBERS
    assert (answer["model"], answer["version"], answer["bundle"]) == ("penguins", "1.0.0", predictor.digest)
    for record, got in zip(records, answer["predictions"], strict=True):
        expected = predictor.predict(record)
        assert got["label"] == expected.label
        assert got["tier"] == expected.tier
        assert got.get("rule") == expected.rule
        assert got.get("scores") == expected.scores
        assert len(got["id"]) == 27
        assert not {"degraded", "reason", "value", "bundle", "version"} & set(got)


def test_one_record(service, predictor, row, gentoo):
    for record in (row, gentoo, row):
        status, answer = service.post("/v1/predict", {"records": [record]})
        assert status == 200
        assert answer["predictions"][0]["label"] == predictor.predict(record).label
    assert answer["predictions"][0]["scores"] == predictor.predict(row).scores


def test_no_record(service):
    status, answer = service.post("/v1/predict", {"records": []})
    assert (status, answer["predictions"]) == (200, [])


def test_the_request_id_is_echoed_and_the_rest_accepted(service, row):
    request = {"id": 'ünï "1"', "unit": "box-7", "explain": True, "partial": False, "records": [row, row]}
    status, answer = service.post("/v1/predict", request)
    assert status == 200
    assert list(answer)[0] == "id" and answer["id"] == request["id"]


def test_headers_say_type_and_bundle(service, predictor, body):
    status, headers, _ = service.ask("POST", "/v1/predict", body, {"Content-Type": "application/json; charset=UTF-8"})
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert headers["Edgeml-Bundle"] == predictor.digest


def test_a_content_type_may_be_missing(service, body):
    assert service.post("/v1/predict", body, {"Content-Type": ""})[0] == 200


def test_a_violation_refuses_the_whole_request(service, row):
    status, answer = service.post("/v1/predict", {"records": [row, row | {"bill_length_mm": "long"}]})
    assert status == 400
    assert answer["code"] == "schema_violation"
    assert (answer["index"], answer["field"], answer["violation"]) == (1, "bill_length_mm", "wrong_type")
    assert "finite number" in answer["expected"] and "long" in answer["got"]
    assert "violations" not in answer and "predictions" not in answer


def test_all_violations_are_listed(service, row):
    status, answer = service.post(
        "/v1/predict", {"records": [row | {"island": 5}, {"wings": 2}, row | {"body_mass_g": -1}]}
    )
    assert status == 400
    assert [(each["index"], each["field"], each["violation"]) for each in answer["violations"]] == [
        (0, "island", "wrong_type"),
        (1, "wings", "unknown_field"),
        (2, "body_mass_g", "below_min"),
    ]


def test_partial_answers_keep_their_places(service, row, gentoo):
    records = [{"wings": 2}, row, row | {"island": 5, "sex": 5}, gentoo, 7]
    status, answer = service.post("/v1/predict", {"id": "p", "partial": True, "records": records})
    assert status == 200
    first, second, third, fourth, fifth = answer["predictions"]
    assert (first["code"], first["violation"], first["field"]) == ("schema_violation", "unknown_field", "wings")
    assert second["tier"] == "model" and fourth["tier"] == "rule"
    assert third["field"] == "island" and third["expected"] and third["got"] and "1 more" in third["error"]
    assert fifth["violation"] == "not_a_record"


def test_partial_with_nothing_good_and_nothing_bad(service, row):
    assert service.post("/v1/predict", {"partial": True, "records": [{"x": 1}]})[1]["predictions"][0]["error"]
    assert service.post("/v1/predict", {"partial": True, "records": [row]})[1]["predictions"][0]["label"]


def test_lines_in_lines_out(service, predictor, row, gentoo):
    lines = [json.dumps(row), "", json.dumps(gentoo), "broken", '{"wings": 2}', json.dumps(row)] + [
        json.dumps(gentoo)
    ] * 200
    status, headers, answer = service.ask("POST", "/v1/predict", "\n".join(lines).encode(), NDJSON)
    assert status == 200 and headers["Content-Type"] == "application/x-ndjson"
    got = [json.loads(line) for line in answer.splitlines()]
    assert len(got) == 205 and answer.endswith(b"\n")
    ids = [answer.pop("id") for answer in got if "id" in answer]
    assert len(set(ids)) == 203
    assert got[0] == {
        "label": predictor.predict(row).label,
        "scores": predictor.predict(row).scores,
        "tier": "model",
        "model": "penguins",
        "version": "1.0.0",
        "bundle": predictor.digest,
    }
    assert got[1]["rule"] == "gentoo-shallow-bill"
    assert got[2]["code"] == "invalid_json"
    assert got[3]["code"] == "schema_violation" and got[3]["field"] == "wings"
    assert got[4] == got[0]


def test_lines_may_be_none(service):
    assert service.ask("POST", "/v1/predict", b"\n\n", NDJSON)[::2] == (200, b"")


@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes), ("GZIP", gzip.compress)],
)
def test_compressed_bodies(service, body, coding, pack):
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    status, answer = service.post("/v1/predict", pack(body), headers)
    assert status == 200 and len(answer["predictions"]) == 1


def test_a_body_in_chunks(service, body):
    pieces = (body[start : start + 7] for start in range(0, len(body), 7))
    status, _, answer = service.ask("POST", "/v1/predict", pieces, {"Content-Type": "application/json"})
    assert status == 200 and json.loads(answer)["predictions"]
