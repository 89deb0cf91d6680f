"""The table of routes: what the Flask app serves, what ``openapi.json`` lists, what the tests walk through."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path.

    Attributes:
        method: The HTTP method.
        path: The path; ``{name}`` and ``{version}`` stand for one segment.
        handler: Name of the function in ``pages`` that answers.
        summary: One line for readers of the OpenAPI document.
        takes: Schema of the body in the OpenAPI document, empty where there is none.
        gives: Schema of the answer with status 200.
    """

    method: str
    path: str
    handler: str
    summary: str
    gives: str
    takes: str = ""


ROUTES = (
    Route("POST", "/v1/predict", "predict", "Answer records with the only model.", "Predictions", "Records"),
    Route("POST", "/v1/models/{name}/predict", "predict", "Answer records.", "Predictions", "Records"),
    Route("POST", "/v1/feedback", "feedback", "Say what was true.", "FeedbackAnswer", "Feedback"),
    Route("GET", "/v1/models", "models", "List the models.", "Models"),
    Route("GET", "/v1/models/{name}", "model", "Schema, labels, rules, digest of a model.", "Model"),
    Route("GET", "/v1/models/{name}/card", "card", "The model card, Markdown.", "Card"),
    Route("GET", "/v1/stats", "stats", "Latency by tier, unknown fields.", "Stats"),
    Route("GET", "/v2", "server", "Server metadata.", "Server"),
    Route("GET", "/v2/health/live", "live", "Is the process alive?", "Live"),
    Route("GET", "/v2/health/ready", "ready", "Can requests be sent?", "Ready"),
    Route("GET", "/v2/models/{name}", "metadata", "Inputs and outputs of a model.", "Metadata"),
    Route("GET", "/v2/models/{name}/versions/{version}", "metadata", "The same, of one version.", "Metadata"),
    Route("GET", "/v2/models/{name}/ready", "model_ready", "Is the model ready?", "ModelReady"),
    Route(
        "GET", "/v2/models/{name}/versions/{version}/ready", "model_ready", "The same, of one version.", "ModelReady"
    ),
    Route("POST", "/v2/models/{name}/infer", "infer", "Answer tensors.", "InferAnswer", "InferRequest"),
    Route(
        "POST",
        "/v2/models/{name}/versions/{version}/infer",
        "infer",
        "The same, of one version.",
        "InferAnswer",
        "InferRequest",
    ),
    Route("POST", "/v2/repository/index", "repository_index", "List the models with their states.", "RepositoryIndex"),
    Route("GET", "/openapi.json", "openapi", "This document.", "OpenApi"),
)
