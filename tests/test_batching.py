"""Batching: concurrent lookups share statements and latency, but not each other's errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from psycopg import DataError

from prescore.errors import DatabaseUnavailable, Transient
from prescore_api.tables.batching import IN_FLIGHT, BatchedLookup, Key


class _Database:
    """A database that answers once `may_answer` is set, and records the keys of each statement."""

    def __init__(self) -> None:
        self.fetched: list[list[Key]] = []
        self.may_answer = asyncio.Event()

    async def fetch(self, keys: Sequence[Key]) -> list[Any]:
        self.fetched.append(list(keys))
        await self.may_answer.wait()
        if any(key == ("bad",) for key in keys):
            raise DataError("no such character")
        return [(1, True, *key) for key in keys]


def _run(scenario: Callable[[_Database, BatchedLookup], Any], patience: float = 60) -> None:
    async def run_with_database() -> None:
        database = _Database()
        await scenario(database, BatchedLookup(database.fetch, patience))

    asyncio.run(run_with_database())


async def _until_fetching(database: _Database, count: int) -> None:
    while len(database.fetched) < count:
        await asyncio.sleep(0)


def test_keys_that_queue_up_share_one_statement_and_each_gets_its_own_row() -> None:
    async def scenario(database: _Database, batched: BatchedLookup) -> None:
        first = [batched.submit((0,))]
        await _until_fetching(database, 1)
        second = [batched.submit((1,))]
        await _until_fetching(database, IN_FLIGHT)
        rest = [batched.submit((n,)) for n in range(2, 50)]
        await asyncio.sleep(0)
        assert len(database.fetched) == IN_FLIGHT
        database.may_answer.set()
        rows = await asyncio.gather(*first, *second, *rest)
        assert rows == [(1, True, n) for n in range(50)]
        assert database.fetched[IN_FLIGHT:] == [[(n,) for n in range(2, 50)]]

    _run(scenario)


def test_a_key_that_the_database_rejects_fails_alone() -> None:
    async def scenario(database: _Database, batched: BatchedLookup) -> None:
        database.may_answer.set()
        lookups = [batched.submit((key,)) for key in ("a", "bad", "b")]
        rows = await asyncio.gather(*lookups, return_exceptions=True)
        assert [rows[0], rows[2]] == [(1, True, "a"), (1, True, "b")]
        assert isinstance(rows[1], DataError)

    _run(scenario)


def test_an_outage_fails_all_queued_lookups_at_once() -> None:
    async def scenario(database: _Database, batched: BatchedLookup) -> None:
        async def fail(keys: Sequence[Key]) -> list[Any]:
            database.fetched.append(list(keys))
            await database.may_answer.wait()
            raise DatabaseUnavailable

        batched._fetch = fail
        lookups = [batched.submit((0,))]
        await _until_fetching(database, 1)
        lookups += [batched.submit((1,))]
        await _until_fetching(database, 2)
        lookups += [batched.submit((n,)) for n in range(2, 5000)]
        database.may_answer.set()
        results = await asyncio.gather(*lookups, return_exceptions=True)
        assert {type(result) for result in results} == {DatabaseUnavailable}
        assert len(database.fetched) <= IN_FLIGHT + 1

    _run(scenario)


@pytest.mark.parametrize("rows", [[], [(1, True, 0)] * 3], ids=["none", "one too many"])
def test_a_statement_that_returns_other_rows_fails_its_lookups_at_once(rows: list[Any]) -> None:
    """Such as one that a pooler ran for another client. Otherwise, its callers would wait forever."""

    async def scenario(_: _Database, batched: BatchedLookup) -> None:
        async def fetch(_: Sequence[Key]) -> list[Any]:
            return rows

        batched._fetch = fetch
        lookups = [batched.submit((k,)) for k in range(2)]
        results = await asyncio.wait_for(asyncio.gather(*lookups, return_exceptions=True), 10)
        assert {type(result) for result in results} == {ValueError}

    _run(scenario)


def test_lookups_fail_when_their_task_is_cancelled() -> None:
    async def scenario(database: _Database, batched: BatchedLookup) -> None:
        lookups = [batched.submit((k,)) for k in range(3)]
        await _until_fetching(database, 1)
        lookups.append(batched.submit((3,)))
        for worker in list(batched._workers):
            worker.cancel()
        results = await asyncio.wait_for(asyncio.gather(*lookups, return_exceptions=True), 10)
        assert {type(result) for result in results} == {Transient}

    _run(scenario)


def test_a_lookup_that_queues_beyond_its_patience_fails() -> None:
    async def scenario(database: _Database, batched: BatchedLookup) -> None:
        first = [batched.submit((0,))]
        await _until_fetching(database, 1)
        first += [batched.submit((1,))]
        await _until_fetching(database, 2)
        queued = batched.submit((2,))
        while asyncio.get_running_loop().time() <= batched._queue[0].submitted_at + 0.05:
            await asyncio.sleep(0.01)
        database.may_answer.set()
        assert await asyncio.gather(*first) == [(1, True, 0), (1, True, 1)]
        with pytest.raises(DatabaseUnavailable):
            await queued

    _run(scenario, patience=0.05)
