"""The OpenAPI document of the API. Tests compare it with the route table and with the server's responses."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from prescore_api.formats import arrow, csv
from prescore_api.http.request import LARGEST_BODY
from prescore_api.http.rows import DEFAULT_LIMIT, JSON_LINES, MAX_LIMIT
from prescore_api.http.schemas import SCHEMAS, Schema, reference
from prescore_api.service.live import MAX_ROWS
from prescore_api.service.lookup import MAX_KEYS

Node = dict[str, Any]

_JSON, _ARROW, _TEXT = "application/json", arrow.MEDIA_TYPE.decode(), "text/plain"
_JSON_LINES, _CSV = JSON_LINES.decode(), csv.MEDIA_TYPE.decode()
_BINARY: Schema = {"type": "string", "format": "binary"}

_MODEL: Node = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "the name of a published model",
    "schema": {"type": "string"},
    "example": "churn",
}
_FLIGHT_MODEL: Node = {**_MODEL, "example": "flight_delay"}
_KEY: Node = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "the value of the key's only column, percent-encoded where the URL requires it",
    "schema": {"type": "string"},
    "example": "42",
}
_KEY_BY_NAME: Node = {
    "name": "key",
    "in": "query",
    "description": "every key column by name",
    "style": "form",
    "explode": True,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    "example": {"carrier": "UA", "flight": "1545", "origin": "EWR", "date": "2013-01-01"},
}
_VERSION: Node = {
    "name": "version",
    "in": "query",
    "description": "a retained version to use instead of the published one",
    "schema": {"type": "integer", "minimum": 1},
}
_CANARY: Node = {
    "name": "canary",
    "in": "query",
    "description": "the canary that answers its share of the keys beside this version, as Prescore-Canary names it",
    "schema": {"type": "string", "pattern": r"^[1-9][0-9]{0,8}:(1|0\.[0-9]{1,9})$"},
    "example": "8:0.1",
}
_MAX_AGE: Node = {
    "name": "max_age",
    "in": "query",
    "description": "respond with 503 if the data is older than this many seconds",
    "schema": {"type": "number", "minimum": 0},
}
_OUTPUT: Node = {
    "name": "output",
    "in": "query",
    "description": "an output to return, instead of all of them; can be repeated",
    "style": "form",
    "explode": True,
    "schema": {"type": "array", "items": {"type": "string"}},
}
_OPTIONS = [_VERSION, _MAX_AGE, _OUTPUT]
_IF_NONE_MATCH: Node = {
    "name": "If-None-Match",
    "in": "header",
    "description": "the ETag of an answer that the client has cached",
    "schema": {"type": "string"},
}
_METRIC_NAMES: Node = {
    "name": "name[]",
    "in": "query",
    "description": "a metric to return, instead of all of them; can be repeated",
    "style": "form",
    "explode": True,
    "schema": {"type": "array", "items": {"type": "string"}},
}


def _content(description: str, schema: Schema, *binary: str) -> Node:
    content = {_JSON: {"schema": schema}}
    for media_type in binary:
        content[media_type] = {"schema": _BINARY}
    return {"description": description, "content": content}


def _error(description: str) -> Node:
    return _content(description, reference("Error"))


def _header(description: str, kind: str) -> Node:
    return {"description": description, "schema": {"type": kind}}


_MALFORMED = _error("The request is not HTTP/1.1, or has no host.")
_NOT_ACCEPTABLE = _error("The Accept header allows none of the media types that there are.")
_TOO_LONG = _error("The URL or the headers are too long.")
_UNAUTHENTICATED = _error("The request has no valid API key.")
_FORBIDDEN_MODEL = _error("The API key does not open this model.")
_UNKNOWN_PARAMETER = _error("The request has a parameter, and this endpoint takes none.")
_UNAVAILABLE = _error("The database is unavailable. Retry-After says when to try again.")

_LOOKUP_ERRORS: Node = {
    "400": _MALFORMED,
    "401": _UNAUTHENTICATED,
    "403": _FORBIDDEN_MODEL,
    "404": _error("There is no such model or version."),
    "406": _NOT_ACCEPTABLE,
    "413": _TOO_LONG,
    "422": _error("A key or a parameter is not valid."),
    "503": _error("The database is unavailable, or the data is too old. Retry-After says when to try again."),
}
_NOT_FOUND = _content(
    "The version does not have the key (an answer), or there is no such model or version (an error).",
    {"anyOf": [reference("Answer"), reference("Error")]},
    _ARROW,
)
_ONE_ANSWER: Node = {
    **_LOOKUP_ERRORS,
    "200": _content("The answer.", reference("Answer"), _ARROW),
    "304": {"description": "The answer that If-None-Match names is still valid."},
    "404": _NOT_FOUND,
}

_PREDICT_BY_NAME: Node = {
    "operationId": "predict_by_name",
    "summary": "Look up the prediction for a key given by column name.",
    "tags": ["predictions"],
    "parameters": [_FLIGHT_MODEL, _KEY_BY_NAME, *_OPTIONS, _IF_NONE_MATCH],
    "responses": _ONE_ANSWER,
}
_PREDICT: Node = {
    "operationId": "predict",
    "summary": "Look up the prediction for a key of one column.",
    "tags": ["predictions"],
    "parameters": [_MODEL, _KEY, *_OPTIONS, _IF_NONE_MATCH],
    "responses": _ONE_ANSWER,
}
_ANSWERING: Node = {
    "Prescore-Version": _header("the version that answered, which version= pins in another request", "integer"),
    "Prescore-Canary": _header(
        "its canary and the share of the keys, which canary= pins; absent without one", "string"
    ),
}
_PREDICT_MANY: Node = {
    "operationId": "predict_many",
    "summary": "Look up the predictions for many keys, all from one version, or from it and its canary.",
    "tags": ["predictions"],
    "parameters": [_MODEL, _CANARY, *_OPTIONS],
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {
                "schema": reference("Keys"),
                "example": {"keys": [{"customer_id": 42}, {"customer_id": 43}]},
            },
            _ARROW: {"schema": _BINARY},
        },
    },
    "responses": {
        **_LOOKUP_ERRORS,
        "200": {**_content("One answer for each key.", reference("Answers"), _ARROW), "headers": _ANSWERING},
        "415": _error("The body has a type or a coding that is not supported."),
        "413": _error(
            f"The request has more than {MAX_KEYS:,} keys or {LARGEST_BODY:,} bytes, "
            "or its URL or headers are too long."
        ),
    },
}
_PREFER: Node = {
    "name": "prefer",
    "in": "query",
    "description": "which source answers a row that has both a key and features",
    "schema": {"type": "string", "enum": ["table", "live"], "default": "table"},
}
_SCORE: Node = {
    "operationId": "score",
    "summary": "Score rows of features on request, or answer them from the table by their keys.",
    "tags": ["predictions"],
    "parameters": [_MODEL, _PREFER, *_OPTIONS],
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {
                "schema": reference("ScoreRows"),
                "example": {"rows": [{"features": {"visits": 3, "spend": 19.9}, "key": {"customer_id": 42}}]},
            },
        },
    },
    "responses": {
        **_LOOKUP_ERRORS,
        "200": _content("One answer for each row.", reference("ScoreAnswers")),
        "413": _error(
            f"The request has more than {MAX_ROWS:,} rows or {LARGEST_BODY:,} bytes, "
            "or its URL or headers are too long."
        ),
        "415": _error("The body has a type or a coding that is not supported."),
        "422": _error("A key, a row or a parameter is not valid, or server or model do not allow live answers."),
        "503": _error("The model cannot be loaded, or has too many rows to score. Retry-After says when to try again."),
    },
}
_LIMIT: Node = {
    "name": "limit",
    "in": "query",
    "description": "the number of rows of a page",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
}
_AFTER: Node = {
    "name": "after",
    "in": "query",
    "description": "where the page begins: the cursor in the link to the next page, which also selects the version",
    "schema": {"type": "string"},
}
_PAGE_HEADERS: Node = {
    "Link": _header("the next page (rel=next), relative to this one; absent from the last page", "string"),
    "Prescore-Version": _header("the version", "integer"),
    "Prescore-Rows": _header("the number of rows of the version", "integer"),
    "Prescore-Data-As-Of": _header("the time that the inputs describe, in ISO 8601", "string"),
    "Prescore-Published-At": _header("a time in ISO 8601; empty for a version that was never published", "string"),
    "Prescore-Age-Seconds": _header("now - data_as_of, in seconds", "number"),
    "Prescore-Stale": _header("whether the data is older than the model's max age", "boolean"),
}
_READ_ROWS: Node = {
    "operationId": "read_rows",
    "summary": "Read all rows of a version, in pages.",
    "tags": ["predictions"],
    "parameters": [_MODEL, _LIMIT, _AFTER, *_OPTIONS],
    "responses": {
        **_LOOKUP_ERRORS,
        "200": {
            "description": "A page of rows, in the order of the key.",
            "headers": _PAGE_HEADERS,
            "content": {
                _JSON_LINES: {"schema": {"type": "string"}},
                _CSV: {"schema": {"type": "string"}},
                _ARROW: {"schema": _BINARY},
            },
        },
        "410": _error("The version was retired while its rows were being read."),
    },
}
_LIST_MODELS: Node = {
    "operationId": "list_models",
    "summary": "List the published models that the API key opens.",
    "tags": ["models"],
    "responses": {
        "200": _content("The models, ordered by name.", reference("Models")),
        "400": _MALFORMED,
        "406": _NOT_ACCEPTABLE,
        "401": _UNAUTHENTICATED,
        "413": _TOO_LONG,
        "422": _UNKNOWN_PARAMETER,
        "503": _UNAVAILABLE,
    },
}
_DESCRIBE_MODEL: Node = {
    "operationId": "describe_model",
    "summary": "Describe a published model: its age, its columns and its retained versions.",
    "tags": ["models"],
    "parameters": [_MODEL],
    "responses": {
        "200": _content("The model.", reference("Model")),
        "400": _MALFORMED,
        "406": _NOT_ACCEPTABLE,
        "401": _UNAUTHENTICATED,
        "403": _FORBIDDEN_MODEL,
        "404": _error("There is no such model."),
        "413": _TOO_LONG,
        "422": _UNKNOWN_PARAMETER,
        "503": _UNAVAILABLE,
    },
}
_LIVE: Node = {
    "operationId": "live",
    "summary": "Check that the process serves requests.",
    "tags": ["health"],
    "security": [],
    "responses": {"200": _content("It does.", reference("Health")), "400": _MALFORMED, "413": _TOO_LONG},
}
_READY: Node = {
    "operationId": "ready",
    "summary": "Check that lookups can be answered: the database has a catalog, and the server is not shutting down.",
    "tags": ["health"],
    "security": [],
    "responses": {
        "200": _content("They can.", reference("Health")),
        "400": _MALFORMED,
        "413": _TOO_LONG,
        "503": _error("The database is unavailable or the server is shutting down."),
    },
}
_SCRAPE: Node = {
    "operationId": "scrape",
    "summary": "Return the metrics: requests, lookups, connections and the age of every published model.",
    "tags": ["health"],
    "parameters": [_METRIC_NAMES],
    "responses": {
        "200": {
            "description": "The metrics, in Prometheus' text format.",
            "content": {_TEXT: {"schema": {"type": "string"}}},
        },
        "400": _MALFORMED,
        "401": _UNAUTHENTICATED,
        "403": _error("The API key opens only some models, and metrics cover all of them."),
        "413": _TOO_LONG,
        "422": _UNKNOWN_PARAMETER,
        "503": _UNAVAILABLE,
    },
}
_SECURITY_SCHEMES: Node = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key"},
    "basic": {"type": "http", "scheme": "basic", "description": "any user name, and an API key as the password"},
}


@cache
def document(*, open_metrics: bool = False) -> Node:
    """Return the document; `open_metrics` says that /metrics needs no API key."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "prescore",
            "summary": "Published predictions by key, with their age in every answer.",
            "version": version("prescore"),
        },
        "paths": {
            "/v1/models": {"get": _LIST_MODELS},
            "/v1/models/{model}": {"get": _DESCRIBE_MODEL},
            "/v1/predictions/{model}": {"get": _PREDICT_BY_NAME},
            "/v1/predictions/{model}/{key}": {"get": _PREDICT},
            "/v1/predictions/{model}/rows": {"get": _READ_ROWS},
            "/v1/predictions/{model}/lookup": {"post": _PREDICT_MANY},
            "/v1/predictions/{model}/score": {"post": _SCORE},
            "/health/live": {"get": _LIVE},
            "/health/ready": {"get": _READY},
            "/metrics": {"get": {**_SCRAPE, "security": []} if open_metrics else _SCRAPE},
        },
        "components": {"schemas": SCHEMAS, "securitySchemes": _SECURITY_SCHEMES},
        "security": [{"bearer": []}, {"basic": []}],
    }
