"""A request as every part of the server sees it: who asks for what, under which id, since when."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, MutableMapping
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from prescore.errors import RequestInvalid, TooLarge
from prescore_api.service.auth import Caller

Receive = Any
LONGEST_URL = 8192
LONGEST_HEADERS = 32_768
LARGEST_BODY = 8 << 20

_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_START = os.urandom(6).hex()
_numbers = count(1)


class Request:
    """One HTTP request. `route`, `model`, `version` and `keys` are filled in as it is understood."""

    __slots__ = (
        "_sent", "began", "caller", "client", "found", "headers", "id", "keys", "method", "model", "parent", "path",
        "query", "raw_path", "route", "trace", "version",
    )  # fmt: skip

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self.began = time.perf_counter()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope.get("raw_path") or b""
        self.query: bytes = scope["query_string"]
        self._sent: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self._sent)
        if len(self.headers) < len(self._sent):
            self.headers = _joined(self._sent)
        self.client = scope.get("client")
        given = self.headers.get(b"x-request-id")
        # Only what is safe in a log and in a header is taken over from outside.
        self.id = given.decode() if given and _ID.fullmatch(given) else f"{_START}{next(_numbers):08x}"
        self.trace, self.parent = _traced(self.headers.get(b"traceparent"))
        self.route = ""
        self.caller: Caller | None = None
        self.model: str | None = None
        self.version: int | None = None
        self.keys = self.found = 0

    def require_bounded(self) -> None:
        """Raise TooLarge for a URL or headers that no client of ours sends."""
        if len(self.raw_path) + len(self.query) > LONGEST_URL:
            raise TooLarge(f"The URL is longer than {LONGEST_URL:,} bytes. Ask for long keys with POST …/lookup.")
        if sum(len(name) + len(value) for name, value in self._sent) > LONGEST_HEADERS:  # repeated ones, too
            raise TooLarge(f"The headers are longer than {LONGEST_HEADERS:,} bytes.")

    def parameters(self) -> list[tuple[str, str]]:
        """The query string's; raises RequestInvalid."""
        self.require_readable()
        if not self.query:
            return []
        try:
            return parse_qsl(self.query.decode("ascii"), keep_blank_values=True, max_num_fields=1000)
        except ValueError as error:
            raise RequestInvalid(f"The query string is none: {error}.") from error

    def require_readable(self) -> None:
        """Bytes that are not UTF-8 would silently become another key; raises RequestInvalid."""
        for part in (self.raw_path, self.query):
            if b"%" in part or not part.isascii():
                try:
                    unquote_to_bytes(part).decode()
                except UnicodeDecodeError as error:
                    raise RequestInvalid("The URL is not UTF-8 behind its percent signs.") from error

    async def body(self, receive: Receive) -> bytes:
        """The whole body; raises TooLarge, RequestInvalid when the client has gone."""
        parts, size, more = [], 0, True
        if int(self.headers.get(b"content-length", b"0") or 0) > LARGEST_BODY:
            raise TooLarge(_BODY)
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestInvalid("The client went away before the end of its request.")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > LARGEST_BODY:
                raise TooLarge(_BODY)
            more = message.get("more_body", False)
        return b"".join(parts)


def _joined(sent: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; one that is sent several times is a list (RFC 9110, 5.3)."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in sent:
        values.setdefault(name, []).append(value)
    return {name: b", ".join(several) for name, several in values.items()}


_BODY = f"The body is larger than {LARGEST_BODY:,} bytes. Ask for fewer keys at a time."


def _traced(header: bytes | None) -> tuple[str | None, str | None]:
    """Trace and parent of a traceparent header (W3C Trace Context, level 1); a malformed one is as none."""
    found = _TRACE.fullmatch(header) if header else None
    return (found[1].decode(), found[2].decode()) if found else (None, None)
