"""A response: status, body and headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

Header = tuple[bytes, bytes]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
JSON: Header = (b"content-type", b"application/json")
HTML: Header = (b"content-type", b"text/html; charset=utf-8")
CLOSE: Header = (b"connection", b"close")
VARY: Header = (b"vary", b"Accept, Accept-Encoding, Authorization")
NO_STORE: Header = (b"cache-control", b"no-store")
"""Everything but a prediction: most of it needs an API key, and all of it may change at any time."""
_WITHOUT_BODY = (204, 304)


class Response(NamedTuple):
    """What a handler returns."""

    status: int
    body: bytes
    headers: list[Header]

    async def send(self, send: Send, more_headers: Iterable[Header], *, head: bool, close: bool) -> None:
        """Send it through ASGI; `head` leaves out the body, `close` announces the end of the connection."""
        headers = [*self.headers, *more_headers]
        if self.status not in _WITHOUT_BODY:
            headers.append((b"content-length", b"%d" % len(self.body)))
        if close:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else self.body})

    def serialize(self, more_headers: Iterable[Header]) -> bytes:
        """Return it as it is sent, for a connection that has no request to respond to."""
        status = HTTPStatus(self.status)
        length = (b"content-length", b"%d" % len(self.body))
        lines = [b"HTTP/1.1 %d %b" % (status, status.phrase.encode())]
        lines += [b"%b: %b" % header for header in (*self.headers, *more_headers, length)]
        return b"\r\n".join([*lines, b"", self.body])


def json(content: Any, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """Build a response with a JSON body that must not be cached."""
    return Response(status, orjson.dumps(content), [JSON, NO_STORE, VARY, *headers])


def html(page: str, headers: Iterable[Header] = (), status: int = 200) -> Response:
    """Build a response with a page that must not be cached."""
    return Response(status, page.encode(), [HTML, NO_STORE, VARY, *headers])
