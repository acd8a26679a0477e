"""The operations by path and method: what each takes and returns."""

from __future__ import annotations

from typing import Any

from prescore_api.http.openapi import parameters, responses
from prescore_api.http.openapi.parameters import MODEL, OPTIONS
from prescore_api.http.openapi.responses import ARROW, BINARY, JSON, LOOKUP_ERRORS, OPEN_ERRORS, content, error
from prescore_api.http.openapi.schemas import Node, reference
from prescore_api.service.live import MAX_ROWS
from prescore_api.service.lookup import MAX_KEYS


def _operation(name: str, summary: str, tag: str, answers: Node, /, **more: Any) -> Node:
    """Return an operation; `answers` are its responses by status."""
    return {"operationId": name, "summary": summary, "tags": [tag], "responses": answers, **more}


def _body(schema: str, example: Node, *binary: str) -> Node:
    """Return a request body in JSON, or in one of the binary media types."""
    bodies: Node = {JSON: {"schema": reference(schema), "example": example}}
    for media_type in binary:
        bodies[media_type] = {"schema": BINARY}
    return {"required": True, "content": bodies}


_PREDICT_BY_NAME = _operation(
    "predict_by_name",
    "Look up the prediction for a key given by column name.",
    "predictions",
    responses.ONE_ANSWER,
    parameters=[parameters.FLIGHT_MODEL, parameters.KEY_BY_NAME, *OPTIONS, parameters.IF_NONE_MATCH],
)
_PREDICT = _operation(
    "predict",
    "Look up the prediction for a key of one column.",
    "predictions",
    responses.ONE_ANSWER,
    parameters=[MODEL, parameters.KEY, *OPTIONS, parameters.IF_NONE_MATCH],
)
_PREDICT_MANY = _operation(
    "predict_many",
    "Look up the predictions for many keys, all from one version, or from it and its canary.",
    "predictions",
    {
        **LOOKUP_ERRORS,
        "200": responses.MANY_ANSWERS,
        "413": responses.too_large(f"{MAX_KEYS:,} keys"),
        "415": responses.UNSUPPORTED_BODY,
    },
    parameters=[MODEL, parameters.CANARY, *OPTIONS],
    requestBody=_body("Keys", {"keys": [{"customer_id": 42}, {"customer_id": 43}]}, ARROW),
)
_SCORE = _operation(
    "score",
    "Score rows of features on request, or answer them from the table by their keys.",
    "predictions",
    {
        **LOOKUP_ERRORS,
        "200": responses.SCORE_ANSWERS,
        "413": responses.too_large(f"{MAX_ROWS:,} rows"),
        "415": responses.UNSUPPORTED_BODY,
        "422": error("A key, a row or a parameter is not valid, or server or model do not allow live answers."),
        "503": error("The model cannot be loaded, or has too many rows to score. Retry-After says when to try again."),
    },
    parameters=[MODEL, parameters.PREFER, parameters.SCORE_CANARY, *OPTIONS],
    requestBody=_body(
        "ScoreRows", {"rows": [{"features": {"visits": 3, "spend": 19.9}, "key": {"customer_id": 42}}]}, ARROW
    ),
)
_READ_ROWS = _operation(
    "read_rows",
    "Read all rows of a version, in pages.",
    "predictions",
    {
        **LOOKUP_ERRORS,
        "200": responses.PAGE,
        "410": error("The version was retired while its rows were being read."),
    },
    parameters=[MODEL, parameters.LIMIT, parameters.AFTER, *OPTIONS],
)
_LIST_MODELS = _operation(
    "list_models",
    "List the published models that the API key opens.",
    "models",
    {**responses.LIST_ERRORS, "200": content("The models, ordered by name.", reference("Models"))},
)
_DESCRIBE_MODEL = _operation(
    "describe_model",
    "Describe a published model: its age, its columns and its retained versions.",
    "models",
    {**responses.DESCRIPTION_ERRORS, "200": content("The model.", reference("Model"))},
    parameters=[MODEL],
)
_LIVE = _operation(
    "live",
    "Check that the process serves requests.",
    "health",
    {**OPEN_ERRORS, "200": content("It does.", reference("Health"))},
    security=[],
)
_READY = _operation(
    "ready",
    "Check that lookups can be answered: the database has a catalog, and the server is not shutting down.",
    "health",
    {
        **OPEN_ERRORS,
        "200": content("They can.", reference("Health")),
        "503": error("The database is unavailable or the server is shutting down."),
    },
    security=[],
)
_SCRAPE = _operation(
    "scrape",
    "Return the metrics: requests, lookups, connections and the age of every published model.",
    "health",
    {**responses.SCRAPE_ERRORS, "200": responses.METRICS},
    parameters=[parameters.METRIC_NAMES],
)

OPERATIONS: dict[str, dict[str, Node]] = {
    "/v1/models": {"get": _LIST_MODELS},
    "/v1/models/{model}": {"get": _DESCRIBE_MODEL},
    "/v1/predictions/{model}": {"get": _PREDICT_BY_NAME},
    "/v1/predictions/{model}/{key}": {"get": _PREDICT},
    "/v1/predictions/{model}/rows": {"get": _READ_ROWS},
    "/v1/predictions/{model}/lookup": {"post": _PREDICT_MANY},
    "/v1/predictions/{model}/score": {"post": _SCORE},
    "/health/live": {"get": _LIVE},
    "/health/ready": {"get": _READY},
    "/metrics": {"get": _SCRAPE},
}
