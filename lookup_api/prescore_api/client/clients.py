"""The two clients: they send, wait and read. What is sent, and what is made of replies, is decided in talks."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Self, TypeVar, cast

import httpx

from prescore_api.client import talks
from prescore_api.client.answers import Answer, Model
from prescore_api.client.asking import Key, KeyValue, Terms
from prescore_api.client.attempts import Attempt, Heard, Server, Talk
from prescore_api.client.replies import Reply

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


class Client:
    """Asks the lookup API at a URL, with an API key if it wants one. A context manager; threads may share one.

    `timeout` is how many seconds a request may take in all: connecting, waiting, reading, and up to `retries` further
    attempts. There is another attempt when the connection failed, or when the server wants to be asked again within
    2 s. `transport` is httpx's, for a certificate authority or a proxy of your own.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 5.0,
        retries: int = 2,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._server = Server.of(url, timeout, retries)
        self._http = httpx.Client(base_url=url, headers=_authorization(url, key), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept for the next request."""
        self._http.close()

    def predict(
        self,
        model: str,
        key: KeyValue | Key | None = None,
        /,
        *,
        version: int | None = None,
        max_age: float | None = None,
        outputs: Iterable[str] = (),
        **columns: KeyValue,
    ) -> Answer:
        """The prediction of a key; of one that is not there, an answer that is not `found`.

        A key of one column may be its value alone; any key may be given by column name, as keyword arguments or as a
        mapping, which is the way for a column called `version`, `max_age` or `outputs`. `version` asks for an earlier
        version than the published one, `max_age` sets a bound in seconds, `outputs` names those wanted.
        Raises an ApiError: Invalid, NotAllowed, TooOld, Unavailable; TypeError for what can be no key.
        """
        return self._run(talks.predict(self._server, model, key, columns, Terms.of(version, max_age, outputs)))

    def lookup(
        self,
        model: str,
        keys: Iterable[Key],
        *,
        version: int | None = None,
        max_age: float | None = None,
        outputs: Iterable[str] = (),
    ) -> list[Answer]:
        """The predictions of any number of keys by column name, in their order, duplicates and unknown ones included.

        More than 10,000 are asked in parts, each of which has `timeout` seconds. The parts might be of different
        versions; so those after the first are asked for the version of the first, and all answers are of one. When it
        is retired in between, all parts are asked anew, once. Each answer's age is that of its part's moment.
        Raises as `predict` does, and names the position of a wrong key.
        """
        return self._run(talks.lookup(self._server, model, keys, Terms.of(version, max_age, outputs)))

    def lookup_table(
        self,
        model: str,
        table: pa.Table,
        *,
        version: int | None = None,
        max_age: float | None = None,
        outputs: Iterable[str] = (),
    ) -> pa.Table:
        """As `lookup`, from an Arrow table with a column for each of the key's, to one with a row for each of its rows.

        Its columns are `key` (a struct), `found`, and `prediction`, a struct that is null where the key is not found;
        its schema's metadata has what is the same in all answers, as text: the model, version, clocks and staleness.
        """
        return self._run(talks.lookup_table(self._server, model, table, Terms.of(version, max_age, outputs)))

    def models(self) -> list[Model]:
        """Every published model that the API key opens, without columns; raises NotAllowed, Unavailable."""
        return self._run(talks.models(self._server))

    def model(self, name: str) -> Model:
        """One published model, with its columns; raises Invalid, NotAllowed, Unavailable."""
        return self._run(talks.model(self._server, name))

    def ready(self) -> bool:
        """Whether lookups can be answered now: asked once, and False when nobody answers."""
        return self._run(talks.ready(self._server))

    def _run(self, talk: Talk[T]) -> T:
        try:
            attempt = next(talk)
            while True:
                attempt = talk.send(self._heard(attempt))
        except StopIteration as end:
            return cast("T", end.value)

    def _heard(self, attempt: Attempt) -> Heard:
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
        return Reply(response.status_code, response.headers, bytes(content))


class AsyncClient:
    """`Client` for asyncio: the same calls, to be awaited. An asynchronous context manager, for one event loop."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 5.0,
        retries: int = 2,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._server = Server.of(url, timeout, retries)
        self._http = httpx.AsyncClient(base_url=url, headers=_authorization(url, key), transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that are kept for the next request."""
        await self._http.aclose()

    async def predict(
        self,
        model: str,
        key: KeyValue | Key | None = None,
        /,
        *,
        version: int | None = None,
        max_age: float | None = None,
        outputs: Iterable[str] = (),
        **columns: KeyValue,
    ) -> Answer:
        """As `Client.predict`."""
        return await self._run(talks.predict(self._server, model, key, columns, Terms.of(version, max_age, outputs)))

    async def lookup(
        self,
        model: str,
        keys: Iterable[Key],
        *,
        version: int | None = None,
        max_age: float | None = None,
        outputs: Iterable[str] = (),
    ) -> list[Answer]:
        """As `Client.lookup`."""
        return await self._run(talks.lookup(self._server, model, keys, Terms.of(version, max_age, outputs)))

    async def lookup_table(
        self,
        model: str,
        table: pa.Table,
        *,
        version: int | None = None,
        max_age: float | None = None,
        outputs: Iterable[str] = (),
    ) -> pa.Table:
        """As `Client.lookup_table`."""
        return await self._run(talks.lookup_table(self._server, model, table, Terms.of(version, max_age, outputs)))

    async def models(self) -> list[Model]:
        """As `Client.models`."""
        return await self._run(talks.models(self._server))

    async def model(self, name: str) -> Model:
        """As `Client.model`."""
        return await self._run(talks.model(self._server, name))

    async def ready(self) -> bool:
        """As `Client.ready`."""
        return await self._run(talks.ready(self._server))

    async def _run(self, talk: Talk[T]) -> T:
        try:
            attempt = next(talk)
            while True:
                attempt = talk.send(await self._heard(attempt))
        except StopIteration as end:
            return cast("T", end.value)

    async def _heard(self, attempt: Attempt) -> Heard:
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
        return Reply(response.status_code, response.headers, bytes(content))


def _authorization(url: str, key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    # Httpx would tell the key in its error.
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ValueError("The API key holds what none does, such as a line break at its end.")
    if httpx.URL(url).userinfo:
        raise ValueError("There is a name in the URL and an API key beside it; a request can carry one of them.")
    return {"Authorization": f"Bearer {key}"}


def _request(http: httpx.Client | httpx.AsyncClient, attempt: Attempt) -> httpx.Request:
    asked, bounds = attempt.asked, {"timeout": attempt.budget}
    return http.build_request(
        asked.method, asked.target, content=asked.content, headers=asked.headers, extensions=bounds
    )
