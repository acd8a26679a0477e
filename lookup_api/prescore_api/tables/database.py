"""The reader's connections to Postgres: few, read-only, and with a bound on every wait.

They work directly, and through a pooler in either mode. In transaction mode, each transaction of a client may run in
another session of the server, which other clients use as well. So behind any pooler, statements are not prepared in a
session and leave none of their settings in it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from prescore.catalog import login_errors, lookup, session
from prescore.catalog.database import Database
from prescore.catalog.datetimes import is_out_of_range, load_out_of_range_as_text
from prescore.catalog.driver_errors import translate_errors

Statement = bytes | sql.Composed

# Server-side timeouts come first. This much later, a silent server's connection is cut.
_GRACE_SECONDS = 1
_NAME = "prescore api"
_DEFAULTS: Mapping[str, Any] = {"connect_timeout": 5, "tcp_user_timeout": 5000, "keepalives_idle": 10}
"""Connection parameters, unless the URL sets them."""


@dataclass(frozen=True)
class Bounds:
    """Bounds on the seconds that a request waits for a connection and a statement, and on the number of connections."""

    connection_seconds: float = 2.0
    statement_seconds: float = 5.0
    connections: int = 8


class ReaderPool:
    """A pool of connections that runs statements. As an async context manager it opens and closes them.

    `patience` is how many seconds a request waits for a connection.
    """

    def __init__(self, database: Database, bounds: Bounds) -> None:
        self._url = database.url
        self._bounds = bounds
        self.patience = bounds.connection_seconds
        # psycopg's own count includes requests that have given up.
        self._waiting = 0
        self._failure: Exception | None = None
        self._settings = session.reader_settings(bounds.statement_seconds)
        self._local_settings = session.local_settings(bounds.statement_seconds)
        self._pool = AsyncConnectionPool(
            replace(database, name=_NAME).conninfo(_DEFAULTS),
            connection_class=Connection,
            kwargs={"autocommit": True, "row_factory": dict_row, "pool": self},
            min_size=1,
            max_size=bounds.connections,
            timeout=bounds.connection_seconds,
            # The pool backs off from a server that is down, for longer and longer. After this many seconds it gives up,
            # and the next request makes it try again at once.
            reconnect_timeout=1.0,
            open=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def rows(self, statement: Statement, parameters: Mapping[str, Any]) -> list[DictRow]:
        """Run a statement with named parameters and return its rows; raise DatabaseUnavailable or DatabaseRefused."""
        return await self._run(statement, parameters, psycopg.AsyncCursor[DictRow])

    async def tuples(self, statement: bytes, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement with parameters $1, $2, … and return its rows as tuples; it is faster than `rows`.

        Also raises UnspellableKey.
        """
        return await self._run(statement, parameters, _TupleCursor)

    def pool_stats(self) -> dict[str, int]:
        """Return how many connections are `open` and `idle`, and how many requests are `waiting` for one."""
        stats = self._pool.get_stats()
        return {
            "open": int(stats.get("pool_size", 0)),
            "idle": int(stats.get("pool_available", 0)),
            "waiting": self._waiting,
        }

    async def _run(self, statement: Statement, parameters: Any, cursor_class: Any) -> list[Any]:
        with translate_errors(self._url):
            return await self._run_pooled(statement, parameters, cursor_class)

    async def _run_pooled(
        self, statement: Statement, parameters: Any, cursor_class: Any, *, may_retry: bool = True
    ) -> list[Any]:
        connection = await self._acquire()
        deadline = _Deadline(connection, self._bounds.statement_seconds + _GRACE_SECONDS)
        try:
            if not connection.is_pooled:
                return await _fetch(cursor_class(connection), statement, parameters)
            async with connection.transaction():
                await connection.execute(self._local_settings)
                return await _fetch(cursor_class(connection), statement, parameters)
        except psycopg.OperationalError:
            was_lost = connection.closed and not deadline.passed
            if not (was_lost and may_retry):
                raise
        finally:
            deadline.cancel()
            await self._pool.putconn(connection)
        # The connection had been lost while it was idle in the pool, and probably the others with it. Statements only
        # read, so that a second run does no harm.
        await self._pool.check()
        return await self._run_pooled(statement, parameters, cursor_class, may_retry=False)

    async def _acquire(self) -> Connection:
        """Take a connection from the pool.

        The pool's context manager would cost more: it also ends transactions, and there are none.
        """
        self._waiting += 1
        try:
            return await self._pool.getconn()
        except PoolTimeout as timeout:
            # The pool connects in the background, and does not report why it cannot.
            if self._failure is None:
                raise
            raise self._failure from timeout
        finally:
            self._waiting -= 1

    async def prepare(self, connection: Connection) -> None:
        """Prepare a connection that was opened for the pool."""
        session.require_supported(connection.info)
        connection.is_pooled = await session.process_async(connection) != connection.info.backend_pid
        if connection.is_pooled:
            connection.prepare_threshold = None
            await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
            await connection.set_read_only(True)
        else:
            await connection.execute(self._settings)

    def note(self, failure: Exception | None) -> None:
        """Note why the last attempt to connect failed, or that it succeeded."""
        self._failure = failure


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection of a pool. `is_pooled` says whether there is another pooler between it and the server."""

    is_pooled = False

    @classmethod
    async def connect(cls, conninfo: str = "", *, pool: ReaderPool, **options: Any) -> Self:  # type: ignore[override]
        """Open and prepare a connection for a pool, which notes why that fails."""
        try:
            connection = await super().connect(conninfo, **options)
            try:
                await pool.prepare(connection)
            except BaseException:
                await connection.close()
                raise
        except Exception as error:
            if isinstance(error, psycopg.OperationalError):
                await asyncio.to_thread(login_errors.add_sqlstate, error)
            pool.note(error)
            raise
        pool.note(None)
        return connection


class _TupleCursor(psycopg.AsyncRawCursor[tuple[Any, ...]]):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, row_factory=tuple_row)


async def _fetch(cursor: psycopg.AsyncCursor[Any], statement: Statement, parameters: Any) -> list[Any]:
    try:
        result = await cursor.execute(statement, parameters)
        return await result.fetchall()
    except psycopg.DataError as error:
        lookup.raise_unspellable(error)
        if not is_out_of_range(error):
            raise
    load_out_of_range_as_text(cursor.adapters)
    result = await cursor.execute(statement, parameters)
    return await result.fetchall()


class _Deadline:
    """Cuts a connection whose server no longer responds, and so may not enforce its own timeouts either."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection = connection
        self.passed = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._cut)

    def cancel(self) -> None:
        """Keep the connection: the statement has ended."""
        self._timer.cancel()

    def _cut(self) -> None:
        self.passed = True
        with suppress(OSError):
            descriptor = os.dup(self._connection.fileno())
            # psycopg, which waits for the socket, then sees it closed as if by the server.
            with socket.socket(fileno=descriptor) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)
