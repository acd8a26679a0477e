"""Concurrent lookups share round trips: what gathers while others are under way goes into the next statement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from prescore.contract.lookup import Row

Key = tuple[Any, ...]
Fetch = Callable[[Sequence[Key]], Awaitable[list[Row]]]
# Two keep the database busy while one is being read; more would only make each smaller.
IN_FLIGHT = 2
_MOST = 1000


class Merged:
    """Lookups of one version's keys, one at a time for those who ask, many at a time for the database."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Key, asyncio.Future[Row]]] = []
        self._running: set[asyncio.Task[None]] = set()

    def ask(self, key: Key) -> asyncio.Future[Row]:
        """The row of a key, when it is there."""
        future: asyncio.Future[Row] = self._loop.create_future()
        self._waiting.append((key, future))
        if len(self._running) < IN_FLIGHT:
            task = self._loop.create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return future

    async def _run(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            try:
                rows = await self._fetch([key for key, _ in asked])
            except BaseException as error:
                for _, future in asked:
                    if not future.done():  # whoever asked has gone
                        future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                if not isinstance(error, Exception):
                    raise
            else:
                for (_, future), row in zip(asked, rows, strict=True):
                    if not future.done():
                        future.set_result(row)
