"""The SQLSTATE of a refused connection: libpq reports only the server's text, which may be in any language."""

from __future__ import annotations

import os
import re
import select
import time

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

_SECONDS = 5
_ERROR_RESPONSE = re.compile(rb'\tErrorResponse\t.*? C "([0-9A-Z]{5})"')


def add_sqlstate(error: psycopg.OperationalError) -> None:
    """Set the SQLSTATE of an error of connecting, if the server refused the connection and libpq can show it.

    It connects once more and lets libpq trace what the server sends. That needs Linux and libpq 18, which psycopg's
    wheel carries; otherwise, the error stays as it is.
    """
    finished = error.pgconn
    # A host that did not answer would not answer again.
    if error.sqlstate is not None or "timeout" in str(error) or not isinstance(finished, psycopg.errors.FinishedPGconn):
        return
    parameters = {option.keyword.decode(): option.val.decode() for option in finished.info if option.val is not None}
    trace = _trace(make_conninfo(**parameters)) if _may_trace() else b""
    states = _ERROR_RESPONSE.findall(trace)
    if states:
        error.sqlstate = states[-1].decode()


def _may_trace() -> bool:
    return hasattr(os, "memfd_create") and pq.version() >= 180_000


def _trace(conninfo: str) -> bytes:
    """Return libpq's trace of an attempt to connect."""
    connection = pq.PGconn.connect_start(conninfo.encode())
    # A trace can have the password in it, so it must not be on a disk.
    with os.fdopen(os.memfd_create("prescore"), "rb") as file:
        try:
            connection.trace(file.fileno())
            _connect(connection)
            connection.untrace()
        finally:
            connection.finish()
        file.seek(0)
        return file.read()


def _connect(connection: pq.abc.PGconn) -> None:
    """Wait until an attempt to connect has ended, for `_SECONDS` at most."""
    deadline = time.monotonic() + _SECONDS
    while connection.status != pq.ConnStatus.BAD and time.monotonic() < deadline:
        match connection.connect_poll():
            case pq.PollingStatus.READING:
                events = select.POLLIN
            case pq.PollingStatus.WRITING:
                events = select.POLLOUT
            case _:
                return
        poll = select.poll()
        poll.register(connection.socket, events)
        poll.poll(1000 * (deadline - time.monotonic()))
