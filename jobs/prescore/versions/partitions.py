"""Versions as partitions of their model's parent: attached before readers are pointed at them, detached to retire.

A model has one parent at a time that its view reads. A version whose columns would break readers gets a parent of its
own, and the view is made anew over that one as the version is published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TypedDict

from psycopg import errors as pg
from psycopg import sql

from prescore.catalog.catalog import Catalog, Model, Version
from prescore.catalog.columns import column_definitions
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.errors import Busy
from prescore.versions import open_transactions, views

Grants = Mapping[str, tuple[str, ...]]


class Attachment(TypedDict):
    """What a version's table is a partition of; `pending` when a detach was interrupted half-way."""

    parent: str
    pending: bool


def attach(
    connection: Connection, versions: Sequence[Version], grants: Grants, breaking: Collection[str] = ()
) -> set[str]:
    """Make versions reachable without showing them: the views go on to show the old ones.

    Gives the models whose readers must be led to another parent, which only those in `breaking` may be if their columns
    break readers. Raises NotAllowed for the others, Busy when something is in the way.

    They are noted as attached only after the attachments are committed, because a transaction may see a version if it
    began after that: Postgres plans before it takes a snapshot, and a transaction that has read the parent once keeps
    its list of partitions.
    """
    new = [v for v in versions if _attached(connection, v, grants.get(v["model"], ()), breaking=v["model"] in breaking)]
    if new:
        named = {"models": [v["model"] for v in new], "versions": [v["version"] for v in new]}
        Catalog(connection).execute("versions_attached", **named)
    elsewhere = [version for version in versions if _elsewhere(connection, version)]
    for version in elsewhere:
        _require_ended(connection, version)
    return {version["model"] for version in elsewhere}


def redirect(connection: Connection, version: Version, led: Collection[str], grants: tuple[str, ...] = ()) -> None:
    """In the transaction that moves the pointer: lead readers to the version's parent, if `attach` said so.

    Raises NotAllowed while something of the users' own depends on the view, Busy while somebody reads it on and on.
    """
    model, parent = version["model"], _parent(connection, version)
    if (parent != current_parent(Catalog(connection).model(model))) != (model in led):
        raise Busy(f"{model} was published with other columns while version {version['version']} was, too; try again.")
    if model in led:
        with _soon(connection, version):
            views.replace(connection, version, parent, grants)
        Catalog(connection).execute("models_set_parent", model=model, parent=parent)


def detach(connection: Connection, version: Version) -> None:
    """Take a version out of its parent, or finish doing so; waits for the transactions that may read it."""
    if at := attachment(connection, version):
        step = "tables_detach_finalize" if at["pending"] else "tables_detach"
        table = sql.Identifier(version["table_name"])
        connection.execute(query(step, parent=sql.Identifier(at["parent"]), table=table))
    Catalog(connection).execute("versions_detached", model=version["model"], version=version["version"])


def drop_empty(connection: Connection, model: str) -> None:
    """Drop the parents that readers were led away from and that have no version left; one in use waits."""
    catalog = Catalog(connection)
    with suppress(pg.LockNotAvailable, pg.DependentObjectsStillExist), connection.transaction():
        connection.execute(query("tables_lock_timeout"))
        # Nobody attaches to them meanwhile.
        catalog.model(model, lock=True)
        for row in catalog.all("tables_empty_parents", model=model):
            connection.execute(query("tables_drop", table=sql.Identifier(row["parent"])))


def attachment(connection: Connection, version: Version) -> Attachment | None:
    """What a version's table is a partition of, None if it is none. Asked of Postgres itself."""
    found: Attachment | None = Catalog(connection).one("tables_attachment", table=version["table_name"])
    return found


def _attached(connection: Connection, version: Version, grants: tuple[str, ...], *, breaking: bool) -> bool:
    """Attach one version; gives whether it was not before."""
    with connection.transaction(), _soon(connection, version):
        # One publisher at a time.
        model = Catalog(connection).model(version["model"], lock=True)
        at = attachment(connection, version)
        parent = _chosen(connection, model, version, at, breaking=breaking)
        if new := at is None or at["pending"]:
            _attach(connection, version, parent, pending=at is not None)
        if parent == current_parent(model):
            views.create(connection, version, parent, grants)
    return new or version["attached_at"] is None


def _chosen(connection: Connection, model: Model, version: Version, at: Attachment | None, *, breaking: bool) -> str:
    """The parent to attach to: the one that it has, or the one that readers read, or, if it would break these, its own.

    No model can be called as the last is: their names have no upper case.
    """
    parent = at["parent"] if at else current_parent(model)
    if at and parent == current_parent(model):
        return parent
    name, number = version["model"], version["version"]
    found = views.breaking_changes(connection, name, version["key_columns"], version["output_columns"])
    if found and not breaking and model["published_version"] is not None:
        raise views.breaking_error(f"{name} version {number}", found, f"prescore publish {name} {number}")
    return f"{name}_V{number}" if found and at is None else parent


def current_parent(model: Model) -> str:
    """The parent that the model's view reads."""
    return model["parent_name"] or model["model"]


def _attach(connection: Connection, version: Version, parent: str, *, pending: bool) -> None:
    names = {"parent": sql.Identifier(parent), "table": sql.Identifier(version["table_name"])}
    if pending:
        connection.execute(query("tables_detach_finalize", **names))
        Catalog(connection).execute("versions_detached", model=version["model"], version=version["version"])
    keys = [column["name"] for column in version["key_columns"]]
    columns = column_definitions([*version["key_columns"], *version["output_columns"]], keys)
    connection.execute(query("tables_parent", parent=names["parent"], columns=columns))
    views.align(connection, version, parent)
    connection.execute(query("tables_attach", **names, version=sql.Literal(version["version"])))


def _elsewhere(connection: Connection, version: Version) -> bool:
    """Whether a version is attached to another parent than the one that readers read."""
    return _parent(connection, version) != current_parent(Catalog(connection).model(version["model"]))


def _parent(connection: Connection, version: Version) -> str:
    at = attachment(connection, version)
    if at is None or at["pending"]:
        raise Busy(
            f"{version['model']} version {version['version']} was detached as it was being published; try again."
        )
    return at["parent"]


def _require_ended(connection: Connection, version: Version) -> None:
    """Raise Busy while transactions are open that go on with the version from before: the new parent has it not."""
    model, number = version["model"], version["version"]
    attached_at = Catalog(connection).version(model, number)["attached_at"]
    if sessions := open_transactions.still_open(connection, attached_at):
        raise Busy(
            f"{model} version {number} changes the columns of predictions.{model}, and transactions of this database "
            f"that began earlier may still ask for the old ones: sessions {', '.join(map(str, sessions))}. Readers "
            "still see the version from before; publish it when those have ended."
        )


@contextmanager
def _soon(connection: Connection, version: Version) -> Iterator[None]:
    """In a transaction: what waits for readers does so for a moment only, and then raises Busy."""
    connection.execute(query("tables_lock_timeout"))
    try:
        yield
    except (pg.LockNotAvailable, pg.DeadlockDetected) as error:
        raise Busy(
            f"Something holds a lock on {version['model']}'s tables that publishing needs: new columns, a dump, a long "
            "transaction? Readers still see the version from before; try again when it is through."
        ) from error
