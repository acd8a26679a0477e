"""Waits that Postgres makes a commit sit through without a word: they are logged after some seconds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prescore.catalog import heartbeat
from prescore.catalog.database import Database
from prescore.catalog.queries import query
from prescore.errors import PrescoreError

_PATIENCE_SECONDS = 5.0

_log = logging.getLogger("prescore")


@contextmanager
def logged(database: Database) -> Iterator[None]:
    """While the block runs, log a commit of prescore's that waits for a synchronous standby, once."""

    def watch() -> bool:
        # A database that does not answer is an error elsewhere.
        with suppress(PrescoreError):
            return not _log_wait(database)
        return True

    with heartbeat.beating(watch, _PATIENCE_SECONDS, awaited=False):
        yield


def _log_wait(database: Database) -> bool:
    with database.connect() as connection:
        row = connection.execute(query("sessions_waiting_for_standby"), {"seconds": _PATIENCE_SECONDS}).fetchone()
    if row is None:
        return False
    _log.warning(
        "A commit has been waiting for a standby for %.0f s: synchronous_standby_names is %r, and no such standby "
        "confirms it. It continues when one does, or when an administrator changes that setting and reloads it.",
        _PATIENCE_SECONDS,
        row["standbys"],
    )
    return True
