"""A response: status, body and headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

import orjson

Header = tuple[bytes, bytes]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
JSON: Header = (b"content-type", b"application/json")
HTML: Header = (b"content-type", b"text/html; charset=utf-8")
CLOSE: Header = (b"connection", b"close")


class Response(NamedTuple):
    """What a handler returns."""

    status: int
    body: bytes
    headers: list[Header]

    async def send(self, send: Send, request_id: str, *, head: bool, close: bool) -> None:
        """Send it through ASGI; `head` leaves out the body, `close` announces the end of the connection."""
        headers = [*self.headers, (b"x-request-id", request_id.encode())]
        if self.status != 304:
            headers.append((b"content-length", b"%d" % len(self.body)))
        if close:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else self.body})


def json(content: Any, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """Build a response with a JSON body."""
    return Response(status, orjson.dumps(content), [JSON, *headers])


def html(page: str, headers: Iterable[Header] = (), status: int = 200) -> Response:
    """Build a response with a page."""
    return Response(status, page.encode(), [HTML, *headers])
