"""The two clients: `calls` decides what to send and what to return, and `connections` do the I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Self, Unpack, overload

import httpx

from prescore_api.client import calls, requests
from prescore_api.client.answers import Answer, Model, ScoreAnswer
from prescore_api.client.arrow import ArrowTable
from prescore_api.client.attempts import Server
from prescore_api.client.connections import AsyncConnections, Connections
from prescore_api.client.json_body import Key, KeyValue, ScoreRow
from prescore_api.client.requests import LookupOptions, Options, Request, Source

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


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
        self._connections = Connections(url, key, transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept open between requests."""
        self._connections.close()

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
        return self._connections.run(calls.predict(self._server, model, key, columns, options))

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
        return self._connections.run(calls.lookup(self._server, model, keys, LookupOptions.build(**options)))

    def lookup_table(self, model: str, table: ArrowTable, **options: Unpack[Options]) -> pa.Table:
        """Look up an Arrow table of keys, as `lookup` does; return a flat table with one row per key.

        `table` is a pyarrow table with the key's columns, or a table of another library that exports it to Arrow, such
        as polars. The result has the key's columns, the outputs, which are null where the key is unknown, `found`,
        `version` and `data_as_of`. The schema's metadata holds what all answers share, as text: the model, the
        version, its times, its age and whether it is stale.
        """
        return self._connections.run(calls.lookup_table(self._server, model, table, LookupOptions.build(**options)))

    @overload
    def score(
        self, model: str, rows: Iterable[ScoreRow], *, prefer: Source = "table", **options: Unpack[Options]
    ) -> list[ScoreAnswer]: ...
    @overload
    def score(
        self, model: str, rows: pd.DataFrame, *, prefer: Source = "table", **options: Unpack[Options]
    ) -> pd.DataFrame: ...
    def score(
        self,
        model: str,
        rows: Iterable[ScoreRow] | pd.DataFrame,
        *,
        prefer: Source = "table",
        **options: Unpack[Options],
    ) -> list[ScoreAnswer] | pd.DataFrame:
        """Return a prediction for each row, from the table by its key, or by scoring its features.

        Rows are mappings with `features`, a `key`, or both, and the answers are a list; or they are the rows of a
        pandas DataFrame. Its columns are the features, and the key is among them or in the index, if there is one. The
        answers then are a DataFrame with the same index: the outputs, with the dtypes of a lookup, `source`, `version`
        and `rejected`. This needs pyarrow. NaN counts as null.

        With `prefer` "table", a row whose key is in the table is answered from it, unless it is older than `max_age`;
        with "live", every row that has features is scored. All answers are from one version, and only the published
        one is scored. Rows that cannot be scored are `rejected`, each with its reason. `options` and errors are those
        of `predict`.
        """
        return self._connections.run(calls.score(self._server, model, rows, prefer, LookupOptions.build(**options)))

    def score_table(
        self, model: str, table: ArrowTable, *, prefer: Source = "table", **options: Unpack[Options]
    ) -> pa.Table:
        """Return a prediction for each row of an Arrow table, as `score` does; return a flat table with the same rows.

        `table` is what `lookup_table` takes, with the features as columns, the key's columns, or both. Other columns
        are ignored. Features have the types that the model takes, or convert to them without a loss. The result has the
        key's columns, if the rows have them, the outputs, which are null in rejected rows, `source`, `rejected`, a
        struct of `column` and `reason` that is null in all other rows, `version` and `data_as_of`. The metadata is that
        of the table that the version has.
        """
        lookup_options = LookupOptions.build(**options)
        return self._connections.run(calls.score_table(self._server, model, table, prefer, lookup_options))

    def rows(self, model: str, *, page_size: int = 1000, **options: Unpack[Options]) -> Iterator[Answer]:
        """Iterate over all rows of a version in the order of their keys, by default of the published one.

        They are read in pages of `page_size`, at most 10,000, each with its own `timeout`. All of them are from the
        version of the first page, even if another one is published meanwhile. If that version is retired before the
        last page, Invalid with the code `version_retired` is raised. Otherwise, `options` and errors are those of
        `predict`.
        """
        request: Request | None = requests.rows(model, LookupOptions.build(**options), page_size)
        while request is not None:
            answers, request = self._connections.run(calls.rows(self._server, request, model))
            yield from answers

    def models(self) -> list[Model]:
        """Return every published model that the API key may read, without columns; raise NotAllowed, Unavailable."""
        return self._connections.run(calls.models(self._server))

    def model(self, name: str) -> Model:
        """Return one published model with its columns; raise Invalid, NotAllowed, Unavailable."""
        return self._connections.run(calls.model(self._server, name))

    def ready(self) -> bool:
        """Return whether lookups can be answered now. It does not retry, and an unreachable server is not ready."""
        return self._connections.run(calls.ready(self._server))


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
        self._connections = AsyncConnections(url, key, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that are kept open between requests."""
        await self._connections.close()

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
        return await self._connections.run(calls.predict(self._server, model, key, columns, options))

    @overload
    async def lookup(self, model: str, keys: Iterable[Key], **options: Unpack[Options]) -> list[Answer]: ...
    @overload
    async def lookup(self, model: str, keys: pd.DataFrame, **options: Unpack[Options]) -> pd.DataFrame: ...
    async def lookup(
        self, model: str, keys: Iterable[Key] | pd.DataFrame, **options: Unpack[Options]
    ) -> list[Answer] | pd.DataFrame:
        """Do the same as `Client.lookup`."""
        return await self._connections.run(calls.lookup(self._server, model, keys, LookupOptions.build(**options)))

    async def lookup_table(self, model: str, table: ArrowTable, **options: Unpack[Options]) -> pa.Table:
        """Do the same as `Client.lookup_table`."""
        return await self._connections.run(
            calls.lookup_table(self._server, model, table, LookupOptions.build(**options))
        )

    @overload
    async def score(
        self, model: str, rows: Iterable[ScoreRow], *, prefer: Source = "table", **options: Unpack[Options]
    ) -> list[ScoreAnswer]: ...
    @overload
    async def score(
        self, model: str, rows: pd.DataFrame, *, prefer: Source = "table", **options: Unpack[Options]
    ) -> pd.DataFrame: ...
    async def score(
        self,
        model: str,
        rows: Iterable[ScoreRow] | pd.DataFrame,
        *,
        prefer: Source = "table",
        **options: Unpack[Options],
    ) -> list[ScoreAnswer] | pd.DataFrame:
        """Do the same as `Client.score`."""
        return await self._connections.run(
            calls.score(self._server, model, rows, prefer, LookupOptions.build(**options))
        )

    async def score_table(
        self, model: str, table: ArrowTable, *, prefer: Source = "table", **options: Unpack[Options]
    ) -> pa.Table:
        """Do the same as `Client.score_table`."""
        lookup_options = LookupOptions.build(**options)
        return await self._connections.run(calls.score_table(self._server, model, table, prefer, lookup_options))

    async def rows(self, model: str, *, page_size: int = 1000, **options: Unpack[Options]) -> AsyncIterator[Answer]:
        """Do the same as `Client.rows`."""
        request: Request | None = requests.rows(model, LookupOptions.build(**options), page_size)
        while request is not None:
            answers, request = await self._connections.run(calls.rows(self._server, request, model))
            for answer in answers:
                yield answer

    async def models(self) -> list[Model]:
        """Do the same as `Client.models`."""
        return await self._connections.run(calls.models(self._server))

    async def model(self, name: str) -> Model:
        """Do the same as `Client.model`."""
        return await self._connections.run(calls.model(self._server, name))

    async def ready(self) -> bool:
        """Do the same as `Client.ready`."""
        return await self._connections.run(calls.ready(self._server))
