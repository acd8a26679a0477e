"""Retire what retention no longer asks for: tables detached and dropped, snapshots and model files removed."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import errors as pg
from psycopg import sql

from prescore import versions
from prescore.contract import partitions
from prescore.contract.catalog import Catalog, Version
from prescore.contract.database import Connection
from prescore.contract.queries import query
from prescore.store import Store


def due(known: list[Version], keep: int) -> list[Version]:
    """Which versions a retention of `keep` no longer holds, oldest first.

    Kept are the published version and the newest superseded ones up to `keep` in all, and every candidate (checked,
    refused) that is newer than the published version: somebody may want to look at it, or publish it.
    """
    published = next((v["version"] for v in known if v["state"] == "published"), 0)
    served = [v for v in known if v["state"] == "superseded"]
    candidates = [v for v in known if v["state"] in ("checked", "refused") and v["version"] < published]
    return sorted([*served[max(keep - 1, 0) :], *candidates], key=lambda v: v["version"])


def retire(connection: Connection, store: Store, model: str, keep: int) -> Iterator[Version]:
    """Retire what is due, and yield each version as it goes.

    A version that a transaction may still read is left for the next time; readers are never blocked.
    """
    catalog = Catalog(connection)
    for version in due(catalog.versions(model), keep):
        connection.execute(query("tables_retire_timeout"))
        try:
            partitions.detach(connection, version)
            _drop(connection, version)
        except (pg.LockNotAvailable, pg.QueryCanceled):
            continue
        finally:
            connection.execute(query("tables_retire_timeout_off"))
        versions.forget(catalog, store, version)
        yield version


def _drop(connection: Connection, version: Version) -> None:
    with connection.transaction():
        catalog = Catalog(connection)
        connection.execute(query("tables_drop", table=sql.Identifier(version["table_name"])))
        catalog.execute("versions_retire", model=version["model"], version=version["version"])
        catalog.event(version["model"], version["version"], "retired")
