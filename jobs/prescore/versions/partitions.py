"""Versions as partitions of their parents: attached before readers are pointed at them, detached to retire."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from psycopg import errors as pg
from psycopg import sql

from prescore.catalog.catalog import Catalog, Model, Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.errors import Busy, NotAllowed
from prescore.versions import open_transactions, parents, table, views
from prescore.versions.parents import Attachment

Grants = Mapping[str, tuple[str, ...]]
"""Roles that may read a model's view, by model."""


def attach(
    connection: Connection,
    versions: Sequence[Version],
    grants: Grants,
    breaking: Collection[str] = (),
) -> set[str]:
    """Attach versions to their parents, while the views still show the published ones.

    Returns the models whose readers must be redirected to another parent. Only versions of the models in `breaking`
    may have columns that break readers: raises NotAllowed for others. Raises Busy when a lock or an open transaction is
    in the way.

    Versions are recorded as attached only after their attachments have been committed. A transaction may see a version
    if it began after that: Postgres plans a query before it takes a snapshot, and a transaction that has read the
    parent once keeps its list of partitions.
    """
    attached = []
    for version in versions:
        roles = grants.get(version["model"], ())
        attached += _attach_one(connection, version, roles, breaking=version["model"] in breaking)
    _record_attached(connection, attached)
    redirected = [version for version in versions if parents.needs_redirect(connection, version)]
    for version in redirected:
        _require_no_older_transactions(connection, version)
    return {version["model"] for version in redirected}


def attach_canary(connection: Connection, version: Version, grants: tuple[str, ...] = ()) -> None:
    """Attach a version to the parent of the published one, for the view of the model's canary.

    The model's own view does not change. Raises NotAllowed for columns that break readers, Busy when a lock is in the
    way.
    """
    with connection.transaction(), _limited_wait(connection, version):
        model = Catalog(connection).model(version["model"], lock=True)
        parent, attached = _attach_parts(connection, model, version, breaking=False, canary=True)
        if parent != parents.current(model):
            raise NotAllowed(
                f"{version['model']} version {version['version']} was published with other columns than those of "
                f"predictions.{version['model']} now, so it cannot be its canary."
            )
        views.create_canary(connection, version, parent, grants)
    _record_attached(connection, attached)


def _record_attached(connection: Connection, attached: Sequence[Version]) -> None:
    if attached:
        Catalog(connection).execute(
            "versions_attached",
            models=[version["model"] for version in attached],
            versions=[version["version"] for version in attached],
        )


def redirect(
    connection: Connection,
    version: Version,
    redirected: Collection[str],
    grants: tuple[str, ...] = (),
) -> None:
    """Point the model's view at the version's parent if the model is in `redirected`, the result of `attach`.

    Call it in the transaction that moves the pointer. Raises NotAllowed while other objects depend on the view, Busy
    while readers keep it locked.
    """
    catalog = Catalog(connection)
    model = version["model"]
    parent = parents.require(connection, version)
    needs_redirect = parent != parents.current(catalog.model(model))
    if needs_redirect != (model in redirected):
        raise Busy(
            f"Another publication changed the columns of {model} while version {version['version']} was being "
            "published. Try again."
        )
    if needs_redirect:
        with _limited_wait(connection, version):
            views.replace(connection, version, parent, grants)
        catalog.execute("models_set_parent", model=model, parent=parent)


def detach(connection: Connection, version: Version) -> None:
    """Detach a version from its parent, or finish an interrupted detach; wait for transactions that may read it.

    Rows that belong to an earlier version stay attached.
    """
    attached = parents.attachment(connection, version) if table.owns_rows(version) else None
    if attached is not None:
        step = "tables_detach_finalize" if attached["pending"] else "tables_detach"
        statement = query(
            step,
            parent=sql.Identifier(attached["parent"]),
            table=table.identifier(version),
        )
        connection.execute(statement)
    Catalog(connection).execute(
        "versions_detached",
        model=version["model"],
        version=version["version"],
    )


def _attach_one(
    connection: Connection,
    version: Version,
    grants: tuple[str, ...],
    *,
    breaking: bool,
) -> list[Version]:
    """Attach one version, after those that it shares rows with; return those for which that is to be recorded."""
    with connection.transaction(), _limited_wait(connection, version):
        # The lock admits one publisher at a time.
        model = Catalog(connection).model(version["model"], lock=True)
        parent, to_record = _attach_parts(connection, model, version, breaking=breaking)
        if parent == parents.current(model):
            views.create(connection, version, parent, grants)
    return to_record


def _attach_parts(
    connection: Connection, model: Model, version: Version, *, breaking: bool, canary: bool = False
) -> tuple[str, list[Version]]:
    """Attach a version and those that it shares rows with; return their parent, and those to be recorded."""
    parent = None
    to_record = []
    for part in [*_shared(connection, version), version]:
        attached = parents.attachment(connection, part)
        # A version that shares rows has the columns of the others, and stands beside them.
        if parent is None:
            parent = parents.choose(connection, model, part, attached, breaking=breaking, canary=canary)
        if _attach_part(connection, part, attached, parent) or part["attached_at"] is None:
            to_record.append(part)
    return parent or parents.current(model), to_record


def _shared(connection: Connection, version: Version) -> list[Version]:
    """Return the other versions whose rows a version shows: the base of a delta, and the one whose rows it has."""
    numbers = [version["base_version"]]
    if not table.owns_rows(version):
        numbers.append(version["rows_version"])
    catalog = Catalog(connection)
    return [catalog.version(version["model"], number) for number in numbers if number is not None]


def _attach_part(connection: Connection, version: Version, attached: Attachment | None, parent: str) -> bool:
    """Attach the rows of a version unless they are attached; return whether that was done."""
    if attached is not None and not attached["pending"]:
        return False
    if attached is not None:
        detach(connection, version)
    _attach_to(connection, version, parent)
    return True


def _attach_to(connection: Connection, version: Version, parent: str) -> None:
    """Attach a version to a parent, which is created if it is absent."""
    parents.create(connection, version, parent)
    views.align(connection, version, parent)
    attach_partition = query(
        "tables_attach",
        parent=sql.Identifier(parent),
        table=table.identifier(version),
        values=_partition_values(version),
    )
    connection.execute(attach_partition)


def _partition_values(version: Version) -> sql.Composable:
    """Return the values of the column `version` in a version's rows: in a delta, the negative ones hide rows."""
    number = sql.Literal(version["version"])
    if version["base_version"] is None:
        return number
    return sql.SQL("{0}, -{0}").format(number)


def _require_no_older_transactions(connection: Connection, version: Version) -> None:
    """Raise Busy while transactions are open that still read the previous version: the new parent does not have it."""
    model, number = version["model"], version["version"]
    attached_at = Catalog(connection).version(model, number)["attached_at"]
    sessions = open_transactions.still_open(connection, attached_at)
    if sessions:
        pids = ", ".join(str(pid) for pid in sessions)
        raise Busy(
            f"{model} version {number} changes the columns of predictions.{model}, and older transactions of this "
            f"database may still query the old columns: sessions {pids}. Readers still see the previous version. "
            "Publish again when those transactions have ended."
        )


@contextmanager
def _limited_wait(connection: Connection, version: Version) -> Iterator[None]:
    """Limit the time that statements of this transaction wait for locks; raise Busy when it is over."""
    connection.execute(query("tables_lock_timeout"))
    try:
        yield
    except (pg.LockNotAvailable, pg.DeadlockDetected) as error:
        raise Busy(
            f"Another session holds a lock on {version['model']}'s tables that publishing needs, for example a dump or "
            "a long transaction. Readers still see the previous version. Try again when that session has finished."
        ) from error
