"""The predictions' endpoints as OpenAPI describes them: no framework answers them, so none can tell what they are."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from prescore_api.formats import arrow
from prescore_api.http import schemas
from prescore_api.http.predictions import PREFIX
from prescore_api.http.request import LARGEST_BODY

_JSON, _ARROW = "application/json", arrow.MEDIA_TYPE.decode()
_REF = "#/components/schemas/{model}"
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_MODELS: tuple[type[BaseModel], ...] = (schemas.Answer, schemas.Answers, schemas.Keys, schemas.Error)

_MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "example": "churn"}
_FLIGHTS = {**_MODEL, "example": "flight_delay"}
_KEY = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "the key, percent-encoded where a URL needs it; for a key of one column",
    "schema": {"type": "string"},
    "example": "42",
}
_BY_NAME = {
    "name": "key",
    "in": "query",
    "description": "every key column by its name",
    "style": "form",
    "explode": True,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    "example": {"carrier": "UA", "flight": "1545", "origin": "EWR", "date": "2013-01-01"},
}
_TERMS = [
    {
        "name": "version",
        "in": "query",
        "description": "an earlier version, or one that is not published yet, in place of the published one",
        "schema": {"type": "integer", "minimum": 1},
    },
    {
        "name": "max_age",
        "in": "query",
        "description": "refuse with 503 what is of data older than so many seconds",
        "schema": {"type": "number", "minimum": 0},
    },
    {
        "name": "output",
        "in": "query",
        "description": "only this output; may be given several times",
        "style": "form",
        "explode": True,
        "schema": {"type": "array", "items": {"type": "string"}},
    },
]
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"basic": []}]


def describe(app: FastAPI) -> None:
    """Add them to what an app's /openapi.json tells."""
    plain = app.openapi

    def whole() -> dict[str, Any]:
        told = plain()
        if PREFIX + "{model}" not in told["paths"]:
            _, definitions = models_json_schema([(m, "serialization") for m in _MODELS], ref_template=_REF)
            told["components"]["schemas"] |= definitions["$defs"]
            told["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer", "description": "an API key"},
                "basic": {"type": "http", "scheme": "basic", "description": "an API key as the password"},
            }
            told["security"] = _SECURITY
            told["paths"] |= _paths()
        return told

    app.openapi = whole  # type: ignore[method-assign]


def _paths() -> dict[str, Any]:
    return {
        PREFIX + "{model}": {
            "get": _one("predict_by_name", "The prediction of a key given by column name.", [_FLIGHTS, _BY_NAME])
        },
        PREFIX + "{model}/{key}": {"get": _one("predict", "The prediction of a key of one column.", [_MODEL, _KEY])},
        PREFIX + "{model}/lookup": {"post": _many()},
    }


def _one(name: str, summary: str, parameters: list[Any]) -> dict[str, Any]:
    etag = {
        "name": "If-None-Match",
        "in": "header",
        "description": "the ETag of an answer that is there already",
        "schema": {"type": "string"},
    }
    unknown = _content("The version has no such key (an answer), or there is no such model or version (an error)")
    unknown["content"][_JSON]["schema"] = {"anyOf": [_ref("Answer"), _ref("Error")]}
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["predictions"],
        "parameters": [*parameters, *_TERMS, etag],
        "responses": {
            "200": _content("The answer", "Answer"),
            "304": {"description": "What If-None-Match names still holds"},
            "404": unknown,
        }
        | _errors(),
    }


def _many() -> dict[str, Any]:
    keys = {"schema": _ref("Keys"), "example": {"keys": [{"customer_id": 42}, {"customer_id": 43}]}}
    errors = _errors() | {
        "404": _error("No such model or version"),
        "413": _error(f"More than 10,000 keys, or more than {LARGEST_BODY:,} bytes"),
    }
    return {
        "operationId": "predict_many",
        "summary": "The predictions of many keys, in their order, all of one version.",
        "tags": ["predictions"],
        "parameters": [_MODEL, *_TERMS],
        "requestBody": {"required": True, "content": {_JSON: keys, _ARROW: _BINARY}},
        "responses": {"200": _content("One answer a key", "Answers")} | errors,
    }


def _errors() -> dict[str, Any]:
    return {
        "401": _error("A valid API key is needed"),
        "403": _error("The API key does not open this model"),
        "413": _error("The URL or the headers are too long"),
        "422": _error("A malformed key or request"),
        "503": _error("The database is away, or what is published is too old; Retry-After tells when to ask again"),
    }


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": {_JSON: {"schema": _ref("Error")}}}


def _content(description: str, model: str = "Answer") -> dict[str, Any]:
    return {"description": description, "content": {_JSON: {"schema": _ref(model)}, _ARROW: _BINARY}}


def _ref(model: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=model)}
