"""The database as the API uses it: a few read-only connections, and every wait bounded."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool

from prescore.catalog.database import Database, first_line, translate_errors
from prescore.catalog.datetimes import is_out_of_range, load_out_of_range_as_text
from prescore.catalog.queries import query
from prescore.errors import DatabaseRefused

Connection = psycopg.AsyncConnection[DictRow]
Statement = bytes | sql.Composed


@dataclass(frozen=True)
class Bounds:
    """How long a request may wait for a connection and for an answer, and how many connections there may be."""

    connection_seconds: float = 2.0
    statement_seconds: float = 5.0
    connections: int = 8


class ReaderPool:
    """Runs statements on pooled connections; an async context manager that opens and closes them."""

    def __init__(self, database: Database, bounds: Bounds) -> None:
        self._url, self._bounds = database.url, bounds
        self.patience = bounds.connection_seconds
        # The pool's own number counts those who have given up.
        self._waiting = 0
        self._pool = AsyncConnectionPool(
            database.url,
            connection_class=Connection,
            kwargs={"autocommit": True, "row_factory": dict_row, "application_name": "prescore api"}
            | {"connect_timeout": 5, "tcp_user_timeout": 5000, "keepalives_idle": 10}
            # Whatever the database has.
            | {"client_encoding": "UTF8"},
            configure=self._configure,
            min_size=1,
            max_size=bounds.connections,
            timeout=bounds.connection_seconds,
            # Its attempts come ever more rarely; given up, the next request starts a new one.
            reconnect_timeout=1.0,
            open=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[DictRow]:
        """What a statement gives; raises DatabaseUnavailable or DatabaseRefused."""
        return await self._asked(statement, parameters, psycopg.AsyncCursor[DictRow])

    async def tuples(self, statement: bytes, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The same for those who ask often: rows are tuples, and parameters are $1, $2, …."""
        return await self._asked(statement, parameters, _Raw)

    def pool_stats(self) -> dict[str, int]:
        """How many connections there are, how many are idle, and how many requests wait for one."""
        told = self._pool.get_stats()
        names = {"open": "pool_size", "idle": "pool_available"}
        return {state: int(told.get(name, 0)) for state, name in names.items()} | {"waiting": self._waiting}

    async def _asked(self, statement: Statement, parameters: Any, cursors: Any) -> list[Any]:
        with translate_errors(self._url):
            try:
                return await self._rows(statement, parameters, cursors)
            except (pg.UndefinedTable, pg.UndefinedColumn) as error:
                raise DatabaseRefused(f"The database lacks what a lookup needs: {first_line(error)}") from error

    async def _rows(self, statement: Statement, parameters: Any, cursors: Any, *, again: bool = True) -> list[Any]:
        connection = await self._lent()
        deadline = _Deadline(connection, self._bounds.statement_seconds + 1)
        try:
            return await _fetch(cursors(connection), statement, parameters)
        except psycopg.OperationalError:
            if deadline.passed or not (again and connection.closed):
                raise
        finally:
            deadline.cancel()
            await self._pool.putconn(connection)
        # The connection had died in the pool, and others with it, probably. Reading twice harms nobody.
        await self._pool.check()
        return await self._rows(statement, parameters, cursors, again=False)

    async def _lent(self) -> Connection:
        """A connection of the pool; its own context manager would also end a transaction, and there is none."""
        self._waiting += 1
        try:
            return await self._pool.getconn()
        finally:
            self._waiting -= 1

    async def _configure(self, connection: Connection) -> None:
        milliseconds = str(round(self._bounds.statement_seconds * 1000))
        await connection.execute(query("lookup_session"), {"statement_timeout": milliseconds})


class _Raw(psycopg.AsyncRawCursor[tuple[Any, ...]]):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, row_factory=tuple_row)


async def _fetch(cursor: psycopg.AsyncCursor[Any], statement: Statement, parameters: Any) -> list[Any]:
    try:
        return await (await cursor.execute(statement, parameters)).fetchall()
    except psycopg.DataError as error:
        if not is_out_of_range(error):
            raise
    load_out_of_range_as_text(cursor.adapters)
    return await (await cursor.execute(statement, parameters)).fetchall()


class _Deadline:
    """Cuts a connection whose server has stopped answering: it can no more be trusted to keep its own timeout."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection, self.passed = connection, False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._cut)

    def cancel(self) -> None:
        """The answer is there."""
        self._timer.cancel()

    def _cut(self) -> None:
        self.passed = True
        # What waits for the socket then finds its end, as if the server had closed it.
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
