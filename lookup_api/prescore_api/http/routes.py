"""The endpoints that are asked now and then: what there is, how it does, and the page for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from prescore.errors import Forbidden, PrescoreError, Transient
from prescore_api.http import schemas
from prescore_api.http.dispatcher import REQUEST, Dispatcher
from prescore_api.http.response import json
from prescore_api.pages import api_docs, status
from prescore_api.service import metrics
from prescore_api.service.models import Models
from prescore_api.service.options import nothing
from prescore_api.tables.database import ReaderPool

_AWAY: dict[int | str, dict[str, Any]] = {
    503: {"model": schemas.Error, "description": "The database is away; Retry-After tells when to ask again"}
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": schemas.Error, "description": "A valid API key is needed"},
    422: {"model": schemas.Error, "description": "A parameter that is not known"},
    **_AWAY,
}
_FORBIDDEN: dict[int | str, dict[str, Any]] = {403: {"model": schemas.Error, "description": "Not for this API key"}}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": schemas.Error, "description": "No such model"}}

router = APIRouter()


@router.get("/", include_in_schema=False)
async def status_page(request: Request) -> Response:
    """The models that the API key opens, for people."""
    _no_parameters(request)
    reader: ReaderPool = request.app.state.reader
    return HTMLResponse(await status.html(reader, _may_read(request)), headers=status.HEADERS)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """What the endpoints take and answer, for people."""
    told = request.app.openapi()
    return HTMLResponse(api_docs.html(told, str(request.base_url), _front(request).open_paths), headers=status.HEADERS)


@router.get(
    "/v1/models",
    tags=["models"],
    responses=_ERRORS | {200: {"model": schemas.Models, "description": "The models by name"}},
)
async def list_models(request: Request) -> Response:
    """Every published model that the API key opens, with its clocks."""
    _no_parameters(request)
    models = await _models(request).every()
    return _json({"models": [model for model in models if _may_read(request)(model["model"])]})


@router.get(
    "/v1/models/{model}",
    tags=["models"],
    responses=_ERRORS | _UNKNOWN | _FORBIDDEN | {200: {"model": schemas.Model, "description": "The model"}},
)
async def describe_model(request: Request, model: Annotated[str, Path(examples=["churn"])]) -> Response:
    """One published model with its clocks, its columns, and the versions that may be asked for."""
    _no_parameters(request)
    if not _may_read(request)(model):
        raise Forbidden(f"This API key does not open {model!r}.")
    return _json(await _models(request).one(model))


@router.get("/health/live", tags=["health"], responses={200: {"model": schemas.Health, "description": "It is so"}})
async def live() -> Response:
    """The process answers."""
    return _json({"status": "live"})


@router.get(
    "/health/ready", tags=["health"], responses=_AWAY | {200: {"model": schemas.Health, "description": "It is so"}}
)
async def ready(request: Request) -> Response:
    """Lookups can be answered: the database is there and has the catalog, and the server is not about to end."""
    if _front(request).draining:
        raise Transient("The server is about to end.")
    try:
        _front(request).watch.require_ready()
    except PrescoreError:
        if not _models(request).all_in_memory():
            raise
    return _json({"status": "ready"})


@router.get(
    "/metrics",
    tags=["health"],
    responses=_ERRORS | _FORBIDDEN | {200: {"description": "The metrics, in Prometheus' text format"}},
    response_class=PlainTextResponse,
)
async def scrape(request: Request) -> Response:
    """Requests, lookups, connections and the freshness of every published model, for Prometheus."""
    _no_parameters(request)
    caller = request.scope[REQUEST].caller
    if caller is not None and caller.models is not None:
        raise Forbidden("Metrics are of all models; this API key opens only some.")
    return Response(metrics.text(_models(request).gauges()), headers={"content-type": metrics.CONTENT})


def _json(content: Any) -> Response:
    made = json(content)
    return Response(made.body, made.status, media_type="application/json")


def _no_parameters(request: Request) -> None:
    nothing(request.scope[REQUEST].parameters())


def _may_read(request: Request) -> Callable[[str], bool]:
    may_read: Callable[[str], bool] = request.scope[REQUEST].caller.may_read
    return may_read


def _front(request: Request) -> Dispatcher:
    front: Dispatcher = request.app.state.front
    return front


def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models
