"""Versions as partitions of their model's parent: attached before readers are pointed at them, detached to retire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import errors as pg
from psycopg import sql

from prescore.contract import views
from prescore.contract.catalog import Catalog, Version
from prescore.contract.database import Connection
from prescore.contract.errors import Busy
from prescore.contract.queries import query
from prescore.contract.tables import definitions


def attach(connection: Connection, versions: Sequence[Version], grants: Mapping[str, tuple[str, ...]]) -> None:
    """Make versions reachable without showing them: the views go on to show the old ones.

    They are noted as attached only after the attachments are committed, because a transaction may see a version if it
    began after that: Postgres plans before it takes a snapshot, and a transaction that has read the parent once keeps
    its list of partitions. Raises NotAllowed for columns that would break readers, Busy when something locks the
    model's tables.
    """
    new = [_attached(connection, version, grants.get(version["model"], ())) for version in versions]
    if any(new):
        named = {"models": [v["model"] for v in versions], "versions": [v["version"] for v in versions]}
        Catalog(connection).execute("versions_attached", **named)


def _attached(connection: Connection, version: Version, grants: tuple[str, ...]) -> bool:
    """Attach one version; gives whether it was not before."""
    try:
        with connection.transaction():
            connection.execute(query("tables_lock_timeout"))
            Catalog(connection).model(version["model"], lock=True)  # one publisher at a time
            if (attached := is_attached(connection, version)) is not True:
                _attach(connection, version, pending=attached is not None)
            views.create(connection, version, grants)
    except pg.LockNotAvailable as error:
        raise Busy(
            f"Something holds a lock on {version['model']}'s tables that publishing needs: new columns, a dump? "
            "Readers still see the version from before; try again when it is through."
        ) from error
    return attached is not True or version["attached_at"] is None


def detach(connection: Connection, version: Version) -> None:
    """Take a version out of its parent, or finish doing so; waits for the transactions that may read it."""
    attached = is_attached(connection, version)
    if attached is not None:
        step = "tables_detach" if attached else "tables_detach_finalize"
        connection.execute(query(step, parent=_parent(version), table=sql.Identifier(version["table_name"])))
    Catalog(connection).execute("versions_detached", model=version["model"], version=version["version"])


def is_attached(connection: Connection, version: Version) -> bool | None:
    """Whether the table is a partition: True, None if not, False if it is half detached. Asked of Postgres itself."""
    row = Catalog(connection).one("tables_detach_pending", table=version["table_name"])
    return None if row is None else not row["pending"]


def _attach(connection: Connection, version: Version, *, pending: bool) -> None:
    parent, table = _parent(version), sql.Identifier(version["table_name"])
    if pending:
        connection.execute(query("tables_detach_finalize", parent=parent, table=table))
    keys = [column["name"] for column in version["key_columns"]]
    columns = definitions([*version["key_columns"], *version["output_columns"]], keys)
    connection.execute(query("tables_parent", parent=parent, columns=columns))
    views.align(connection, version)
    connection.execute(query("tables_attach", parent=parent, table=table, version=sql.Literal(version["version"])))


def _parent(version: Version) -> sql.Identifier:
    return sql.Identifier(version["model"])
