"""Errors as statuses of gRPC, without details of the server's environment."""

from __future__ import annotations

import logging
from typing import NamedTuple

from grpc import StatusCode

from prescore import errors

_log = logging.getLogger("prescore_api")

_CODES: tuple[tuple[type[errors.PrescoreError], StatusCode], ...] = (
    (errors.Unauthenticated, StatusCode.UNAUTHENTICATED),
    (errors.Forbidden, StatusCode.PERMISSION_DENIED),
    (errors.NotFound, StatusCode.NOT_FOUND),
    (errors.DatabaseRefused, StatusCode.UNAVAILABLE),
    (errors.StoreRefused, StatusCode.UNAVAILABLE),
    (errors.NotAllowed, StatusCode.FAILED_PRECONDITION),
    (errors.Mistake, StatusCode.INVALID_ARGUMENT),
    (errors.Transient, StatusCode.UNAVAILABLE),
    (errors.PrescoreError, StatusCode.INTERNAL),
)
"""Error classes and their codes. The first class that an error is an instance of decides."""
_RETRY_SOON, _RETRY_LATER = "1", "60"


class Status(NamedTuple):
    """The end of a call that failed. `retry_after` is in seconds, None if a retry fails, too."""

    code: StatusCode
    message: str
    retry_after: str | None = None


def of_error(error: errors.PrescoreError, request_id: str, model: str | None) -> Status:
    """Return the status of one of our errors; log it if the server is at fault."""
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    if isinstance(error, errors.TooOld):
        return Status(code, str(error), _RETRY_LATER)
    if isinstance(error, (errors.Overloaded, errors.LiveUnavailable)):
        return Status(code, str(error), _RETRY_SOON)
    if code not in (StatusCode.UNAVAILABLE, StatusCode.INTERNAL):
        return Status(code, str(error))
    _log.error("%s: %s (request %s)", error.code, error, request_id)
    # The message may name the database's address or quote its reply. Clients get the class's description instead.
    description = str(type(error).__doc__)
    message = description if model is None else f"Cannot read {model!r}. {description}"
    return Status(code, message, _RETRY_SOON if code is StatusCode.UNAVAILABLE else None)


def internal(request_id: str) -> Status:
    """Return the status of a call that ran into a bug."""
    return Status(StatusCode.INTERNAL, f"Internal error in prescore. See the server log, request id {request_id}.")
