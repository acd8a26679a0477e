"""Batching of concurrent lookups: keys that arrive while statements are running share the next statement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from psycopg import DataError

from prescore.catalog.version_row import Row
from prescore.errors import DatabaseUnavailable, Transient

Key = tuple[Any, ...]
Fetch = Callable[[Sequence[Key]], Awaitable[list[Row]]]
# With two statements, the database runs one while the rows of the other are read. More would only be smaller.
IN_FLIGHT = 2
_BATCH_SIZE = 1000


class BatchedLookup:
    """Lookups of one version's keys: callers submit single keys, the database receives batches.

    `fetch` returns the rows of a batch in its order. A key waits at most `patience` seconds for its statement to start.
    """

    def __init__(self, fetch: Fetch, patience: float) -> None:
        self._fetch = fetch
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._queue: list[_Lookup] = []
        self._workers: set[asyncio.Task[None]] = set()

    def submit(self, key: Key) -> asyncio.Future[Row]:
        """Return a future for a key's row. It raises what its statement raises, or DatabaseUnavailable."""
        lookup = _Lookup(key, self._loop.create_future(), self._loop.time())
        self._queue.append(lookup)
        if len(self._workers) < IN_FLIGHT:
            worker = self._loop.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        elif len(self._queue) > _BATCH_SIZE:
            # The database is slow or away: without this, the queue would grow until a statement ends.
            self._drop_overdue()
        return lookup.future

    async def _work(self) -> None:
        while self._queue:
            self._drop_overdue()
            batch = self._queue[:_BATCH_SIZE]
            self._queue = self._queue[_BATCH_SIZE:]
            if batch:
                await self._look_up(batch)

    async def _look_up(self, batch: list[_Lookup]) -> None:
        try:
            keys = [lookup.key for lookup in batch]
            rows = await self._fetch(keys)
            _resolve(batch, rows)
        except DataError as error:
            await self._look_up_singly(batch, error)
        except Exception as error:
            self._fail_all(batch, error)
        except BaseException:
            # The task was cancelled, so that nothing would ever resolve these futures.
            self._fail_all(batch, Transient("The lookup was cancelled."))
            raise

    async def _look_up_singly(self, batch: list[_Lookup], error: DataError) -> None:
        """Find the key that Postgres rejects, so that only its own lookup fails."""
        if len(batch) == 1:
            batch[0].fail(error)
            return
        for lookup in batch:
            await self._look_up([lookup])

    def _fail_all(self, batch: list[_Lookup], error: Exception) -> None:
        """Fail a batch, and the queue with it: it would most likely fail in the same way, only later."""
        queue, self._queue = self._queue, []
        for lookup in (*batch, *queue):
            lookup.fail(error)

    def _drop_overdue(self) -> None:
        """Fail the lookups that have waited for longer than `patience`; the queue is in order of arrival."""
        deadline = self._loop.time() - self._patience
        overdue = [lookup for lookup in self._queue if lookup.submitted_at < deadline]
        if not overdue:
            return
        self._queue = self._queue[len(overdue) :]
        for lookup in overdue:
            lookup.fail(DatabaseUnavailable("The database answers more slowly than lookups arrive."))


class _Lookup(NamedTuple):
    key: Key
    future: asyncio.Future[Row]
    submitted_at: float

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            # asyncio logs exceptions that are never retrieved, and the caller may have been cancelled.
            self.future.exception()


def _resolve(batch: list[_Lookup], rows: list[Row]) -> None:
    """Give each lookup its row; raise ValueError, before any of them is resolved, unless there is one for each."""
    if len(rows) != len(batch):
        raise ValueError(f"a statement returned {len(rows)} rows for {len(batch)} keys")
    for lookup, row in zip(batch, rows, strict=True):
        # A future is done already if its caller was cancelled.
        if not lookup.future.done():
            lookup.future.set_result(row)
