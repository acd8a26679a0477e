"""The pages for people, and the OpenAPI document that one of them is rendered from."""

from __future__ import annotations

from http import HTTPStatus

import orjson

from prescore_api.http import openapi
from prescore_api.http.openapi.schemas import Node
from prescore_api.http.request import Request
from prescore_api.http.response import JSON, NO_STORE, VARY, Header, Response, html, json
from prescore_api.pages import api_docs
from prescore_api.pages import status as pages
from prescore_api.service.options import refuse_all

_HEADERS: list[Header] = [(name.lower().encode(), value.encode()) for name, value in pages.HEADERS.items()]


async def status_page(request: Request) -> Response:
    """Render the status page of the models that the API key opens."""
    refuse_all(request.parameters())
    return html(await pages.html(request.service.reader, request.caller.may_read), _HEADERS)


def is_status_page(request: Request) -> bool:
    """Return whether a browser requests the status page."""
    return request.path == "/" and b"text/html" in request.headers.get(b"accept", b"").lower()


def error_page(response: Response) -> Response:
    """Return the page that a browser shows in place of an error response in JSON."""
    status = HTTPStatus(response.status)
    message = orjson.loads(response.body)["error"]["message"]
    page = pages.render("error.html", status=status.value, phrase=status.phrase, message=message)
    headers = [header for header in response.headers if header not in (JSON, NO_STORE, VARY)]
    return html(page, [*headers, *_HEADERS], status)


async def docs(request: Request) -> Response:
    """Render the API reference."""
    return html(api_docs.html(_document(request), request.base_url), _HEADERS)


async def openapi_json(request: Request) -> Response:
    """Return the OpenAPI document."""
    return json(_document(request))


def _document(request: Request) -> Node:
    document = openapi.document(open_metrics=request.service.settings.open_metrics)
    # Without servers, the paths follow the host of the document's own URL.
    return {**document, "servers": [{"url": request.root_path}]} if request.root_path else document
