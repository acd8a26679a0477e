"""The responses of operations by status, with the errors that many of them share."""

from __future__ import annotations

from prescore_api.formats import arrow, csv
from prescore_api.http.openapi.schemas import Node, Schema, reference
from prescore_api.http.request import LARGEST_BODY
from prescore_api.http.rows import JSON_LINES

JSON, ARROW = "application/json", arrow.MEDIA_TYPE.decode()
BINARY: Schema = {"type": "string", "format": "binary"}
_TEXT: Schema = {"type": "string"}


def content(description: str, schema: Schema, *binary: str) -> Node:
    """Return a response with a body in JSON, or in one of the binary media types."""
    bodies = {JSON: {"schema": schema}}
    for media_type in binary:
        bodies[media_type] = {"schema": BINARY}
    return {"description": description, "content": bodies}


def error(description: str) -> Node:
    """Return the response to a request that failed."""
    return content(description, reference("Error"))


def too_large(limit: str) -> Node:
    """Return the response to a body beyond a limit, such as "100 keys"."""
    return error(f"The request has more than {limit} or {LARGEST_BODY:,} bytes, or its URL or headers are too long.")


def _header(description: str, kind: str) -> Node:
    return {"description": description, "schema": {"type": kind}}


UNSUPPORTED_BODY = error("The body has a type or a coding that is not supported.")
OPEN_ERRORS: Node = {
    "400": error("The request is not HTTP/1.1, or has no host."),
    "413": error("The URL or the headers are too long."),
}
"""The errors of operations that need no API key."""
_ERRORS: Node = {**OPEN_ERRORS, "401": error("The request has no valid API key.")}
_NOT_ACCEPTABLE = error("The Accept header allows none of the media types that there are.")
_FORBIDDEN_MODEL = error("The API key does not open this model.")
SCRAPE_ERRORS: Node = {
    **_ERRORS,
    "403": error("The API key opens only some models, and metrics cover all of them."),
    "422": error("The request has a parameter, and this endpoint takes none."),
    "503": error("The database is unavailable. Retry-After says when to try again."),
}
LIST_ERRORS: Node = {
    **{status: SCRAPE_ERRORS[status] for status in ("400", "401", "413", "422", "503")},
    "406": _NOT_ACCEPTABLE,
}
DESCRIPTION_ERRORS: Node = {**LIST_ERRORS, "403": _FORBIDDEN_MODEL, "404": error("There is no such model.")}
LOOKUP_ERRORS: Node = {
    **_ERRORS,
    "403": _FORBIDDEN_MODEL,
    "404": error("There is no such model or version."),
    "406": _NOT_ACCEPTABLE,
    "422": error("A key or a parameter is not valid."),
    "503": error("The database is unavailable, or the data is too old. Retry-After says when to try again."),
}
ONE_ANSWER: Node = {
    **LOOKUP_ERRORS,
    "200": content("The answer.", reference("Answer"), ARROW),
    "304": {"description": "The answer that If-None-Match names is still valid."},
    "404": content(
        "The version does not have the key (an answer), or there is no such model or version (an error).",
        {"anyOf": [reference("Answer"), reference("Error")]},
        ARROW,
    ),
}
_PINS: Node = {
    "Prescore-Version": _header("the version that answered, for version= in another request", "integer"),
    "Prescore-Canary": _header(
        "its canary and the share of the keys, or none, for canary= in another request; absent if the request has a "
        "version of the caller's choice",
        "string",
    ),
}
MANY_ANSWERS: Node = {**content("One answer for each key.", reference("Answers"), ARROW), "headers": _PINS}
SCORE_ANSWERS: Node = {**content("One answer for each row.", reference("ScoreAnswers"), ARROW), "headers": _PINS}
PAGE: Node = {
    "description": "A page of rows, in the order of the key.",
    "headers": {
        "Link": _header("the next page (rel=next), relative to this one; absent from the last page", "string"),
        "Prescore-Version": _header("the version", "integer"),
        "Prescore-Rows": _header("the number of rows of the version", "integer"),
        "Prescore-Data-As-Of": _header("the time that the inputs describe, in ISO 8601", "string"),
        "Prescore-Published-At": _header("a time in ISO 8601; empty for a version that was never published", "string"),
        "Prescore-Age-Seconds": _header("now - data_as_of, in seconds", "number"),
        "Prescore-Stale": _header("whether the data is older than the model's max age", "boolean"),
    },
    "content": {
        JSON_LINES.decode(): {"schema": _TEXT},
        csv.MEDIA_TYPE.decode(): {"schema": _TEXT},
        ARROW: {"schema": BINARY},
    },
}
METRICS: Node = {
    "description": "The metrics, in Prometheus' text format.",
    "content": {"text/plain": {"schema": _TEXT}},
}
