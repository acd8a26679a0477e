"""Retire what retention no longer asks for: tables detached and dropped, snapshots and model files removed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from psycopg import errors as pg
from psycopg import sql

from prescore import versions
from prescore.contract import partitions
from prescore.contract.catalog import Catalog, Version
from prescore.contract.database import Connection
from prescore.contract.queries import query
from prescore.contract.spec import Retention
from prescore.store import Store


def due(known: list[Version], retention: Retention) -> list[Version]:
    """Which versions a retention no longer holds, oldest first.

    Kept are the published version and the newest superseded ones, so many in all, those superseded within the grace
    time, and every candidate (checked, refused) that is newer than the published version: somebody may want to look
    at it, or publish it.
    """
    published = next((v["version"] for v in known if v["state"] == "published"), 0)
    served = [v for v in known if v["state"] == "superseded"][retention.versions - 1 :]
    candidates = [v for v in known if v["state"] in ("checked", "refused") and v["version"] < published]
    graced = datetime.now(UTC) - retention.grace
    old = [v for v in served if v["superseded_at"] is not None and v["superseded_at"] <= graced]
    return sorted([*old, *candidates], key=lambda v: v["version"])


def retire(connection: Connection, store: Store, model: str, retention: Retention) -> Iterator[Version]:
    """Retire what is due, and yield each version as its table goes.

    A version that a transaction may still read is left for the next time; readers are never blocked.
    """
    catalog = Catalog(connection)
    with connection.transaction():
        catalog.model(model, lock=True)  # nobody publishes or rolls back to what is decided here
        for version in due(catalog.versions(model), retention):
            catalog.execute("versions_retire", model=model, version=version["version"])
            catalog.event(model, version["version"], "retired")
    for version in leftover(connection, model):
        if _drop(connection, version):
            versions.forget(connection, store, version)
            yield version


def leftover(connection: Connection, model: str) -> list[Version]:
    """Retired versions whose table is still there, oldest first."""
    return Catalog(connection).all("versions_leftover", model=model)


def _drop(connection: Connection, version: Version) -> bool:
    """Detach and drop the table; gives False when transactions that may read it do not end in time."""
    connection.execute(query("tables_retire_timeout"))
    try:
        partitions.detach(connection, version)
        connection.execute(query("tables_drop", table=sql.Identifier(version["table_name"])))
    except (pg.LockNotAvailable, pg.QueryCanceled):
        return False
    finally:
        connection.execute(query("tables_retire_timeout_off"))
    return True
