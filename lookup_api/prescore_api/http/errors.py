"""What went wrong, as HTTP says it: one table of statuses, one shape everywhere, and nothing of our insides."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi import Response as StarletteResponse
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from prescore import errors
from prescore_api.http.response import Header, Response, json

_log = logging.getLogger("prescore_api")

# The first that fits.
STATUSES: tuple[tuple[type[errors.PrescoreError], HTTPStatus], ...] = (
    (errors.Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (errors.Forbidden, HTTPStatus.FORBIDDEN),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.DatabaseRefused, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.Mistake, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.Transient, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.PrescoreError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
RETRY_SECONDS = b"1"
# A newer version does not come within a second: whoever waits for one asks now and then.
_RETRY_TOO_OLD = b"60"
# A program sends a bearer token; a browser asks a person, who gives the key as the password of any user.
_CHALLENGE: tuple[Header, ...] = (
    (b"www-authenticate", b'Bearer realm="prescore"'),
    (b"www-authenticate", b'Basic realm="prescore: an API key as the password"'),
)


def register(app: FastAPI) -> None:
    """Let every error that can leave the app leave it in the one shape."""
    app.add_exception_handler(errors.PrescoreError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unforeseen)


def shape(code: str, message: str) -> dict[str, dict[str, str]]:
    """An error's body."""
    return {"error": {"code": code, "message": message}}


def reply(error: errors.PrescoreError, request_id: str = "") -> Response:
    """What a request gets that raised one of ours."""
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    if isinstance(error, errors.TooOld):
        return json(shape(error.code, str(error)), status, [(b"retry-after", _RETRY_TOO_OLD)])
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        headers = _CHALLENGE if status == HTTPStatus.UNAUTHORIZED else ()
        return json(shape(error.code, str(error)), status, headers)
    # Where the database is, and what it said, is not the client's business.
    _log.error("%s: %s (request %s)", error.code, error, request_id or "-")
    headers = ((b"retry-after", RETRY_SECONDS),) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
    return json(shape(error.code, str(type(error).__doc__)), status, headers)


def unforeseen() -> Response:
    """What a request gets that met a fault of ours; uvicorn closes the connection after it, so it says so."""
    message = "This is a fault of prescore's; the server's log tells more."
    return json(shape("internal", message), HTTPStatus.INTERNAL_SERVER_ERROR, [(b"connection", b"close")])


def not_allowed(path: str, method: str, allowed: str) -> Response:
    """What a request gets whose method its path does not take."""
    said = shape("method_not_allowed", f"{path} does not take {method}.")
    return json(said, HTTPStatus.METHOD_NOT_ALLOWED, [(b"allow", allowed.encode())])


def _response(made: Response) -> StarletteResponse:
    response = StarletteResponse(made.body, made.status)
    response.raw_headers = [*made.headers, (b"content-length", b"%d" % len(made.body))]
    return response


async def _ours(_: Request, error: Any) -> StarletteResponse:
    return _response(reply(error))


async def _http(request: Request, error: Any) -> StarletteResponse:
    message = str(error.detail)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = error.headers["Allow"].replace("GET", "GET, HEAD")
        return _response(not_allowed(request.url.path, request.method, allowed))
    if error.status_code == HTTPStatus.NOT_FOUND:
        message = f"There is nothing at {request.url.path}; /docs lists what there is."
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    return _response(json(shape(HTTPStatus(error.status_code).name.lower(), message), error.status_code, headers))


async def _invalid(_: Request, error: Any) -> StarletteResponse:
    faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return _response(json(shape("request_invalid", faults), HTTPStatus.UNPROCESSABLE_ENTITY))


async def _unforeseen(_: Request, __: Any) -> StarletteResponse:
    return _response(unforeseen())
