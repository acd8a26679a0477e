"""The access log: one line of JSON for each request, on standard output.

Lines are written a few times a second, because a write costs more than a line. A separate thread writes them, because
a reader of the log may stall, and requests must not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import Full, Queue
from threading import Thread
from typing import Any, Protocol

import orjson

from prescore_api.service.auth import Caller, claimed_id

_FLUSH_SECONDS = 0.2
_FLUSH_LINES = 1000
# PIPE_BUF on Linux: a pipe takes a write of this many bytes as a whole.
_CHUNK_BYTES = 4096
_QUEUED_CHUNKS = 2000
_CLOSE_SECONDS = 1.0
_WARNING_INTERVAL_SECONDS = 10.0

_log = logging.getLogger("prescore_api")


class Request(Protocol):
    """A request of any transport, as a line of the access log describes it."""

    id: str
    method: str
    route: str
    model: str | None
    version: int | None
    keys: int
    found: int
    client: Any
    caller: Caller
    trace: str | None
    parent: str | None

    @property
    def authorization(self) -> bytes | None:
        """The credentials, as the client sent them."""


class AccessLog:
    """Collects lines and passes them to the thread that writes them."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor, self._dropped = descriptor, 0
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._queue: Queue[bytes | None] = Queue(_QUEUED_CHUNKS)
        self._writer = Thread(target=self._write_all, name="access log", daemon=True)
        self._writer.start()

    def add(self, request: Request, status: int, size: int, seconds: float, *, failed_login: bool = False) -> None:
        """Add the line of an answered request. It contains neither the keys looked up nor the API key.

        After a failed login, it has the id of the key that the client sent.
        """
        line: dict[str, Any] = {
            "at": round(time.time(), 3),
            "request_id": request.id,
            "method": request.method,
            "route": request.route,
            "model": request.model,
            "version": request.version,
            "keys": request.keys,
            "found": request.found,
            "status": status,
            "bytes": size,
            "ms": round(seconds * 1000, 3),
            "client": request.client[0] if request.client else None,
            "api_key": claimed_id(request.authorization) if failed_login else request.caller.id or None,
        }
        if request.trace:
            line["trace_id"] = request.trace
            line["parent_id"] = request.parent
        self._lines.append(orjson.dumps(line))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        elif len(self._lines) >= _FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Queue the collected lines for writing; drop and count those for which the queue has no room."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        for chunk in _chunks(lines):
            try:
                self._queue.put_nowait(chunk)
            except Full:
                self._dropped += chunk.count(b"\n")

    def close(self) -> None:
        """Write the remaining lines, unless standard output is not being read."""
        self.flush()
        with suppress(Full):
            self._queue.put(None, timeout=_CLOSE_SECONDS)
            self._writer.join(_CLOSE_SECONDS)

    def _write_all(self) -> None:
        reported, next_warning = 0, 0.0
        while (chunk := self._queue.get()) is not None:
            problem = _write(self._descriptor, chunk)
            if self._dropped > reported:
                problem = f"dropped {self._dropped - reported} lines: standard output is not being read fast enough"
            if problem and time.monotonic() > next_warning:
                _log.warning("access log: %s", problem)
                reported, next_warning = self._dropped, time.monotonic() + _WARNING_INTERVAL_SECONDS


def _write(descriptor: int, chunk: bytes) -> str | None:
    """Write a chunk; return the error as text if it failed."""
    try:
        os.write(descriptor, chunk)
    except OSError as error:
        return str(error)
    return None


def _chunks(lines: list[bytes]) -> Iterator[bytes]:
    """Join whole lines to chunks that a pipe takes at once, because several workers write to the same one."""
    chunk = b""
    for line in lines:
        if chunk and len(chunk) + len(line) >= _CHUNK_BYTES:
            yield chunk
            chunk = b""
        chunk += line + b"\n"
    if chunk:
        yield chunk
