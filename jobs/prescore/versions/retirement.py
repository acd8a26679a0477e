"""Retire versions: mark those that retention no longer keeps, detach and drop their tables, remove their files."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from psycopg import errors as pg

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.project.spec import Retention
from prescore.store.store import Store
from prescore.versions import lifecycle, open_transactions, parents, partitions, table
from prescore.versions.retention import Inventory

_log = logging.getLogger("prescore")
_ELSEWHERE = (
    pg.LockNotAvailable,
    pg.QueryCanceled,
    pg.DeadlockDetected,
    # While another detach is under way.
    pg.ObjectNotInPrerequisiteState,
    # Another retirement has just detached or dropped the table, or is about to.
    pg.UndefinedTable,
    pg.InternalError_,
    # An object was created since its dependents were queried.
    pg.DependentObjectsStillExist,
)
"""Errors of detaching and dropping a table that another session is at work on. The next retirement tries again."""


def retire(
    connection: Connection,
    store: Store,
    model: str,
    retention: Retention,
) -> Iterator[Version]:
    """Retire the versions that nothing keeps, and yield each version when its table has been dropped, newest first.

    A version that a transaction may still read, or that another object depends on, is left for the next time: readers
    are never blocked, and two retirements at once are harmless. A parent that the view no longer reads is dropped after
    its last version. Raises the store's error before any table is dropped if the store cannot be reached.
    """
    store.require_access()
    catalog = Catalog(connection)
    with connection.transaction():
        # While the model is locked, no other session publishes or rolls back to a version that is retired here.
        catalog.model(model, lock=True)
        inventory = Inventory.from_catalog(catalog, model, retention)
        for version in inventory.retirable():
            number = version["version"]
            catalog.execute("versions_retire", model=model, version=number)
            catalog.record_event(model, number, "retired")
        catalog.execute(
            "rejects_sweep",
            model=model,
            seconds=retention.candidates.total_seconds(),
        )
        # A writer that was granted its rights before there were profiles retires versions nevertheless.
        if catalog.one("profiles_right")["granted"]:
            catalog.execute("profiles_sweep", model=model)
    # An older version may lend its rows to a newer one.
    for version in reversed(undropped(connection, model)):
        if _drop(connection, version):
            lifecycle.remove_files(connection, store, version)
            yield version
    parents.drop_empty(connection, model)


def dependents(connection: Connection, version: Version) -> list[str]:
    """Return the objects, such as other people's views, that keep a version's table from being dropped."""
    rows = Catalog(connection).all("tables_dependents", model=version["model"], version=version["version"])
    return [row["dependent"] for row in rows]


def undropped(connection: Connection, model: str) -> list[Version]:
    """Return the retired and failed versions whose table is still there, oldest first."""
    return Catalog(connection).all("versions_leftover", model=model)


def warn_of_dependents(connection: Connection, model: str) -> None:
    """Log the objects that keep tables of retired versions on disk, for a retirement that reports nothing itself."""
    for version in undropped(connection, model):
        names = dependents(connection, version)
        if names:
            _log.warning(
                "prescore_versions.%s is retired, but stays on disk, because these objects depend on it: %s. Drop "
                "them, and the next retirement drops the table.",
                version["table_name"],
                ", ".join(names),
            )


def _drop(connection: Connection, version: Version) -> bool:
    """Detach and drop a version's table; return False while transactions may read it or other objects depend on it."""
    if dependents(connection, version):
        return False
    # Detaching waits for transactions that have read the version, but first hides it from them, and from others that
    # have yet to read it.
    if version["attached_at"] is not None and open_transactions.still_open(connection, version["retired_at"]):
        return False
    connection.execute(query("tables_retire_timeout"))
    try:
        partitions.detach(connection, version)
        table.drop(connection, version)
    except _ELSEWHERE:
        return False
    finally:
        connection.execute(query("tables_retire_timeout_off"))
    return True
