"""What went wrong, as HTTP says it: one table of statuses, one shape everywhere, and nothing of our insides."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from prescore.contract import errors
from prescore_api.wire import reply

_log = logging.getLogger("prescore_api")

# The first that fits.
STATUSES: tuple[tuple[type[errors.PrescoreError], HTTPStatus], ...] = (
    (errors.Unknown, HTTPStatus.NOT_FOUND),
    (errors.DatabaseRefused, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.Mistake, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.Transient, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.PrescoreError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
RETRY_SECONDS = "1"


def register(app: FastAPI) -> None:
    """Let every error that can leave the app leave it in the one shape."""
    app.add_exception_handler(errors.PrescoreError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unforeseen)


def shape(code: str, message: str) -> dict[str, dict[str, str]]:
    """An error's body."""
    return {"error": {"code": code, "message": message}}


async def _ours(_: Request, error: Any) -> Response:
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return reply(shape(error.code, str(error)), status)
    _log.error("%s: %s", error.code, error)  # where the database is, and what it said, is not the client's business
    retry = {"Retry-After": RETRY_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return reply(shape(error.code, str(type(error).__doc__)), status, retry)


async def _http(request: Request, error: Any) -> Response:
    message = {
        HTTPStatus.NOT_FOUND: f"There is nothing at {request.url.path}; /docs lists what there is.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.url.path} does not take {request.method}.",
    }.get(error.status_code, str(error.detail))
    return reply(shape(HTTPStatus(error.status_code).name.lower(), message), error.status_code, error.headers)


async def _invalid(_: Request, error: Any) -> Response:
    faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return reply(shape("request_invalid", faults), HTTPStatus.UNPROCESSABLE_ENTITY)


async def _unforeseen(_: Request, __: Any) -> Response:
    message = "This is a fault of prescore's; the server's log tells more."
    # uvicorn closes the connection after an error that reached it: say so, or the next request on it is lost.
    return reply(shape("internal", message), HTTPStatus.INTERNAL_SERVER_ERROR, {"Connection": "close"})
