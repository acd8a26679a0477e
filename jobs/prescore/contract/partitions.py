"""Versions as partitions of their model's parent: attached before readers are pointed at them, detached to retire."""

from __future__ import annotations

import time

from psycopg import errors as pg
from psycopg import sql

from prescore.contract import views
from prescore.contract.catalog import Catalog, Version
from prescore.contract.database import Connection
from prescore.contract.errors import Busy
from prescore.contract.queries import query
from prescore.contract.tables import definitions

# How long to wait for statements that were planned before a partition came: see `settle`.
SETTLE_SECONDS = 0.25
_POLL_SECONDS = 0.002


def attach(connection: Connection, version: Version, grants: tuple[str, ...] = ()) -> None:
    """Make a version reachable, in a transaction of its own, without showing it: the view goes on to show the old one.

    Raises NotAllowed for columns that would break readers, Busy when something locks the model's tables.
    """
    try:
        with connection.transaction():
            connection.execute(query("tables_lock_timeout"))
            if not version["attached"]:
                _attach(connection, version)
            views.create(connection, version, grants)
    except pg.LockNotAvailable as error:
        raise Busy(
            f"Something holds a lock on {version['model']}'s tables that publishing needs: new columns, a dump? "
            "Readers still see the version from before; try again when it is through."
        ) from error
    if not version["attached"]:
        settle(connection, version["model"])


def settle(connection: Connection, model: str) -> None:
    """Wait until nobody can be between planning without the new partition and reading with the new pointer.

    Postgres plans a statement before it takes the snapshot that the statement reads with. Were the partition and the
    pointer to come together, a statement between the two would look for the new version among the old partitions,
    and find nothing. Whoever planned before holds a lock on the parent: those that end are waited for. A statement
    that is still there after a while has long taken its snapshot, so it is not.
    """
    parent = sql.Identifier("prescore_versions", model).as_string(connection)
    catalog = Catalog(connection)
    early = _readers(catalog, parent)
    until = time.monotonic() + SETTLE_SECONDS
    while early and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
        early &= _readers(catalog, parent)


def detach(connection: Connection, version: Version) -> None:
    """Take a version out of its parent, or finish doing so; waits for the transactions that may read it."""
    parent, table = sql.Identifier(version["model"]), sql.Identifier(version["table_name"])
    catalog = Catalog(connection)
    attached = catalog.one("tables_detach_pending", table=version["table_name"])
    if attached is not None:
        step = "tables_detach_finalize" if attached["pending"] else "tables_detach"
        connection.execute(query(step, parent=parent, table=table))
    catalog.execute("versions_attached", model=version["model"], version=version["version"], attached=False)


def _attach(connection: Connection, version: Version) -> None:
    model, parent = version["model"], sql.Identifier(version["model"])
    keys = [column["name"] for column in version["key_columns"]]
    columns = definitions([*version["key_columns"], *version["output_columns"]], keys)
    connection.execute(query("tables_parent", parent=parent, columns=columns))
    views.align(connection, version)
    table, number = sql.Identifier(version["table_name"]), sql.Literal(version["version"])
    connection.execute(query("tables_attach", parent=parent, table=table, version=number))
    Catalog(connection).execute("versions_attached", model=model, version=version["version"], attached=True)


def _readers(catalog: Catalog, parent: str) -> set[str]:
    """The transactions that have the parent open."""
    return {row["transaction"] for row in catalog.all("tables_readers", relation=parent)}
