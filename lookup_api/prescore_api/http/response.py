"""A reply: status, body and headers, as ASGI takes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

import orjson

Header = tuple[bytes, bytes]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
JSON: Header = (b"content-type", b"application/json")


class Response(NamedTuple):
    """What a request gets."""

    status: int
    body: bytes
    headers: list[Header]

    async def send(self, send: Send, identity: Header, *, bodiless: bool = False) -> None:
        """Give it to the server, with the request's identity among its headers."""
        headers = [*self.headers, identity]
        if self.status != 304:
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if bodiless else self.body})


def json(content: Any, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """A JSON reply."""
    return Response(status, orjson.dumps(content), [JSON, *headers])
