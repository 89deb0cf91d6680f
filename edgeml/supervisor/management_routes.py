"""The routes of the management plane in one table: what is served, what a caller needs, what ``openapi.json`` lists."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ManagementRoute:
    """One method on one path.

    Attributes:
        method: The HTTP method; GET answers HEAD too.
        path: The path; what stands in braces is one segment.
        handler: ``<plane>.<method>``: who answers.
        scope: What a token needs; empty is open to all.
        summary: One line for readers of the OpenAPI document.
        gives: Schema of the answer in the OpenAPI document; empty where it is no JSON.
        takes: Schema of the body; empty where there is none.
    """

    method: str
    path: str
    handler: str
    scope: str
    summary: str
    gives: str = ""
    takes: str = ""


_UPLOADS = "/v2/{name}/blobs/uploads/"
_UPLOAD = "/v2/{name}/blobs/uploads/{upload}"
_MODEL = "/v1/models/{name}"

MANAGEMENT_ROUTES = tuple(
    ManagementRoute(*row)
    for row in (
        ("GET", "/", "dashboard.page", "", "The dashboard, a page for browsers; it asks for a token."),
        ("GET", "/dashboard.css", "dashboard.style", "", "Its style sheet."),
        ("GET", "/dashboard.js", "dashboard.script", "", "Its script."),
        ("GET", "/v1/dashboard", "dashboard.panels", "read", "Its panels as HTML; ?model= says of which.", "Panels"),
        ("GET", "/healthz", "releases.health", "", "Is the process alive?", "Live"),
        ("GET", "/metrics", "metrics.scrape", "read", "Everything that is counted, as Prometheus text."),
        ("GET", "/openapi.json", "releases.openapi", "", "This document.", "Any"),
        ("GET", "/v1/status", "releases.status", "read", "The box: storage, trust, what is served.", "Any"),
        ("GET", "/v1/models", "releases.models", "read", "All models with their releases.", "Models"),
        ("GET", _MODEL, "releases.model", "read", "One model: releases, trial, what is served.", "Model"),
        ("GET", f"{_MODEL}/card", "releases.card", "read", "The model card, Markdown; ?digest= of another release."),
        ("GET", f"{_MODEL}/watch", "watch.report", "read", "Traffic, latency, drift, quality, findings.", "Any"),
        ("POST", f"{_MODEL}/drift/acknowledge", "watch.acknowledge", "release", "An alarm was seen.", "Any", "Column"),
        ("POST", f"{_MODEL}/rules/disable", "watch.disable_rule", "release", "A rule is wrong.", "Switched", "Rule"),
        ("POST", f"{_MODEL}/rules/enable", "watch.enable_rule", "release", "It may answer again.", "Switched", "Rule"),
        ("GET", f"{_MODEL}/history", "releases.history", "read", "What happened, newest first.", "History"),
        ("POST", f"{_MODEL}/activate", "releases.activate", "release", "Try a release.", "Operation", "Activate"),
        ("POST", f"{_MODEL}/confirm", "releases.confirm", "release", "End the trial well.", "Operation", "Named"),
        ("POST", f"{_MODEL}/rollback", "releases.roll_back", "release", "Go back.", "Operation", "Rollback"),
        ("POST", f"{_MODEL}/deny", "releases.deny", "release", "Forbid a release.", "Operation", "Deny"),
        ("POST", f"{_MODEL}/allow", "releases.allow", "release", "Lift a denial.", "Operation", "Named"),
        ("GET", "/v1/operations", "releases.operations", "read", "Changes under way and lately done.", "Operations"),
        ("GET", "/v1/operations/{id}", "releases.operation", "read", "One of them; ?wait=SECONDS.", "Operation"),
        ("POST", "/v1/pulls", "releases.pull", "push", "Fetch a bundle from a registry.", "Operation", "Pull"),
        ("POST", "/v1/keyring", "releases.keyring", "release", "Trust the next keyring.", "Any", "Any"),
        ("GET", "/v2/", "oci.version", "read", "OCI distribution: is it spoken here?", "Any"),
        ("GET", "/v2/{name}/tags/list", "oci.tags", "read", "Version labels of installed bundles.", "Tags"),
        ("GET", "/v2/{name}/referrers/{digest}", "oci.referrers", "read", "Signatures over a manifest.", "Any"),
        ("GET", "/v2/{name}/manifests/{reference}", "oci.manifest", "read", "A manifest, by version or digest.", "Any"),
        ("PUT", "/v2/{name}/manifests/{reference}", "manifests.put", "push", "Push a manifest or a signature."),
        ("GET", "/v2/{name}/blobs/{digest}", "oci.blob", "read", "A blob; Range is understood."),
        ("POST", _UPLOADS, "uploads.start", "push", "Begin an upload, mount a blob, or send one whole."),
        ("GET", _UPLOAD, "uploads.where", "push", "Where did it stop?"),
        ("PATCH", _UPLOAD, "uploads.chunk", "push", "Send a piece."),
        ("PUT", _UPLOAD, "uploads.finish", "push", "Finish, with ?digest=."),
        ("DELETE", _UPLOAD, "uploads.cancel", "push", "Drop an upload."),
    )
)
