"""``"explain": true`` over HTTP: the same answers in the same order, each with its reasons."""

import json
import random

import pytest
from serving.running import Running
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import edgeml
from edgeml.errors import EdgemlError
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema
from edgeml.serving.records import records_of

NDJSON = {"Content-Type": "application/x-ndjson"}


def adds_up(said):
    total = said["baseline"] + said["rest"] + sum(each["contribution"] for each in said["contributions"])
    return total == pytest.approx(said["sum"], abs=1e-9)


def asked(service, records, **members):
    status, answer = service.post("/v1/predict", {"records": records, **members})
    assert status == 200
    return answer


def test_each_answer_says_why(service, row, gentoo):
    records = [row, gentoo, row | {"sex": None}, gentoo]
    plain = asked(service, records)["predictions"]
    answer = asked(service, records, explain=True, id="ünï", unit="box-7")
    assert answer["id"] == "ünï"
    for without, got in zip(plain, answer["predictions"], strict=True):
        said = got.pop("explanation")
        assert got.pop("id") and without.pop("id")
        assert got == without
        if got["tier"] == "rule":
            assert said["rule"] == got["rule"] == "gentoo-shallow-bill" and said["note"]
            assert said["when"] == "bill_depth_mm < 17 and flipper_length_mm > 206"
            assert said["values"] == {"bill_depth_mm": 15.0, "flipper_length_mm": 217.0}
        else:
            assert said["of"] == got["label"] and said["scale"] == "log-ratio" and adds_up(said)
            assert {each["feature"] for each in said["contributions"]} <= set(row)
            assert all(each["value"] == row[each["feature"]] for each in said["contributions"][:3])


def test_nothing_is_said_unasked(service, row, gentoo):
    for members in ({}, {"explain": False}):
        answer = asked(service, [row, gentoo], **members)
        assert not any("explanation" in each for each in answer["predictions"])


def test_one_record(service, row, gentoo):
    for record in (row, gentoo):
        (got,) = asked(service, [record], explain=True)["predictions"]
        assert got["explanation"]["rule" if got["tier"] == "rule" else "contributions"]
    assert asked(service, [], explain=True)["predictions"] == []


def test_partial_answers_are_explained_in_their_places(service, row, gentoo):
    records = [{"wings": 2}, gentoo, row | {"island": 5}, row, 7]
    first, second, third, fourth, fifth = asked(service, records, explain=True, partial=True)["predictions"]
    assert "explanation" not in first and "explanation" not in third and "explanation" not in fifth
    assert second["explanation"]["values"]["flipper_length_mm"] == 217.0
    assert fourth["explanation"]["of"] == fourth["label"]


def test_lines_are_explained_by_the_query(service, row, gentoo):
    body = "\n".join(map(json.dumps, [row, gentoo, {"wings": 2}, gentoo])).encode()
    for path in ("/v1/predict?explain=true", "/v1/models/penguins/predict?x=1&explain=true"):
        status, _, answer = service.ask("POST", path, body, NDJSON)
        first, second, third, fourth = map(json.loads, answer.splitlines())
        assert status == 200 and adds_up(first["explanation"]) and first["bundle"].startswith("sha256:")
        assert second["explanation"] == fourth["explanation"] and second["explanation"]["rule"]
        assert third["code"] == "schema_violation" and "explanation" not in third
    for path in ("/v1/predict", "/v1/predict?explain=false", "/v1/predict?explains=1"):
        assert b"explanation" not in service.ask("POST", path, body, NDJSON)[2]
    for query in ("explain=yes", "explain=", "explain=true&explain=false"):
        status, _, answer = service.ask("POST", f"/v1/predict?{query}", body, NDJSON)
        assert status == 400 and json.loads(answer)["code"] == "bad_query"


def test_ids_take_feedback_as_ever(service, row, gentoo):
    answer = asked(service, [row, gentoo], explain=True)
    for each in answer["predictions"]:
        assert list(each)[0] == "id"
        status, got = service.post("/v1/feedback", {"id": each["id"], "label": each["label"]})
        assert (status, got) == (200, {"status": "accepted"})


def test_the_document_describes_it(service):
    _, document = service.get("/openapi.json")
    schemas = document["components"]["schemas"]
    assert schemas["Records"]["properties"]["explain"]["description"]
    assert schemas["Prediction"]["properties"]["explanation"] == {"$ref": "#/components/schemas/Explanation"}
    assert {"rule", "contributions", "reason"} <= set(schemas["Explanation"]["properties"])
    names = [each["name"] for each in document["paths"]["/v1/predict"]["post"]["parameters"]]
    assert names == ["explain"]


def test_whatever_body_is_taken_can_be_taken_apart():
    schema = Schema.from_dict(
        {
            "features": [{"name": name, "kind": "text", "missing": "allow"} for name in ("t", "é")],
            "unknown_fields": "count",
        }
    )
    reader, rng = RecordReader(schema), random.Random(0)
    frame, single = reader.new_frame(1), reader.new_frame(1)
    records = '[{"t":"a\\n\\u00e9"},{"\\u00e9":null,"y":[1.5,{"a":-2e1}]},{"t":"ü"}]'
    whole = f'{{"explain":true,"records":{records},"partial":true}}'
    taken = 0
    for _ in range(8_000):
        body = bytearray(whole.encode())
        for _ in range(rng.randrange(1, 4)):
            at, marks = rng.randrange(len(body)), b'{}[]",:\\019eE+-. \nu\xc3'
            body[at : at + rng.randrange(2)] = bytes([rng.choice(marks)] * rng.randrange(2))
        try:
            envelope = reader.read_json(frame, bytes(body))
        except EdgemlError:
            continue
        found = records_of(bytes(body)).records
        assert len(found) == envelope.n_records
        for row in envelope.rows:
            reader.read_json_record(single, bytes(found[row]))
        taken += 1
    assert taken > 300


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """A service over texts: words for rules and for the model, in more than one script."""
    texts = ["café net dividend", "oil price ünï", "πετρέλαιο oil", "net profit dividend"] * 6
    topics = ["earn", "crude", "crude", "earn"] * 6
    rules = [
        {"id": "metals", "when": 'text contains word {"gold", "χρυσός"} ignoring case', "then": {"label": "crude"}},
        {"id": "leave", "when": 'text contains "§"', "then": "abstain"},
    ]
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, topics)
    path = tmp_path_factory.mktemp("documents") / "documents.edgeml"
    edgeml.build(pipeline, texts, topics, name="documents", version="1", rules=rules).save(path)
    running = Running(path, "--max-rows", "2000")
    yield running
    assert running.stop() == (0, "")


def test_words_of_any_script(documents):
    records = [{"text": "ΧΡΥΣΌΣ and more"}, {"text": "Πετρέλαιο, café?"}, {"text": "§ dividend"}]
    rule, model, left = asked(documents, records, explain=True)["predictions"]
    assert rule["explanation"]["found"] == {"text": ["χρυσός"]}
    assert rule["explanation"]["values"] == {"text": "ΧΡΥΣΌΣ and more"}
    assert [each["term"] for each in model["explanation"]["contributions"]] == ["πετρέλαιο", "café"]
    assert {each["feature"] for each in model["explanation"]["contributions"]} == {"text"}
    assert adds_up(model["explanation"]) and model["explanation"]["scale"] == "log-odds"
    assert left["explanation"]["abstained"] == "leave" and left["tier"] == "model"


def test_many_records_are_too_many_to_explain(documents):
    records = [{"text": "oil"}] * 1001
    assert len(asked(documents, records)["predictions"]) == 1001
    assert len(asked(documents, records[:1000], explain=True)["predictions"]) == 1000
    status, answer = documents.post("/v1/predict", {"records": records, "explain": True})
    assert (status, answer["code"], answer["field"]) == (400, "too_many_to_explain", "explain")
    assert "1001 records" in answer["error"] and "at most 1000" in answer["error"]
