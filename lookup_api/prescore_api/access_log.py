"""A line of JSON for each request, on standard output; written a few times a second: a write costs more than a line."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import orjson

from prescore_api.request import Request

_EVERY = 0.2  # seconds
_MOST = 1000  # lines
_AT_ONCE = 4096  # bytes: PIPE_BUF of Linux

_log = logging.getLogger("prescore_api")


class AccessLog:
    """Gathers lines and writes them; `close` writes the last."""

    def __init__(self, out: int = 1) -> None:
        self._out = out
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

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
            "api_key": request.caller.id if request.caller else None,
        }
        if request.trace:
            line |= {"trace_id": request.trace, "parent_id": request.parent}
        self._lines.append(orjson.dumps(line))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self.flush)
        elif len(self._lines) >= _MOST:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        try:
            for part in _parts(lines):
                os.write(self._out, part)
        except OSError as error:
            _log.warning("the access log cannot be written: %s", error)


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
