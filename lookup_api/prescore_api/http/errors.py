"""Error responses: one table of statuses, one shape, and no details of the server's environment."""

from __future__ import annotations

import logging
from http import HTTPStatus

from prescore import errors
from prescore_api.http.response import CLOSE, Header, Response, json

_log = logging.getLogger("prescore_api")

STATUSES: tuple[tuple[type[errors.PrescoreError], HTTPStatus], ...] = (
    (errors.Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (errors.Forbidden, HTTPStatus.FORBIDDEN),
    (errors.VersionRetired, HTTPStatus.GONE),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Malformed, HTTPStatus.BAD_REQUEST),
    (errors.TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.UnsupportedMediaType, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (errors.NotAcceptable, HTTPStatus.NOT_ACCEPTABLE),
    (errors.DatabaseRefused, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.StoreRefused, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.Mistake, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.Transient, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.PrescoreError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
"""Error classes and their statuses. The first class that an error is an instance of decides."""

_RETRY_SOON: Header = (b"retry-after", b"1")
# A newer version is not published within a second.
_RETRY_LATER: Header = (b"retry-after", b"60")
# Programs send a bearer token. Browsers prompt for a user name and a password, and take the key as the password.
_CHALLENGES: tuple[Header, ...] = (
    (b"www-authenticate", b'Bearer realm="prescore"'),
    (b"www-authenticate", b'Basic realm="prescore: an API key as the password"'),
)


def response(error: errors.PrescoreError, request_id: str, model: str | None = None) -> Response:
    """Build the response to a request that raised one of our errors; log it if the server is at fault."""
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    if isinstance(error, errors.TooOld):
        return _error(status, error.code, str(error), _RETRY_LATER)
    if isinstance(error, (errors.Overloaded, errors.LiveUnavailable)):
        return _error(status, error.code, str(error), _RETRY_SOON)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        headers = _CHALLENGES if status == HTTPStatus.UNAUTHORIZED else ()
        return _error(status, error.code, str(error), *headers)
    _log.error("%s: %s (request %s)", error.code, error, request_id)
    # The message may name the database's address or quote its reply. Clients get the class's description instead.
    headers = (_RETRY_SOON,) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
    description = str(type(error).__doc__)
    message = description if model is None else f"Cannot read {model!r}. {description}"
    return _error(status, error.code, message, *headers)


def internal(request_id: str) -> Response:
    """Build the response to a request that ran into a bug. It closes the connection, whose state is unknown."""
    message = f"Internal error in prescore. See the server log, request id {request_id}."
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", message, CLOSE)


def not_allowed(path: str, method: str, allowed: str) -> Response:
    """Build the response to a request whose path does not take its method."""
    message = f"{path} does not take {method}. It takes {allowed}."
    return _error(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", message, (b"allow", allowed.encode()))


def _error(status: HTTPStatus, code: str, message: str, *headers: Header) -> Response:
    return json({"error": {"code": code, "message": message}}, status, headers)
