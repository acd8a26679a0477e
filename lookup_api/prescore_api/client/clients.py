"""The two clients, which do the I/O: they send, wait and receive. `calls` decides what to send and what to return."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Self, TypeVar, Unpack, cast, overload

import httpx

from prescore_api.client import calls, requests
from prescore_api.client.answers import Answer, Model, ScoreAnswer
from prescore_api.client.arrow import ArrowTable
from prescore_api.client.attempts import Attempt, Call, Outcome, Server
from prescore_api.client.requests import Key, KeyValue, LookupOptions, Options, Request, ScoreRow
from prescore_api.client.responses import Response

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

T = TypeVar("T")


class Client:
    """A blocking client of the lookup API at a URL. It is a context manager, and threads can share it.

    `key` is the API key, for a server that requires one. `timeout` is how many seconds a request may take in total:
    connecting, waiting, reading, and up to `retries` retries. The client retries when the connection fails, or when the
    server requests a retry within 2 s. `transport` is passed to httpx, for your own certificate authority or proxy.
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
        self._server = Server.parse(url, timeout, retries)
        self._http = httpx.Client(base_url=url, headers=_authorization(url, key), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept open between requests."""
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
        """Return the prediction for a key; if the key does not exist, the answer is not `found`.

        Pass a key of one column as a value. Pass any key by column name, as keyword arguments or as a mapping; only a
        mapping can name a column `version`, `max_age` or `outputs`. `version` selects another version than the
        published one, `max_age` is the maximum age of the data in seconds, and `outputs` selects outputs by name.
        Raises an ApiError (Invalid, NotAllowed, TooOld or Unavailable), or TypeError if the key cannot be one.
        """
        options = LookupOptions.build(version, max_age, outputs)
        return self._run(calls.predict(self._server, model, key, columns, options))

    @overload
    def lookup(self, model: str, keys: Iterable[Key], **options: Unpack[Options]) -> list[Answer]: ...
    @overload
    def lookup(self, model: str, keys: pd.DataFrame, **options: Unpack[Options]) -> pd.DataFrame: ...
    def lookup(
        self, model: str, keys: Iterable[Key] | pd.DataFrame, **options: Unpack[Options]
    ) -> list[Answer] | pd.DataFrame:
        """Return the predictions for any number of keys, in their order, duplicate and unknown keys included.

        `options` are `version`, `max_age` and `outputs`, as in `predict`.

        Keys are mappings in a list or another iterable, and the answers are a list, or they are the rows of a pandas
        DataFrame. Such a frame has the key's columns among its columns or the levels of its index; other columns are
        ignored. The answers then are a DataFrame with the same index: its key columns, the outputs, which are missing
        where the key is unknown, `found`, `version` and `data_as_of`. `attrs` has `model`, `version`, `data_as_of`,
        `published_at`, `age_seconds` and `stale`. This needs pyarrow.

        More than 10,000 keys are sent in parts, each with its own `timeout`. All answers are from one version, the one
        that answers the first part, or, while the model has a canary, each is from the one of the two that answers its
        key; if one is retired in between, all parts are sent again, once. The ages of the answers are those at the time
        of their part. Raises as `predict` does, with the position of a wrong key.
        """
        return self._run(calls.lookup(self._server, model, keys, LookupOptions.build(**options)))

    def lookup_table(self, model: str, table: ArrowTable, **options: Unpack[Options]) -> pa.Table:
        """Look up an Arrow table of keys, as `lookup` does; return a flat table with one row per key.

        `table` is a pyarrow table with the key's columns, or a table of another library that exports it to Arrow, such
        as polars. The result has the key's columns, the outputs, which are null where the key is unknown, `found`,
        `version` and `data_as_of`. The schema's metadata holds what all answers share, as text: the model, the
        version, its times, its age and whether it is stale.
        """
        return self._run(calls.lookup_table(self._server, model, table, LookupOptions.build(**options)))

    @overload
    def score(
        self, model: str, rows: Iterable[ScoreRow], *, prefer: str = "table", **options: Unpack[Options]
    ) -> list[ScoreAnswer]: ...
    @overload
    def score(
        self, model: str, rows: pd.DataFrame, *, prefer: str = "table", **options: Unpack[Options]
    ) -> pd.DataFrame: ...
    def score(
        self,
        model: str,
        rows: Iterable[ScoreRow] | pd.DataFrame,
        *,
        prefer: str = "table",
        **options: Unpack[Options],
    ) -> list[ScoreAnswer] | pd.DataFrame:
        """Return a prediction for each row, from the table by its key, or by scoring its features.

        Rows are mappings with `features`, a `key`, or both, and the answers are a list; or they are the rows of a
        pandas DataFrame. Its columns are the features, and the key is among them or in the index, if there is one. The
        answers then are a DataFrame with the same index: the outputs, `source`, `version` and `rejected`. NaN counts as
        null.

        With `prefer` "table", a row whose key is in the table is answered from it, unless it is older than `max_age`;
        with "live", every row that has features is scored. All answers are from one version, and only the published
        one is scored. Rows that cannot be scored are `rejected`, each with its reason. `options` and errors are those
        of `predict`.
        """
        return self._run(calls.score(self._server, model, rows, prefer, LookupOptions.build(**options)))

    def rows(self, model: str, *, page_size: int = 1000, **options: Unpack[Options]) -> Iterator[Answer]:
        """Iterate over all rows of a version in the order of their keys, by default of the published one.

        They are read in pages of `page_size`, at most 10,000, each with its own `timeout`. All of them are from the
        version of the first page, even if another one is published meanwhile. If that version is retired before the
        last page, Invalid with the code `version_retired` is raised. Otherwise, `options` and errors are those of
        `predict`.
        """
        request: Request | None = requests.rows(model, LookupOptions.build(**options), page_size)
        while request is not None:
            answers, request = self._run(calls.rows(self._server, request, model))
            yield from answers

    def models(self) -> list[Model]:
        """Return every published model that the API key may read, without columns; raise NotAllowed, Unavailable."""
        return self._run(calls.models(self._server))

    def model(self, name: str) -> Model:
        """Return one published model with its columns; raise Invalid, NotAllowed, Unavailable."""
        return self._run(calls.model(self._server, name))

    def ready(self) -> bool:
        """Return whether lookups can be answered now. It does not retry, and an unreachable server is not ready."""
        return self._run(calls.ready(self._server))

    def _run(self, call: Call[T]) -> T:
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


class AsyncClient:
    """`Client` for asyncio: the same calls, awaited. It is an asynchronous context manager, for one event loop."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 5.0,
        retries: int = 2,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._server = Server.parse(url, timeout, retries)
        self._http = httpx.AsyncClient(base_url=url, headers=_authorization(url, key), transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that are kept open between requests."""
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
        """Do the same as `Client.predict`."""
        options = LookupOptions.build(version, max_age, outputs)
        return await self._run(calls.predict(self._server, model, key, columns, options))

    @overload
    async def lookup(self, model: str, keys: Iterable[Key], **options: Unpack[Options]) -> list[Answer]: ...
    @overload
    async def lookup(self, model: str, keys: pd.DataFrame, **options: Unpack[Options]) -> pd.DataFrame: ...
    async def lookup(
        self, model: str, keys: Iterable[Key] | pd.DataFrame, **options: Unpack[Options]
    ) -> list[Answer] | pd.DataFrame:
        """Do the same as `Client.lookup`."""
        return await self._run(calls.lookup(self._server, model, keys, LookupOptions.build(**options)))

    async def lookup_table(self, model: str, table: ArrowTable, **options: Unpack[Options]) -> pa.Table:
        """Do the same as `Client.lookup_table`."""
        return await self._run(calls.lookup_table(self._server, model, table, LookupOptions.build(**options)))

    @overload
    async def score(
        self, model: str, rows: Iterable[ScoreRow], *, prefer: str = "table", **options: Unpack[Options]
    ) -> list[ScoreAnswer]: ...
    @overload
    async def score(
        self, model: str, rows: pd.DataFrame, *, prefer: str = "table", **options: Unpack[Options]
    ) -> pd.DataFrame: ...
    async def score(
        self,
        model: str,
        rows: Iterable[ScoreRow] | pd.DataFrame,
        *,
        prefer: str = "table",
        **options: Unpack[Options],
    ) -> list[ScoreAnswer] | pd.DataFrame:
        """Do the same as `Client.score`."""
        return await self._run(calls.score(self._server, model, rows, prefer, LookupOptions.build(**options)))

    async def rows(self, model: str, *, page_size: int = 1000, **options: Unpack[Options]) -> AsyncIterator[Answer]:
        """Do the same as `Client.rows`."""
        request: Request | None = requests.rows(model, LookupOptions.build(**options), page_size)
        while request is not None:
            answers, request = await self._run(calls.rows(self._server, request, model))
            for answer in answers:
                yield answer

    async def models(self) -> list[Model]:
        """Do the same as `Client.models`."""
        return await self._run(calls.models(self._server))

    async def model(self, name: str) -> Model:
        """Do the same as `Client.model`."""
        return await self._run(calls.model(self._server, name))

    async def ready(self) -> bool:
        """Do the same as `Client.ready`."""
        return await self._run(calls.ready(self._server))

    async def _run(self, call: Call[T]) -> T:
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
