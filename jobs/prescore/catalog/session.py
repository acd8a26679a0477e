"""Sessions with the same settings whatever their role, their database or a pooler has set before."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from prescore.catalog.queries import query
from prescore.errors import DatabaseRefused

OLDEST_SERVER = 15
"""The oldest major version of PostgreSQL that prescore works with."""
_PROBES = 3

_LOCAL, _SESSION = sql.SQL("local"), sql.SQL("session")


def require_supported(info: psycopg.ConnectionInfo) -> None:
    """Raise DatabaseRefused for a server that is older than `OLDEST_SERVER`."""
    major = info.server_version // 10_000
    if major < OLDEST_SERVER:
        raise DatabaseRefused(
            f"The server runs PostgreSQL {major}, and prescore needs {OLDEST_SERVER} or later. Upgrade the server, or "
            "use another one."
        )


def writer_settings() -> sql.Composed:
    """Return the statements that prepare a session of jobs and commands."""
    limits = query("session_writer_limits", scope=_SESSION)
    return query("session_prepare", settings=_settings(_SESSION, limits))


def reader_settings(statement_seconds: float) -> sql.Composed:
    """Return the statements that prepare a session that only reads; 0 seconds mean no limit."""
    limits = _reader_limits(_SESSION, statement_seconds)
    return query("session_prepare", settings=_settings(_SESSION, limits))


def local_settings(statement_seconds: float) -> sql.Composed:
    """Return the same settings for one transaction, after which the session is as before."""
    limits = _reader_limits(_LOCAL, statement_seconds)
    return _settings(_LOCAL, limits)


def _reader_limits(scope: sql.SQL, statement_seconds: float) -> sql.Composed:
    milliseconds = sql.Literal(round(statement_seconds * 1000))
    return query("session_reader_limits", scope=scope, statement_timeout=milliseconds)


def _settings(scope: sql.SQL, limits: sql.Composed) -> sql.Composed:
    return query("session_settings", scope=scope, is_local=sql.Literal(scope is _LOCAL), limits=limits)


def process(connection: psycopg.Connection[Any]) -> int:
    """Return the process id of the server's process that runs this connection's statements."""
    cursor = connection.execute(query("session_process"))
    # The first result is that of BEGIN.
    cursor.nextset()
    return _pid(cursor.fetchone())


async def process_async(connection: psycopg.AsyncConnection[Any]) -> int:
    """Return the same for an asynchronous connection."""
    cursor = await connection.execute(query("session_process"))
    cursor.nextset()
    return _pid(await cursor.fetchone())


def _pid(row: Any) -> int:
    pid: int = row["pid"] if isinstance(row, dict) else row[0]
    return pid


def shares_processes(first: psycopg.Connection[Any], second: psycopg.Connection[Any]) -> bool:
    """Return whether a pooler lets two open connections use the same process in turn, as in transaction mode.

    It cannot be certain while other clients use the pool, so it tries more than once.
    """
    before = process(first)
    for _ in range(_PROBES):
        with second.transaction():
            # While the transaction is open, nothing else uses its process.
            if _pid(second.execute(query("session_process_now")).fetchone()) == before:
                return True
            if process(first) != before:
                return True
    return False
