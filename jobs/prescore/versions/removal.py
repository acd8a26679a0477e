"""Removal of a model: its view, the tables of all its versions, its rows in the catalog and its files in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import errors as pg
from psycopg import sql

from prescore.catalog import roles
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection, Database
from prescore.catalog.queries import query
from prescore.errors import Busy, NotAllowed
from prescore.store.store import Store
from prescore.versions import lease as leases
from prescore.versions import lifecycle


@dataclass(frozen=True)
class Belongings:
    """What belongs to a model in the database.

    `relations` are its view and tables. `dependents` are other people's objects that depend on one of them, and
    `api_keys` the names of valid API keys that name the model.
    """

    model: str
    versions: Sequence[Version]
    relations: Sequence[dict[str, Any]]
    dependents: Sequence[str]
    api_keys: Sequence[str]

    @classmethod
    def from_catalog(cls, catalog: Catalog, model: str) -> Belongings:
        """Return what belongs to a model now; raise NotFound if it was never run."""
        catalog.model(model)
        relations = catalog.all("removal_relations", model=model)
        oids = [relation["oid"] for relation in relations]
        return cls(
            model=model,
            versions=catalog.versions(model),
            relations=relations,
            dependents=[row["dependent"] for row in catalog.all("removal_dependents", relations=oids)],
            api_keys=[row["name"] for row in catalog.all("removal_api_keys", model=model)],
        )

    @property
    def bytes(self) -> int:
        """The size of all tables, without their indexes."""
        return sum(relation["bytes"] for relation in self.relations)


def remove(database: Database, store: Store, model: str, reason: str | None = None) -> Belongings:
    """Remove a model and everything that belongs to it, and return what that was.

    The database changes in one transaction. The model's history stays, and its version numbers are not used again.
    Raises NotFound, NotAllowed while other people's objects depend on its view or tables, DatabaseRefused unless this
    role is the catalog owner, and Busy while a run writes the model or readers keep it locked.
    """
    store.require_access()
    with database.connect() as connection:
        Catalog(connection).model(model)
        roles.require_owner(connection, "remove a model")
        roles.require_writer(connection, model)
    with leases.holding(database, model) as lease, database.connect() as connection:
        try:
            with connection.transaction():
                connection.execute(query("tables_lock_timeout"))
                removed = _remove(connection, model, reason)
                lease.check(connection)
        except (pg.LockNotAvailable, pg.DeadlockDetected) as error:
            raise Busy(
                f"{model} was not removed, because other sessions have read it and their transactions are still open. "
                "Try again when they have ended."
            ) from error
        store.sweep(model, set())
        lifecycle.sweep_model_files(connection, store)
    return removed


def _remove(connection: Connection, model: str, reason: str | None) -> Belongings:
    catalog = Catalog(connection)
    last_version = catalog.model(model, lock=True)["last_version"]
    belongings = Belongings.from_catalog(catalog, model)
    if belongings.dependents:
        raise NotAllowed(
            f"{model} cannot be removed, because other objects in the database depend on it: "
            f"{', '.join(belongings.dependents)}. Drop them first."
        )
    for relation in belongings.relations:
        connection.execute(_drop_statement(relation))
    catalog.execute("removal_delete", model=model)
    catalog.record_event(model, None, "removed", reason, last_version=last_version)
    catalog.execute("models_notify", model=model)
    return belongings


def _drop_statement(relation: dict[str, Any]) -> sql.Composed:
    name = sql.Identifier(relation["name"])
    if relation["is_view"]:
        return query("removal_drop_view", schema=sql.Identifier(relation["schema"]), view=name)
    # With a partitioned table, Postgres drops the versions that are attached to it.
    return query("tables_drop", table=name)
