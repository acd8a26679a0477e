"""Parents: the partitioned tables that the views of models read.

A model's view reads one parent at a time. A version whose columns would break readers gets a parent of its own, and
publishing that version replaces the view by one over its parent.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypedDict

from psycopg import errors as pg
from psycopg import sql

from prescore.catalog.catalog import Catalog, Model, Version
from prescore.catalog.columns import column_definitions
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.errors import Busy
from prescore.versions import compatibility, table


class Attachment(TypedDict):
    """The parent that a version's table is a partition of; `pending` when a detach was interrupted half-way."""

    parent: str
    pending: bool


def current(model: Model) -> str:
    """Return the parent that the model's view reads."""
    return model["parent_name"] or model["model"]


def attachment(connection: Connection, version: Version) -> Attachment | None:
    """Return what a version's rows are a partition of according to Postgres itself, None if they have no parent."""
    row: Attachment | None = Catalog(connection).one("tables_attachment", table=version["rows_table"])
    return row


def choose(
    connection: Connection,
    model: Model,
    version: Version,
    attached: Attachment | None,
    *,
    breaking: bool,
    canary: bool,
) -> str:
    """Return the parent to attach to: the version's present one, the one that the view reads, or a new one.

    A version gets a new one if its columns break readers. Its name cannot be another model's, because names of models
    are lower case. Raises NotAllowed for columns that break readers unless `breaking` allows that.
    """
    shown = current(model)
    if attached is not None and attached["parent"] == shown:
        return shown
    name, number = version["model"], version["version"]
    changes = compatibility.breaking_changes(
        connection,
        name,
        version["key_columns"],
        version["output_columns"],
    )
    if changes and not breaking and model["published_version"] is not None:
        subject = f"{name} version {number}"
        # A canary's columns must be those of the view, whatever readers are ready for.
        command = None if canary else f"prescore publish {name} {number}"
        raise compatibility.breaking_error(subject, changes, command)
    if attached is not None:
        return attached["parent"]
    return f"{name}_V{number}" if changes else shown


def require(connection: Connection, version: Version) -> str:
    """Return the parent that a version is attached to; raise Busy if it was detached meanwhile."""
    attached = attachment(connection, version)
    if attached is None or attached["pending"]:
        name = f"{version['model']} version {version['version']}"
        raise Busy(f"{name} was detached while it was being published. Try again.")
    return attached["parent"]


def needs_redirect(connection: Connection, version: Version) -> bool:
    """Return whether a version is attached to another parent than the one that the view reads."""
    model = Catalog(connection).model(version["model"])
    return require(connection, version) != current(model)


def drop_empty(connection: Connection, model: str) -> None:
    """Drop the parents that have no version left and that the view does not read; leave those that are locked."""
    catalog = Catalog(connection)
    with (
        suppress(pg.LockNotAvailable, pg.DeadlockDetected, pg.UndefinedTable, pg.DependentObjectsStillExist),
        connection.transaction(),
    ):
        connection.execute(query("tables_lock_timeout"))
        # While the model is locked, no publisher attaches a version to one of them.
        catalog.model(model, lock=True)
        for row in catalog.all("tables_empty_parents", model=model):
            parent = sql.Identifier(row["parent"])
            connection.execute(query("tables_drop", table=parent))


def create(connection: Connection, version: Version, parent: str) -> None:
    """Create a parent with the columns of a version, unless it exists."""
    columns = column_definitions(table.columns(version), not_null=table.key_names(version))
    statement = query(
        "tables_parent",
        parent=sql.Identifier(parent),
        columns=columns,
    )
    connection.execute(statement)
