"""The endpoints under /v1/models: the published models, and one of them in detail."""

from __future__ import annotations

from prescore_api.http import media_types
from prescore_api.http.request import Request
from prescore_api.http.response import Response, json
from prescore_api.service.options import refuse_all


async def list_models(request: Request) -> Response:
    """List the published models that the API key opens."""
    _require_valid(request)
    return json({"models": await request.service.list_models(request.caller)})


async def describe_model(request: Request) -> Response:
    """Describe one published model: its age, its columns and its retained versions."""
    _require_valid(request)
    (model,) = request.path_values
    request.model = model
    return json(await request.service.describe_model(request.caller, model))


def _require_valid(request: Request) -> None:
    """Raise RequestInvalid for parameters, and NotAcceptable for a client that does not accept JSON."""
    refuse_all(request.parameters())
    media_types.choose(request.headers.get(b"accept"), (media_types.JSON,))
