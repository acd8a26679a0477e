"""The parameters of operations: in paths, in query strings and in headers."""

from __future__ import annotations

from typing import Any

from prescore_api.http.openapi.schemas import Node, Schema
from prescore_api.http.pins import NO_CANARY
from prescore_api.http.rows import DEFAULT_LIMIT, MAX_LIMIT
from prescore_api.service.canary import PIN

_STRING: Schema = {"type": "string"}


def _in_path(name: str, description: str, example: str) -> Node:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": _STRING,
        "example": example,
    }


def _in_query(name: str, description: str, schema: Schema, **more: Any) -> Node:
    return {"name": name, "in": "query", "description": description, **more, "schema": schema}


def _repeated(name: str, description: str) -> Node:
    """Return a parameter that stands once in a query string for each of its values."""
    texts: Schema = {"type": "array", "items": _STRING}
    return _in_query(name, f"{description}, instead of all of them; can be repeated", texts, style="form", explode=True)


MODEL = _in_path("model", "the name of a published model", "churn")
FLIGHT_MODEL: Node = {**MODEL, "example": "flight_delay"}
KEY = _in_path("key", "the value of the key's only column, percent-encoded where the URL requires it", "42")
KEY_BY_NAME = _in_query(
    "key",
    "every key column by name",
    {"type": "object", "additionalProperties": _STRING},
    style="form",
    explode=True,
    example={"carrier": "UA", "flight": "1545", "origin": "EWR", "date": "2013-01-01"},
)
OPTIONS = [
    _in_query("version", "a retained version to use instead of the published one", {"type": "integer", "minimum": 1}),
    _in_query(
        "max_age", "respond with 503 if the data is older than this many seconds", {"type": "number", "minimum": 0}
    ),
    _repeated("output", "an output to return"),
]
CANARY = _in_query(
    "canary",
    "what Prescore-Canary of an earlier answer has, such as 8:0.1, beside the version that Prescore-Version has",
    {"type": "string", "pattern": f"^({NO_CANARY}|{PIN})$"},
)
SCORE_CANARY = _in_query(
    "canary",
    "what Prescore-Canary of an earlier answer has, beside the version that Prescore-Version has",
    {"type": "string", "enum": [NO_CANARY]},
)
PREFER = _in_query(
    "prefer",
    "which source answers a row that has both a key and features",
    {"type": "string", "enum": ["table", "live"], "default": "table"},
)
LIMIT = _in_query(
    "limit",
    "the number of rows of a page",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
AFTER = _in_query(
    "after",
    "where the page begins: the cursor in the link to the next page, which also selects the version",
    _STRING,
)
IF_NONE_MATCH: Node = {
    "name": "If-None-Match",
    "in": "header",
    "description": "the ETag of an answer that the client has cached",
    "schema": _STRING,
}
METRIC_NAMES = _repeated("name[]", "a metric to return")
