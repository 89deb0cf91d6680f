"""The routes that are not hot: metadata, model summary, card, OpenAPI, and what is not there."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError as ValidationError

from edgeml.serving.pages import Pages, make_app, routes_of
from edgeml.serving.problems import STATUS
from edgeml.serving.routes import ROUTES

DOCS = Path(__file__).parents[2] / "docs" / "http-api.md"
GETS = sorted({route.path.format(name="penguins", version="1.0.0") for route in ROUTES if route.method == "GET"})


@pytest.mark.parametrize("path", [*GETS, "/v2/", "/v1/models/"])
def test_every_get_route_answers(service, path):
    status, headers, body = service.ask("GET", path)
    assert status == 200 and body
    if not path.endswith("/card"):
        assert headers["Content-Type"] == "application/json"
        json.loads(body)
    status, _, body = service.ask("HEAD", path)
    assert (status, body) == (200, b"")


def test_health(service):
    assert service.get("/v2/health/live") == (200, {"live": True})
    assert service.get("/v2/health/ready") == (200, {"live": True, "ready": True})
    assert service.get("/v2/models/penguins/ready") == (200, {"name": "penguins", "ready": True})


def test_server_metadata_and_repository_index(service):
    document = service.get("/v2")[1]
    assert document["name"] == "edgeml" and document["extensions"] == ["model_repository"]
    expected = [{"name": "penguins", "version": "1.0.0", "state": "READY", "reason": ""}]
    assert service.post("/v2/repository/index", {"ready": True}) == (200, expected)


def test_the_model_says_what_it_is(service, penguins_bundle):
    listed = service.get("/v1/models")[1]["models"]
    assert [(each["name"], each["bundle"], each["ready"]) for each in listed] == [
        ("penguins", penguins_bundle.digest, True)
    ]
    document = service.get("/v1/models/penguins")[1]
    assert document["bundle"] == penguins_bundle.digest
    assert document["schema"] == penguins_bundle.config["schema"]
    assert document["labels"] == ["Adelie", "Chinstrap", "Gentoo"]
    assert "gentoo-shallow-bill" in document["rules"]
    assert "session" not in document


def test_the_card_is_the_bundles(service, penguins_bundle):
    status, headers, body = service.ask("GET", "/v1/models/penguins/card")
    assert (status, headers["Content-Type"]) == (200, "text/markdown; charset=utf-8")
    assert body == penguins_bundle.members["CARD.md"]


def test_stats_count_by_tier(service, row, gentoo):
    before = service.get("/v1/stats")[1]["latency"]
    service.post("/v1/predict", {"records": [row, gentoo, row]})
    after = service.get("/v1/stats")[1]["latency"]
    assert after["model"]["count"] - before["model"]["count"] == 2
    assert after["rule"]["count"] - before["rule"]["count"] == 1
    assert after["model"]["p99_us"] > 0


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/", "not_found"),
        ("GET", "/v3", "not_found"),
        ("GET", "/v1/models/%00%ff", "unknown_model"),
        ("POST", "/v1/models/other/predict", "unknown_model"),
        ("POST", "/v2/models/other/infer", "unknown_model"),
        ("POST", "/v2/models/penguins/versions/9/infer", "unknown_model"),
        ("GET", "/v2/models/other", "unknown_model"),
        ("GET", "/v2/models/penguins/versions/9/ready", "unknown_model"),
        ("GET", "/v1/models/other/card", "unknown_model"),
    ],
)
def test_what_is_not_there(service, method, path, code):
    status, headers, body = service.ask(method, path)
    assert (status, json.loads(body)["code"]) == (404, code)
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/v1/predict", "POST"), ("DELETE", "/v2/health/ready", "GET"), ("PUT", "/openapi.json", "GET")],
)
def test_methods_that_are_not_taken(service, method, path, allowed):
    status, headers, body = service.ask(method, path)
    assert (status, json.loads(body)["code"]) == (405, "method_not_allowed")
    assert allowed in headers["Allow"]


def test_openapi_lists_every_route(service):
    status, document = service.get("/openapi.json")
    assert status == 200 and document["openapi"].startswith("3.1")
    listed = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert listed == {(route.method, route.path) for route in ROUTES} == routes_of(make_app(Pages(None)))
    identifiers = [method["operationId"] for methods in document["paths"].values() for method in methods.values()]
    assert len(set(identifiers)) == len(identifiers)
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


def test_openapi_is_valid(service):
    document = service.get("/openapi.json")[1]
    OpenAPIV31SpecValidator(document).validate()
    document["paths"]["/v1/predict"]["post"]["responses"] = []
    with pytest.raises(ValidationError):
        OpenAPIV31SpecValidator(document).validate()


@pytest.mark.parametrize("members", [{}, {"bill_depth_mm": 15.0, "flipper_length_mm": 217.0}, {"sex": 5}])
def test_answers_are_as_openapi_says(service, row, members):
    document = service.get("/openapi.json")[1]

    def fits(answer, name):
        return Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document}).is_valid(answer)

    line = json.dumps(row | members).encode()
    answer = json.loads(service.ask("POST", "/v1/predict", line, {"Content-Type": "application/x-ndjson"})[2])
    assert fits(answer, "PredictionLine")
    answer.pop("error" if members == {"sex": 5} else "bundle")
    assert not fits(answer, "PredictionLine")
    answer = service.post("/v1/predict", {"records": [row | members], "partial": True})[1]
    assert fits(answer, "Predictions")
    answer.pop("model")
    assert not fits(answer, "Predictions")


def test_openapi_holds_the_record_schema(service):
    schemas = service.get("/openapi.json")[1]["components"]["schemas"]
    record = schemas["Record"]
    assert record["properties"]["bill_length_mm"]["type"] == ["number", "null"]
    assert record["properties"]["bill_length_mm"]["maximum"] == 100
    assert set(record["properties"]["island"]["examples"]) >= {"Biscoe", "Dream", "Torgersen"}
    assert record["additionalProperties"] is False
    assert schemas["Prediction"]["properties"]["label"]["enum"] == ["Adelie", "Chinstrap", "Gentoo"]


def test_the_document_lists_routes_and_codes():
    text = DOCS.read_text()
    for route in ROUTES:
        assert f"`{route.method} {route.path}`" in text, route
    for code, status in STATUS.items():
        assert re.search(rf"\| `{code}` \| {status} \|", text), code
