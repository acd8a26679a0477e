"""Transactions of other sessions, awaited without blocking them and without a privilege to see what they do."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection

_PATIENCE_SECONDS = 3.0
_POLL_SECONDS = 0.05


def still_open(connection: Connection, since: datetime | None) -> list[int]:
    """Wait a few seconds for transactions that began before a time; return the process ids of those still open.

    The list is empty when all of them have ended.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    transactions = _open(connection, since)
    while transactions and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        transactions &= _open(connection, since)
    return sorted({pid for pid, _ in transactions})


def _open(connection: Connection, since: datetime | None) -> set[tuple[int, Any]]:
    """Return process id and virtual transaction id of each transaction."""
    rows = Catalog(connection).all("tables_open_transactions", since=since)
    return {(row["pid"], row["virtualxid"]) for row in rows}
