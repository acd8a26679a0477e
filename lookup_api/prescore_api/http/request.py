"""A request as handlers and the access log see it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from prescore.errors import Malformed, RequestInvalid, TooLarge, UnsupportedMediaType
from prescore_api.service.auth import UNAUTHENTICATED, Caller
from prescore_api.service.metrics import CanaryKeys
from prescore_api.service.request_ids import request_id, trace
from prescore_api.service.service import Service

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

LONGEST_URL = 8192
LONGEST_HEADERS = 32_768
LARGEST_BODY = 8 << 20
# As for the head, a byte now and then must not occupy the server forever.
BODY_SECONDS = 60.0
BODY_ARRIVED = "prescore.body_arrived"
"""What a connection sets in a request's scope as soon as it has the whole body."""
_MOST_PARAMETERS = 1000
_PLAIN_CODINGS = ((b"content-encoding", b"identity"), (b"transfer-encoding", b"chunked"))

_HOST = re.compile(rb"[A-Za-z0-9._:\[\]-]{1,255}")
_PREFIX = re.compile(rb"(/[A-Za-z0-9._~-]+)+")
_MALFORMED_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})[ -~]{0,2}")


class Request:
    """One HTTP request.

    `path` is as the client sent it, without the root path. Only values are percent-decoded: a proxy that restricts
    access by path must not read a path in another way than the router.

    The dispatcher sets `caller`, `route` and `path_values`, handlers set `model`, `version`, `keys`, `found` and
    `canary`, the keys that a canary answered, for the metrics and the access log.
    """

    __slots__ = (
        "_raw_headers", "_receive", "_root_path", "_scope", "began", "caller", "canary", "client", "found", "headers",
        "id", "keys", "method", "model", "parent", "path", "path_values", "query", "raw_path", "route", "service",
        "trace", "version",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, service: Service, root_path: str = "") -> None:
        self.began = time.perf_counter()
        self._scope = scope
        self._receive = receive
        self.service = service
        self._root_path = root_path
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        path = self.raw_path.decode()
        self.path = _without_root(path, root_path) if root_path else path
        self.query: bytes = scope["query_string"]
        self._raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self._raw_headers)
        if len(self.headers) < len(self._raw_headers):
            self.headers = _combined(self._raw_headers)
        self.client = scope.get("client")
        self.id = request_id(self.headers.get(b"x-request-id"))
        self.trace, self.parent = trace(self.headers.get(b"traceparent"))
        self.caller: Caller = UNAUTHENTICATED
        self.route = ""
        self.path_values: tuple[str, ...] = ()
        self.model: str | None = None
        self.version: int | None = None
        self.keys = 0
        self.found = 0
        self.canary: CanaryKeys | None = None

    @property
    def authorization(self) -> bytes | None:
        """The Authorization header."""
        return self.headers.get(b"authorization")

    @property
    def base_url(self) -> str:
        """The API's URL as the client sees it, without a trailing slash."""
        host = self.headers.get(b"x-forwarded-host") or self.headers.get(b"host", b"")
        if _HOST.fullmatch(host):
            return f"{self._scope['scheme']}://{host.decode()}{self.root_path}"
        name, port = self._scope["server"]
        return f"{self._scope['scheme']}://{name}:{port}{self.root_path}"

    @property
    def root_path(self) -> str:
        """The path before /v1 in the client's URL, without a trailing slash: as configured, or as a proxy reports it.

        Like the host, it appears in documentation only, so that its header is not restricted to trusted proxies.
        """
        prefix = self.headers.get(b"x-forwarded-prefix", b"").rstrip(b"/")
        if self._root_path or not _PREFIX.fullmatch(prefix):
            return self._root_path
        return prefix.decode()

    def require_valid(self) -> None:
        """Raise Malformed for a request without a host, and TooLarge for a longer head than legitimate clients send."""
        host = self.headers.get(b"host")
        is_missing = host is None and self._scope["http_version"] != "1.0"
        # Repeated headers have been combined, and no host contains a comma.
        if is_missing or (host and b"," in host):
            raise Malformed("A request needs one Host header.")
        if len(self.raw_path) + len(self.query) > LONGEST_URL:
            raise TooLarge(f"The URL is longer than {LONGEST_URL:,} bytes. Send long keys with POST …/lookup.")
        # Repeated headers count, too.
        if sum(map(len, chain.from_iterable(self._raw_headers))) > LONGEST_HEADERS:
            raise TooLarge(f"The headers are longer than {LONGEST_HEADERS:,} bytes.")

    def require_utf8(self) -> None:
        """Raise RequestInvalid for a URL that is not UTF-8: its bytes would silently be read as another key."""
        for part in (self.raw_path, self.query):
            if b"%" in part or not part.isascii():
                if escape := _MALFORMED_ESCAPE.search(part):
                    raise RequestInvalid(f"The URL contains {escape[0].decode()!r}. Encode a percent sign as %25.")
                try:
                    unquote_to_bytes(part).decode()
                except UnicodeDecodeError as error:
                    raise RequestInvalid("The URL is not UTF-8 once its percent-encoding is decoded.") from error

    def parameters(self) -> list[tuple[str, str]]:
        """Parse the query string into names and values; raises RequestInvalid."""
        self.require_utf8()
        if not self.query:
            return []
        try:
            return parse_qsl(self.query.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
        except ValueError as error:
            raise RequestInvalid(f"The query string is not valid: {error}.") from error

    async def body(self) -> bytes:
        """Read the whole body.

        Raises TooLarge, UnsupportedMediaType, Malformed if it does not arrive in time, or RequestInvalid if the client
        disconnects.
        """
        self._require_uncompressed()
        if int(self.headers.get(b"content-length", b"0") or 0) > LARGEST_BODY:
            raise _body_too_large()
        # Most bodies arrive with their head. A time limit costs more than reading them.
        if BODY_ARRIVED in self._scope:
            return await self._read_body()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._read_body()
        except TimeoutError as error:
            raise Malformed(f"The body did not arrive within {BODY_SECONDS:g} seconds.") from error

    async def _read_body(self) -> bytes:
        parts, size, more = [], 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise RequestInvalid("The client disconnected before the end of its request.")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > LARGEST_BODY:
                raise _body_too_large()
            more = message.get("more_body", False)
        return b"".join(parts)

    def _require_uncompressed(self) -> None:
        """Raise UnsupportedMediaType for a compressed body, which could expand to any size."""
        for name, plain in _PLAIN_CODINGS:
            coding = self.headers.get(name)
            if coding is not None and coding.strip().lower() != plain:
                raise UnsupportedMediaType(
                    f"The {name.decode().title()} of the body is {coding.decode(errors='replace')[:100]!r}. "
                    "Send it without compression."
                )


def _body_too_large() -> TooLarge:
    return TooLarge(f"The body is larger than {LARGEST_BODY:,} bytes. Send fewer keys or rows per request.")


def _without_root(path: str, root_path: str) -> str:
    """Return the path without the root path, which a proxy may have removed already."""
    return path.removeprefix(root_path) if path.startswith(root_path + "/") else path


def _combined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Combine repeated headers into lists (RFC 9110, 5.3)."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return {name: b", ".join(repeated) for name, repeated in values.items()}
