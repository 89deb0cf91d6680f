"""``openapi.json`` of the management plane, made from its table of routes."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from edgeml.supervisor.management_routes import MANAGEMENT_ROUTES, ManagementRoute
from edgeml.supervisor.refusals import JSON

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_WHOLE = {"type": "integer"}
_NUMBER = {"type": "number"}
_MAYBE_TEXT = {"type": ["string", "null"]}


def management_document() -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in MANAGEMENT_ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edgeml: management of a box",
            "version": version("edgeml"),
            "description": "Releases under /v1/; OCI distribution under /v2/. A token has scopes: read, push, release.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "Any user; the token is the password."},
            },
        },
    }


def _operation(route: ManagementRoute) -> dict[str, Any]:
    problem = "OciProblem" if route.path.startswith("/v2/") else "Problem"
    operation: dict[str, Any] = {
        "operationId": f"{route.handler.replace('.', '_')}",
        "summary": route.summary,
        "security": [{"bearer": []}, {"basic": []}] if route.scope else [],
        "responses": {
            "2XX": {"description": "Done, or under way."} | _content(route.gives),
            "default": {"description": "Refused or failed."} | _content(problem),
        },
    }
    if route.scope:
        operation["x-scope"] = route.scope
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    if names:
        operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]
    if route.takes:
        operation["requestBody"] = _content(route.takes)
    return operation


def _content(name: str) -> dict[str, Any]:
    return {"content": {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}} if name else {}


def _schemas() -> dict[str, Any]:
    release = {
        "digest": _TEXT,
        "version": _TEXT,
        "state": {"enum": ["installed", "trial", "confirmed", "superseded", "rejected"]},
        "reason": _TEXT,
        "denied": _FLAG,
        "security_epoch": _WHOLE,
        "installed": _NUMBER,
        "confirmed": _FLAG,
        "peak_bytes": {"type": ["integer", "null"]},
        "signatures": _WHOLE,
    }
    operation = {
        "id": _TEXT,
        "kind": {"enum": ["activate", "confirm", "rollback", "deny", "allow", "pull"]},
        "model": _TEXT,
        "digest": _MAYBE_TEXT,
        "state": {"enum": ["running", "done", "failed"]},
        "step": _TEXT,
        "reason": _TEXT,
        "started": _NUMBER,
        "ended": {"type": ["number", "null"]},
        "result": {"type": "object"},
    }
    event = {
        "id": _WHOLE,
        "at": _NUMBER,
        "who": _TEXT,
        "kind": _TEXT,
        "digest": _MAYBE_TEXT,
        "reason": _TEXT,
        "signal": _TEXT,
        "generation": _WHOLE,
    }
    model = {
        "name": _TEXT,
        "active": _MAYBE_TEXT,
        "previous": _MAYBE_TEXT,
        "candidate": _MAYBE_TEXT,
        "tries_left": {"type": ["integer", "null"]},
        "trial": {"type": ["object", "null"]},
        "serves": {"type": ["object", "null"]},
        "min_epoch": _WHOLE,
        "deploy_seq": _WHOLE,
        "releases": _list(_object(release)),
    }
    named = {"digest": _TEXT, "version": _TEXT}
    return {
        "Any": {"type": "object"},
        "Live": _object({"live": _FLAG}),
        "Model": _object(model),
        "Models": _object({"models": _list(_object(model))}),
        "History": _object({"model": _TEXT, "events": _list(_object(event))}),
        "Operation": _object(operation),
        "Operations": _object({"operations": _list(_object(operation))}),
        "Tags": _object({"name": _TEXT, "tags": _list(_TEXT)}),
        "Activate": _object(named | {"order": _TEXT, "now": _FLAG}, needed=False),
        "Named": _object(named | {"reason": _TEXT}, needed=False),
        "Deny": _object(named | {"reason": _TEXT}, needed=False),
        "Rollback": _object({"to": _TEXT, "from": _TEXT, "reason": _TEXT}, needed=False),
        "Pull": _object({"from": _TEXT}),
        "Column": _object({"column": _TEXT}),
        "Rule": _object({"rule": _TEXT, "reason": _TEXT}, needed=False),
        "Switched": _object(
            {name: _TEXT for name in ("model", "bundle", "rule", "failure")} | {"disabled": _FLAG, "followed": _FLAG}
        ),
        "Panels": _object({"model": _TEXT, "have": _TEXT, "panels": {"type": "object", "additionalProperties": _TEXT}}),
        "Problem": _object({"error": _TEXT, "code": _TEXT}) | {"additionalProperties": True},
        "OciProblem": _object({"errors": _list(_object({"code": _TEXT, "message": _TEXT}))}),
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(properties: dict[str, Any], *, needed: bool = True) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "object", "properties": properties}
    return described | {"required": list(properties)} if needed else described
