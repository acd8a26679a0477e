"""Ids by which requests are found in logs: of the request itself, and of the trace that it belongs to."""

from __future__ import annotations

import os
import re
from itertools import count

_ID = re.compile(rb"[\x21-\x7e]{1,128}")
# W3C Trace Context, level 1: version, trace id, parent id, flags.
_TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_PREFIX = os.urandom(6).hex()
_numbers = count(1)


def request_id(sent: bytes | None) -> str:
    """Return the id that a client sent if it is safe in a log and in a header, otherwise a new one."""
    safe_id = sent.decode() if sent and _ID.fullmatch(sent) else None
    return safe_id or f"{_PREFIX}{next(_numbers):08x}"


def trace(header: bytes | None) -> tuple[str | None, str | None]:
    """Return trace id and parent id of a traceparent header; a malformed one is ignored, as its standard demands."""
    match = _TRACE.fullmatch(header) if header else None
    if match is None:
        return None, None
    return match[1].decode(), match[2].decode()
