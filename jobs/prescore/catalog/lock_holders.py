"""The sessions that hold locks on prescore's tables, for the message of a statement that waited for one in vain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.errors import LockNotAvailable

from prescore.catalog.queries import query
from prescore.errors import Busy, DatabaseUnavailable
from prescore.wording import age

_BEGINNING = "Locks on prescore's tables are held by"


@contextmanager
def named(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Add the sessions that hold locks to the error of a block that gave up waiting for one.

    `connection` runs the query that finds them, after the block. It may be in no transaction, or in one that failed.
    """
    try:
        yield
    except (Busy, DatabaseUnavailable) as error:
        holders = _holders(connection) if _is_about_locks(error) else ""
        if not holders:
            raise
        raise type(error)(f"{error} {holders}") from error.__cause__


def _is_about_locks(error: Exception) -> bool:
    return isinstance(error.__cause__, LockNotAvailable) and _BEGINNING not in str(error)


def _holders(connection: psycopg.Connection[Any]) -> str:
    """Return a sentence on the sessions that hold locks, nothing if there is none any more."""
    rows: list[dict[str, Any]] = []
    # The error itself matters more than what could be found out about it.
    with suppress(psycopg.Error):
        connection.rollback()
        rows = connection.execute(query("sessions_holding_locks")).fetchall()
    if not rows:
        return ""
    return f"{_BEGINNING} {'; '.join(map(_sentence, rows))}. To end one: select pg_terminate_backend({rows[0]['pid']})."


def _sentence(row: dict[str, Any]) -> str:
    names = ", ".join(name for name in (row["user"], row["application"]) if name)
    text = f"session {row['pid']}"
    if names:
        text += f" ({names})"
    if row["transaction_seconds"] is None:
        return text
    return (
        f"{text}, in a transaction for {age(row['transaction_seconds'])}, whose last statement began "
        f"{age(row['statement_seconds'])} ago"
    )
