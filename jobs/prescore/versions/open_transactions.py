"""Other sessions' transactions: waited for without blocking any, and without a privilege to see what they do."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection

_PATIENCE = 3.0  # seconds


def still_open(connection: Connection, since: datetime | None) -> list[int]:
    """Sessions whose transactions began before a moment and do not end now or soon; none when all have ended."""
    deadline, old = time.monotonic() + _PATIENCE, _open(connection, since)
    while old and time.monotonic() < deadline:
        time.sleep(0.05)
        old &= _open(connection, since)
    return sorted({row[0] for row in old})


def _open(connection: Connection, since: datetime | None) -> set[tuple[Any, ...]]:
    return {tuple(row.values()) for row in Catalog(connection).all("tables_open_transactions", since=since)}
