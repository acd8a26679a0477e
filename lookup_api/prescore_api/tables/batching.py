"""Concurrent lookups share round trips: what gathers while others are under way goes into the next statement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from psycopg import DataError

from prescore.catalog.lookup import Row
from prescore.errors import DatabaseUnavailable

Key = tuple[Any, ...]
Fetch = Callable[[Sequence[Key]], Awaitable[list[Row]]]
# Two keep the database busy while one is being read; more would only make each smaller.
IN_FLIGHT = 2
_MOST = 1000


class BatchedLookup:
    """Lookups of one version's keys, one at a time for those who ask, many at a time for the database.

    Nobody waits for more than a statement or two: what gathers behind a slow one is told that the database is away.
    """

    def __init__(self, fetch: Fetch, patience: float) -> None:
        self._fetch, self._patience = fetch, patience
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._running: set[asyncio.Task[None]] = set()

    def submit(self, key: Key) -> asyncio.Future[Row]:
        """The row of a key, when it is there; raises what its statement raises, or DatabaseUnavailable."""
        waiting = _Waiting(key, self._loop.create_future(), self._loop.time())
        self._waiting.append(waiting)
        if len(self._running) < IN_FLIGHT:
            task = self._loop.create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        elif len(self._waiting) > _MOST:  # the database is behind, or away: those who came first have waited longest
            self._dismiss()
        return waiting.future

    async def _run(self) -> None:
        while self._waiting:
            self._dismiss()
            asked, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            if asked:
                await self._answer(asked)

    async def _answer(self, asked: list[_Waiting]) -> None:
        try:
            rows = await self._fetch([one.key for one in asked])
        except DataError as error:  # one key that the database cannot take must not fail the others
            if len(asked) == 1:
                asked[0].fail(error)
                return
            for one in asked:
                await self._answer([one])
        except Exception as error:
            others, self._waiting = self._waiting, []
            for one in [*asked, *others]:
                one.fail(error)
        else:
            for one, row in zip(asked, rows, strict=True):
                # Whoever asked has gone.
                if not one.future.done():
                    one.future.set_result(row)

    def _dismiss(self) -> None:
        """Let go of those who have waited for too long."""
        since = self._loop.time() - self._patience
        old = [one for one in self._waiting if one.since < since]
        if old:
            self._waiting = [one for one in self._waiting if one.since >= since]
            for one in old:
                one.fail(DatabaseUnavailable("The database answers more slowly than it is asked."))


class _Waiting(NamedTuple):
    key: Key
    future: asyncio.Future[Row]
    since: float

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            # Whoever asked may have gone: asyncio need not complain.
            self.future.exception()
