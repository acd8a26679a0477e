"""The pages for people, and the OpenAPI document that one of them is rendered from."""

from __future__ import annotations

from prescore_api.http import openapi
from prescore_api.http.request import Request
from prescore_api.http.response import Header, Response, html, json
from prescore_api.pages import api_docs, status
from prescore_api.service.options import refuse_all

_HEADERS: list[Header] = [(name.lower().encode(), value.encode()) for name, value in status.HEADERS.items()]


async def status_page(request: Request) -> Response:
    """Render the status page of the models that the API key opens."""
    refuse_all(request.parameters())
    return html(await status.html(request.service.reader, request.caller.may_read), _HEADERS)


async def docs(request: Request) -> Response:
    """Render the API reference."""
    document = openapi.document(open_metrics=request.service.settings.open_metrics)
    return html(api_docs.html(document, request.base_url), _HEADERS)


async def openapi_json(request: Request) -> Response:
    """Return the OpenAPI document."""
    return json(openapi.document(open_metrics=request.service.settings.open_metrics))
