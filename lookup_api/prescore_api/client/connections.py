"""Connections to the server, which do the I/O of calls: they send, wait and receive."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import aclosing, closing
from typing import TypeVar, cast

import httpx

from prescore_api.client.attempts import Attempt, Call, Outcome
from prescore_api.client.responses import Response

T = TypeVar("T")


class Connections:
    """Connections that block. `transport` is httpx's own by default."""

    def __init__(self, url: str, key: str | None, transport: httpx.BaseTransport | None) -> None:
        self._http = httpx.Client(base_url=url, headers=_authorization(url, key), transport=transport)

    def close(self) -> None:
        """Close the connections that are kept open between requests."""
        self._http.close()

    def run(self, call: Call[T]) -> T:
        """Return what a call returns, and raise what it raises."""
        try:
            attempt = next(call)
            while True:
                attempt = call.send(self._send(attempt))
        except StopIteration as end:
            return cast("T", end.value)

    def _send(self, attempt: Attempt) -> Outcome:
        if attempt.pause:
            time.sleep(attempt.pause)
        content = bytearray()
        try:
            with closing(self._http.send(_request(self._http, attempt), stream=True)) as response:
                for piece in response.iter_bytes():
                    content += piece
                    attempt.budget.require()
        except httpx.RequestError as error:
            return error
        return Response(response.status_code, response.headers, bytes(content))


class AsyncConnections:
    """`Connections` for asyncio."""

    def __init__(self, url: str, key: str | None, transport: httpx.AsyncBaseTransport | None) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_authorization(url, key), transport=transport)

    async def close(self) -> None:
        """Close the connections that are kept open between requests."""
        await self._http.aclose()

    async def run(self, call: Call[T]) -> T:
        """Return what a call returns, and raise what it raises."""
        try:
            attempt = next(call)
            while True:
                attempt = call.send(await self._send(attempt))
        except StopIteration as end:
            return cast("T", end.value)

    async def _send(self, attempt: Attempt) -> Outcome:
        if attempt.pause:
            await asyncio.sleep(attempt.pause)
        content = bytearray()
        try:
            async with aclosing(await self._http.send(_request(self._http, attempt), stream=True)) as response:
                async for piece in response.aiter_bytes():
                    content += piece
                    attempt.budget.require()
        except httpx.RequestError as error:
            return error
        return Response(response.status_code, response.headers, bytes(content))


def _authorization(url: str, key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    if not key:
        raise ValueError("The API key is empty. Without one, pass None.")
    # httpx would show the key in its own error.
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ValueError("The API key contains a character that no key has, such as a line break at its end.")
    if httpx.URL(url).userinfo:
        raise ValueError("The URL contains a user name, and there is an API key. A request can carry only one of them.")
    return {"Authorization": f"Bearer {key}"}


def _request(http: httpx.Client | httpx.AsyncClient, attempt: Attempt) -> httpx.Request:
    request = attempt.request
    return http.build_request(
        request.method,
        request.target,
        content=request.content,
        headers=request.headers,
        extensions={"timeout": attempt.budget},
    )
