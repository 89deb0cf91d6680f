"""``openapi.json``: made from the table of routes and the schemas of the bundles that are served."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from edgeml.runtime.predictor import Predictor
from edgeml.runtime.reader import MAX_EXPLAINED
from edgeml.runtime.schema import Feature
from edgeml.runtime.tensor_predictor import TensorPredictor
from edgeml.serving.bodies import NDJSON
from edgeml.serving.problems import JSON, STATUS
from edgeml.serving.routes import ROUTES, Route

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_NUMBER = {"type": "number"}
_LABEL = {"type": ["string", "integer", "boolean", "number"]}
_PARAMETERS = {"type": "object"}
_JSON_TYPES = {"number": "number", "integer": "integer", "boolean": "boolean", "category": "string", "text": "string"}
_JSON_TYPES["image"] = "string"


def edgeml_version() -> str:
    """Version of the installed package."""
    return version("edgeml")


def document(predictors: Sequence[Predictor | TensorPredictor]) -> dict[str, Any]:
    """The OpenAPI document for the models.

    Args:
        predictors: The models that are served.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"edgeml: {', '.join(each.name for each in predictors) or 'no model'}",
            "version": ", ".join(each.version for each in predictors) or "0",
            "description": "; ".join(f"Bundle {each.digest}" for each in predictors) or "No bundle is active.",
        },
        "paths": paths,
        "components": {"schemas": _schemas(predictors)},
    }


def _operation(route: Route) -> dict[str, Any]:
    words = [word for word in route.path.split("/") if word and not word.startswith("{")]
    operation: dict[str, Any] = {
        "operationId": "_".join([route.method.lower(), *words, *(["of_one"] if "{name}" in route.path else [])]),
        "summary": route.summary,
        "responses": {
            "200": _answer(route),
            "default": {
                "description": f"Refused or failed: 400, {', '.join(map(str, sorted(set(STATUS.values()))))}",
                "content": {JSON: {"schema": _reference("Problem")}},
            },
        },
    }
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]
    if route.takes == "Records":
        about = "Of lines of records: say why of each answer."
        parameters.append({"name": "explain", "in": "query", "schema": _FLAG, "description": about})
    if parameters:
        operation["parameters"] = parameters
    if route.takes:
        content = {JSON: {"schema": _reference(route.takes)}}
        if route.takes == "Records":
            content[NDJSON] = {"schema": _reference("Record")}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _answer(route: Route) -> dict[str, Any]:
    if route.gives == "Card":
        return {"description": "The card.", "content": {"text/markdown": {"schema": _TEXT}}}
    content = {JSON: {"schema": _reference(route.gives)}}
    if route.gives == "Predictions":
        content[NDJSON] = {"schema": _reference("PredictionLine")}
    return {"description": "Done.", "content": content}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas(predictors: Sequence[Predictor | TensorPredictor]) -> dict[str, Any]:
    tensor = {"name": _TEXT, "datatype": _TEXT, "shape": _list({"type": "integer"}), "data": {"type": "array"}}
    about = {"name": _TEXT, "datatype": _TEXT, "shape": _list({"type": "integer"})}
    listed = {"name": _TEXT, "version": _TEXT, "bundle": _TEXT, "task": _TEXT, "ready": _FLAG}
    # Only where the model was left out, so that rules and fallback answer alone.
    degraded = {"degraded": _FLAG, "reason": _TEXT}
    state = {"name": _TEXT, "version": _TEXT, "state": _TEXT, "reason": _TEXT}
    return {
        "Record": _any([_record(each) for each in predictors]),
        "Records": _object(
            {
                "records": _list(_reference("Record")),
                "id": _TEXT,
                "unit": _TEXT,
                "explain": _FLAG | {"description": f"Say why of each answer; at most {MAX_EXPLAINED} records."},
                "partial": _FLAG,
            },
            "records",
            closed=True,
        ),
        "Explanation": _object(
            {
                "rule": _TEXT,
                "when": _TEXT,
                "note": _TEXT,
                "precision": _NUMBER,
                "coverage": _NUMBER,
                "target": _NUMBER,
                "where": {"type": "object", "additionalProperties": _TEXT},
                "values": {"type": "object"},
                "found": {"type": "object", "additionalProperties": _list(_TEXT)},
                "cards": _list(_card()),
                "abstained": _TEXT,
                "of": _LABEL,
                "contributions": {"anyOf": [_list(_contribution()), {"type": "null"}]},
                "rest": _NUMBER,
                "baseline": _NUMBER,
                "sum": _NUMBER,
                "scale": {"enum": ["score", "log-odds", "log-ratio", "log", "inner"]},
                "reason": _TEXT,
            }
        ),
        "Prediction": _any([_prediction(each) for each in predictors]),
        "PredictionLine": _any([*(_prediction(each, alone=True) for each in predictors), _reference("Problem")]),
        "Predictions": _object(
            {
                "id": _TEXT,
                "model": _TEXT,
                "version": _TEXT,
                "bundle": _TEXT,
                "predictions": _list({"anyOf": [_reference("Prediction"), _reference("Problem")]}),
            },
            "model",
            "version",
            "bundle",
            "predictions",
        ),
        "Feedback": {
            "anyOf": [
                _label_item(),
                _object({"feedback": _list(_label_item()), "partial": _FLAG}, "feedback", closed=True),
            ]
        },
        "FeedbackAnswer": {
            "anyOf": [
                _reference("FeedbackStatus"),
                _object(
                    {"feedback": _list({"anyOf": [_reference("FeedbackStatus"), _reference("Problem")]})}, "feedback"
                ),
            ]
        },
        "FeedbackStatus": _object({"status": {"enum": ["accepted", "duplicate", "unknown_bundle"]}}, "status"),
        "Problem": _object(
            {
                "error": _TEXT,
                "code": _TEXT,
                "field": _TEXT,
                "index": {"type": "integer"},
                "violation": _TEXT,
                "expected": _TEXT,
                "got": _TEXT,
                "violations": _list({"type": "object"}),
            },
            "error",
            "code",
        ),
        "InferRequest": _object(
            {
                "id": _TEXT,
                "parameters": _PARAMETERS,
                "inputs": _list(_object(tensor, *tensor)),
                "outputs": _list(_object({"name": _TEXT, "parameters": _PARAMETERS}, "name")),
            },
            "inputs",
        ),
        "InferAnswer": _object(
            {
                "id": _TEXT,
                "model_name": _TEXT,
                "model_version": _TEXT,
                "parameters": _PARAMETERS,
                "outputs": _list(_object(tensor, *tensor)),
            },
            "model_name",
            "model_version",
            "outputs",
        ),
        "Models": _object({"models": _list(_object(listed | degraded, *listed))}, "models"),
        "Model": _object(
            {"name": _TEXT, "version": _TEXT, "bundle": _TEXT, "task": _TEXT} | degraded, "name", "version"
        ),
        "Stats": _object({"latency": {"type": "object"}, "unknown_fields": {"type": "object"}}, "latency"),
        "Server": _object(
            {"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}, "name", "version", "extensions"
        ),
        "Live": _object({"live": _FLAG}, "live"),
        "Ready": _object(
            {"live": _FLAG, "ready": _FLAG, "degraded": {"type": "object", "additionalProperties": _TEXT}},
            "live",
            "ready",
        ),
        "ModelReady": _object({"name": _TEXT, "ready": _FLAG} | degraded, "name", "ready"),
        "Metadata": _object(
            {
                "name": _TEXT,
                "versions": _list(_TEXT),
                "platform": _TEXT,
                "inputs": _list(_object(about, *about)),
                "outputs": _list(_object(about, *about)),
            },
            "name",
            "platform",
            "inputs",
            "outputs",
        ),
        "RepositoryIndex": _list(_object(state, *state)),
        "OpenApi": {"type": "object"},
    }


def _card() -> dict[str, Any]:
    term = _object({"points": _NUMBER, "if": _TEXT}, "points", "if")
    return _object({"terms": _list(term), "more": {"type": "integer"}, "sum": _NUMBER, "needs": _TEXT}, "terms", "sum")


def _contribution() -> dict[str, Any]:
    several = {"features": _list(_TEXT), "more": {"type": "integer"}}
    return _object({"feature": _TEXT, "term": _TEXT, "value": {}, "contribution": _NUMBER} | several, "contribution")


def _label_item() -> dict[str, Any]:
    return _object({"id": _TEXT, "label": _LABEL, "value": _NUMBER}, "id", closed=True)


def _any(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """One schema of several models."""
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas or [{"type": "object"}]}


def _record(predictor: Predictor | TensorPredictor) -> dict[str, Any]:
    if isinstance(predictor, TensorPredictor):
        return {"description": "This model takes tensors, not records.", "type": "object"}
    schema = predictor.schema
    needed = [feature.name for feature in schema.given if feature.missing == "error"]
    return _object(
        {feature.name: _feature(feature) for feature in schema.given},
        *needed,
        closed=schema.unknown_fields == "reject",
    )


def _feature(feature: Feature) -> dict[str, Any]:
    kind = _JSON_TYPES[feature.kind]
    described: dict[str, Any] = {"type": [kind, "null"] if feature.missing == "allow" else kind}
    if feature.kind == "image":
        described |= {"contentEncoding": "base64", "examples": ["iVBORw0KGgo..."]}
    words = [text for text in (feature.description, feature.unit and f"unit: {feature.unit}") if text]
    if words:
        described["description"] = "; ".join(words)
    for key, bound in (("minimum", feature.min), ("maximum", feature.max)):
        if bound is not None:
            described[key] = bound
    if feature.levels and feature.unseen == "error":
        levels: list[str | None] = list(feature.levels)
        described["enum"] = [*levels, None] if feature.missing == "allow" else levels
    elif feature.levels:
        described["examples"] = list(feature.levels)
    return described


def _prediction(predictor: Predictor | TensorPredictor, *, alone: bool = False) -> dict[str, Any]:
    """One prediction; one that stands alone on its line names the bundle itself."""
    names = {"model": _TEXT, "version": _TEXT, "bundle": _TEXT} if alone else {}
    members: dict[str, Any] = {
        "tier": {"enum": ["rule", "middle", "model", "fallback"]},
        "rule": _TEXT,
        "degraded": _FLAG,
        "reason": _TEXT,
        "explanation": _reference("Explanation"),
    } | names
    if isinstance(predictor, TensorPredictor):
        return _object(members, "tier", *names)
    members = {"id": _TEXT} | members
    if predictor.labels:
        members["label"] = {"enum": list(predictor.labels)}
        members["scores"] = {"type": "object", "additionalProperties": _NUMBER}
        return _object(members, "id", "label", "tier", *names)
    members["value"] = {"anyOf": [_NUMBER, _list(_NUMBER)]}
    return _object(members, "id", "value", "tier", *names)


def _object(members: dict[str, Any], *required: str, closed: bool = False) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "object", "properties": members}
    if required:
        described["required"] = list(required)
    return described | {"additionalProperties": False} if closed else described


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}
