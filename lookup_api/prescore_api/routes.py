"""Every endpoint: a request in, a use case, a reply out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.convertors import Convertor, register_url_convertor

from prescore.contract.queries import query
from prescore_api import metrics, schemas
from prescore_api.lookup import Lookup
from prescore_api.models import Models
from prescore_api.reader import Reader
from prescore_api.wire import asked_keys, no_parameters, parameters, reply


class _Rest(Convertor[str]):
    """The rest of the path: Starlette's own stops at a line break, and keys may hold one."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())

_ERRORS: dict[int | str, dict[str, Any]] = {
    503: {"model": schemas.Error, "description": "The database is away; Retry-After tells when to ask again"},
    "default": {"model": schemas.Error, "description": "Every error has this shape"},
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": schemas.Error, "description": "No such model"}}
_MALFORMED: dict[int | str, dict[str, Any]] = {422: {"model": schemas.Error, "description": "Malformed key or request"}}
_FOUND: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.Answer},
    404: {"model": schemas.Answer | schemas.Error, "description": "Unknown key (an answer), or model (an error)"},
}
_BY_NAME = {
    "name": "key",
    "in": "query",
    "description": "every key column by its name",
    "style": "form",
    "explode": True,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
}

router = APIRouter(responses=_ERRORS)


@router.get("/v1/models", tags=["models"], responses=_MALFORMED | {200: {"model": schemas.Models}})
async def list_models(request: Request) -> Response:
    """Every published model with its clocks."""
    no_parameters(request)
    return reply({"models": await _models(request).every()})


@router.get("/v1/models/{model}", tags=["models"], responses=_UNKNOWN | _MALFORMED | {200: {"model": schemas.Model}})
async def describe_model(request: Request, model: str) -> Response:
    """One published model with its clocks and columns."""
    no_parameters(request)
    return reply(await _models(request).one(model))


@router.get(
    "/v1/predictions/{model}",
    tags=["predictions"],
    responses=_FOUND | _MALFORMED,
    openapi_extra={"parameters": [_BY_NAME]},
)
async def predict_by_name(request: Request, model: str) -> Response:
    """The prediction of a key given by column name: `?carrier=UA&flight=1545`."""
    return _answer(await _lookup(request).one(model, parameters(request)))


@router.get("/v1/predictions/{model}/{key:rest}", tags=["predictions"], responses=_FOUND | _MALFORMED)
async def predict(request: Request, model: str, key: str) -> Response:
    """The prediction of a key of one column."""
    no_parameters(request)
    return _answer(await _lookup(request).single(model, key))


@router.post(
    "/v1/predictions/{model}/lookup",
    tags=["predictions"],
    responses=_UNKNOWN | _MALFORMED | {200: {"model": schemas.Answers}},
    openapi_extra=schemas.body(schemas.Keys),
)
async def predict_many(request: Request, model: str) -> Response:
    """The predictions of up to 10,000 keys, duplicates and unknown ones included: in their order, of one version."""
    no_parameters(request)
    return reply({"answers": await _lookup(request).many(model, await asked_keys(request))})


@router.get("/health/live", tags=["health"], responses={200: {"model": schemas.Health}})
async def live() -> Response:
    """The process answers."""
    return reply({"status": "live"})


@router.get("/health/ready", tags=["health"], responses={200: {"model": schemas.Health}})
async def ready(request: Request) -> Response:
    """Lookups can be answered: the database is there and has the catalog."""
    reader: Reader = request.app.state.reader
    await reader.rows(query("lookup_ready"), {})
    return reply({"status": "ready"})


@router.get("/metrics", tags=["health"], responses=_MALFORMED, response_class=PlainTextResponse)
async def scrape(request: Request) -> Response:
    """The freshness of every published model, for Prometheus."""
    no_parameters(request)
    return Response(metrics.text(await _models(request).every()), media_type=metrics.CONTENT)


def _answer(answer: dict[str, Any]) -> Response:
    return reply(answer, 200 if answer["found"] else 404)


def _lookup(request: Request) -> Lookup:
    lookup: Lookup = request.app.state.lookup
    return lookup


def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models
