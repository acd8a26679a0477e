"""Lookups that share statements: what one shares with the others, and what not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from psycopg import DataError

from prescore.errors import DatabaseUnavailable
from prescore_api.tables.batching import IN_FLIGHT, BatchedLookup, Key


class _Database:
    """Answers when it is let, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[Key]] = []
        self.may_answer = asyncio.Event()

    async def fetch(self, keys: Sequence[Key]) -> list[Any]:
        self.asked.append(list(keys))
        await self.may_answer.wait()
        if any(key == ("bad",) for key in keys):
            raise DataError("no such character")
        return [(1, True, *key) for key in keys]


def _run(story: Callable[[_Database, BatchedLookup], Any], patience: float = 60) -> None:
    async def told() -> None:
        database = _Database()
        await story(database, BatchedLookup(database.fetch, patience))

    asyncio.run(told())


async def _until_asked(database: _Database, times: int) -> None:
    while len(database.asked) < times:
        await asyncio.sleep(0)


def test_what_gathers_goes_into_one_statement_and_everybody_gets_their_own() -> None:
    async def story(database: _Database, merged: BatchedLookup) -> None:
        first = [merged.submit((0,))]
        await _until_asked(database, 1)
        second = [merged.submit((1,))]
        await _until_asked(database, IN_FLIGHT)
        rest = [merged.submit((n,)) for n in range(2, 50)]
        await asyncio.sleep(0)
        assert len(database.asked) == IN_FLIGHT
        database.may_answer.set()
        rows = await asyncio.gather(*first, *second, *rest)
        assert rows == [(1, True, n) for n in range(50)]
        assert database.asked[IN_FLIGHT:] == [[(n,) for n in range(2, 50)]]

    _run(story)


def test_one_key_that_the_database_cannot_take_fails_alone() -> None:
    async def story(database: _Database, merged: BatchedLookup) -> None:
        database.may_answer.set()
        asked = [merged.submit((key,)) for key in ("a", "bad", "b")]
        rows = await asyncio.gather(*asked, return_exceptions=True)
        assert [rows[0], rows[2]] == [(1, True, "a"), (1, True, "b")]
        assert isinstance(rows[1], DataError)

    _run(story)


def test_an_outage_is_told_to_all_who_wait_at_once() -> None:
    async def story(database: _Database, merged: BatchedLookup) -> None:
        async def away(keys: Sequence[Key]) -> list[Any]:
            database.asked.append(list(keys))
            await database.may_answer.wait()
            raise DatabaseUnavailable

        merged._fetch = away
        asked = [merged.submit((0,))]
        await _until_asked(database, 1)
        asked += [merged.submit((1,))]
        await _until_asked(database, 2)
        asked += [merged.submit((n,)) for n in range(2, 5000)]
        database.may_answer.set()
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(one) for one in told} == {DatabaseUnavailable}
        assert len(database.asked) <= IN_FLIGHT + 1

    _run(story)


def test_nobody_waits_behind_a_slow_database_without_end() -> None:
    async def story(database: _Database, merged: BatchedLookup) -> None:
        first = [merged.submit((0,))]
        await _until_asked(database, 1)
        first += [merged.submit((1,))]
        await _until_asked(database, 2)
        waiting = merged.submit((2,))
        while asyncio.get_running_loop().time() <= merged._queue[0].submitted_at + 0.05:
            await asyncio.sleep(0.01)
        database.may_answer.set()
        assert await asyncio.gather(*first) == [(1, True, 0), (1, True, 1)]
        with pytest.raises(DatabaseUnavailable):
            await waiting

    _run(story, patience=0.05)
