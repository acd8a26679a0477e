"""A line of JSON for each request, on standard output; written a few times a second: a write costs more than a line.

A thread of its own writes: whoever reads the log may stall, and lookups are not to wait for that.
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
from typing import Any

import orjson

from prescore_api.http.request import Request

_EVERY = 0.2  # seconds
_MOST = 1000  # lines
# Bytes: PIPE_BUF of Linux.
_AT_ONCE = 4096
_MOST_WAITING = 2000  # of these
# Seconds, at the end.
_PATIENCE = 1.0
# Seconds between two complaints.
_QUIET = 10.0

_log = logging.getLogger("prescore_api")


class AccessLog:
    """Gathers lines and hands them to the thread that writes them; `close` waits for the last."""

    def __init__(self, out: int = 1) -> None:
        self._out, self._lost = out, 0
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: Queue[bytes | None] = Queue(_MOST_WAITING)
        self._writer = Thread(target=self._write, name="access log", daemon=True)
        self._writer.start()

    def add(self, request: Request, status: int, size: int, seconds: float) -> None:
        """Note what a request got. Neither its key nor its API key is in it: those are nobody else's business."""
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
            "api_key": request.caller.id or None if request.caller else None,
        }
        if request.trace:
            line |= {"trace_id": request.trace, "parent_id": request.parent}
        self._lines.append(orjson.dumps(line))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self.flush)
        elif len(self._lines) >= _MOST:
            self.flush()

    def flush(self) -> None:
        """Let what has gathered be written; what finds no room any more is lost, and counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        for part in _parts(lines):
            try:
                self._waiting.put_nowait(part)
            except Full:
                self._lost += part.count(b"\n")

    def close(self) -> None:
        """Write the last, unless nobody reads."""
        self.flush()
        with suppress(Full):
            self._waiting.put(None, timeout=_PATIENCE)
            self._writer.join(_PATIENCE)

    def _write(self) -> None:
        told, quiet_until = 0, 0.0
        while (part := self._waiting.get()) is not None:
            trouble = _written(self._out, part)
            if self._lost > told:
                trouble = f"{self._lost - told} lines are lost: it is read more slowly than it grows"
            if trouble and time.monotonic() > quiet_until:
                _log.warning("the access log: %s", trouble)
                told, quiet_until = self._lost, time.monotonic() + _QUIET


def _written(out: int, part: bytes) -> str | None:
    """Write; gives what went wrong."""
    try:
        os.write(out, part)
    except OSError as error:
        return str(error)
    return None


def _parts(lines: list[bytes]) -> Iterator[bytes]:
    """Whole lines, in parts that a pipe takes at once: several workers write to the same."""
    part = b""
    for line in lines:
        if len(part) + len(line) >= _AT_ONCE:
            yield part
            part = b""
        part += line + b"\n"
    if part:
        yield part
