"""Rows that a version keeps although their keys have vanished from the domain, each with the time of its own inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
from psycopg import sql

from prescore.catalog.catalog import Version
from prescore.catalog.columns import column_definitions, identifiers
from prescore.catalog.database import Connection
from prescore.catalog.naming import KEPT_CLOCK
from prescore.catalog.queries import query
from prescore.versions import rows, table, views

KEPT_NO_ROW = "kept no row"
"""The event of a version that should keep rows of the served one, and cannot; its reason says why."""

_REJECTED = sql.Identifier("prescore_rejected_keys")
_OTHERS = "prescore_other_rows"
_SCHEMA = "prescore_versions"


def keep(
    connection: Connection,
    version: Version,
    served: Version,
    rejected: pa.Table,
    keep_for: timedelta | None,
) -> None:
    """Copy the rows of the served version whose keys have vanished into a version that has its primary key.

    Rows that were rejected, by the keys in `rejected`, have not vanished. Rows stay for as long as their inputs are at
    most `keep_for` older than those of the version. It can be repeated.
    """
    times = {"clock": served["data_as_of"], "since": _oldest(version["data_as_of"], keep_for)}
    with connection.transaction():
        _copy_rejected(connection, version, rejected)
        for statement in _statements(version, served):
            connection.execute(statement, times)


def count_lost(
    connection: Connection,
    version: Version,
    served: Version,
    rejected: pa.Table,
    keep_for: timedelta | None,
) -> int:
    """Return how many rows a version that keeps none could have kept of the served one, which has the same key."""
    times = {"clock": served["data_as_of"], "since": _oldest(version["data_as_of"], keep_for)}
    with connection.transaction():
        _copy_rejected(connection, version, rejected)
        row = connection.execute(_Keeping(version, served).count_lost(), times).fetchone() or {}
    return int(row["rows"])


def _copy_rejected(connection: Connection, version: Version, rejected: pa.Table) -> None:
    connection.execute(query("kept_rejected", table=_REJECTED, columns=column_definitions(version["key_columns"])))
    for batch in rejected.to_batches():
        rows.copy(connection, _REJECTED, batch, version["key_columns"])


def hide(connection: Connection, version: Version) -> None:
    """Hide the rows that the base of a delta keeps; a full version shows none. The delta has its primary key."""
    if version["base_table"] is None:
        return
    statement = query(
        "kept_hide_all",
        table=table.identifier(version),
        key=identifiers(table.key_names(version)),
        base=sql.Identifier(version["base_table"]),
        version=sql.Literal(version["version"]),
    )
    connection.execute(statement)


def count(connection: Connection, version: Version, since: datetime | None = None) -> int:
    """Return how many rows a version keeps, or how many of them have inputs of this time or later."""
    statement = query("kept_count", table=table.whole(version))
    row = connection.execute(statement, {"since": since}).fetchone() or {}
    return int(row["rows"])


def count_new(connection: Connection, version: Version, served: Version) -> int:
    """Return how many rows a version keeps of those that the served one has without keeping them itself."""
    key = table.key_names(version)
    statement = query(
        "kept_count_new",
        table=table.whole(version),
        served=table.whole(served),
        key=identifiers(key),
        same_key=views.same_key(key, "k", "s"),
        own_clock=_own_clock(served),
    )
    row = connection.execute(statement).fetchone() or {}
    return int(row["rows"])


def any_expires(
    connection: Connection, version: Version, data_as_of: datetime | None, keep_for: timedelta | None
) -> bool:
    """Return whether a version keeps a row that is too old to be kept by another one, with inputs of this time."""
    oldest = _oldest(data_as_of, keep_for)
    if not version["kept"] or oldest is None:
        return False
    return count(connection, version, oldest) < version["kept"]


def _oldest(data_as_of: datetime | None, keep_for: timedelta | None) -> datetime | None:
    """Return the earliest time of a row's inputs with which it is kept; None for any time."""
    return None if data_as_of is None or keep_for is None else data_as_of - keep_for


@contextmanager
def left_out(connection: Connection, version: Version) -> Iterator[tuple[Version, str]]:
    """Yield a version without its kept rows, and the schema of its table: a temporary view if it keeps any."""
    if not version["kept"]:
        yield version, _SCHEMA
        return
    others: Version = {**version, "table_name": _OTHERS, "rows": (version["rows"] or 0) - version["kept"]}
    view = sql.Identifier(_OTHERS)
    connection.execute(query("kept_left_out", view=view, table=table.whole(version)))
    yield others, "pg_temp"
    connection.execute(query("kept_left_out_end", view=view))


def _own_clock(served: Version) -> sql.Composed:
    """Return the time of a row of the served version that it keeps itself, NULL for other rows."""
    names = table.column_names(served)
    return query("kept_own_clock" if KEPT_CLOCK in names else "kept_no_clock")


def _statements(version: Version, served: Version) -> list[sql.Composed]:
    """Return the statements that fill in the kept rows: for a delta, also those that its base cannot show."""
    keeping = _Keeping(version, served)
    if version["base_table"] is None:
        return [keeping.copy()]
    base = sql.Identifier(version["base_table"])
    if served["base_version"] is None:
        return [keeping.restore(), keeping.hide(base)]
    return [keeping.restore(), keeping.copy_from_delta(base), keeping.hide(base)]


@dataclass(frozen=True)
class _Keeping:
    """The statements by which a version keeps rows of the served one."""

    version: Version
    served: Version

    def copy(self) -> sql.Composed:
        """Copy the rows whose keys a full version does not have."""
        return query(
            "kept_copy",
            source=table.whole(self.served),
            **self._copied,
        )

    def count_lost(self) -> sql.Composed:
        """Count the rows that could be kept, and whose keys a version that keeps none does not have."""
        shared = {**self._shared, "table": table.whole(self.version)}
        return query(
            "kept_count_lost",
            source=table.whole(self.served),
            same_key=views.same_key(self._key, "t", "s"),
            **shared,
        )

    def restore(self) -> sql.Composed:
        """Show the rows of the base that a delta hides because their keys have vanished."""
        assignment = sql.SQL("{0} = s.{0}")
        assignments = [assignment.format(sql.Identifier(name)) for name in self._values]
        return query(
            "kept_restore",
            source=table.whole(self.served),
            assignments=sql.SQL(", ").join(assignments),
            same_key=views.same_key(self._key, "d", "s"),
            **self._shared,
        )

    def copy_from_delta(self, base: sql.Identifier) -> sql.Composed:
        """Copy the rows of the served delta whose keys the new one does not have."""
        return query(
            "kept_copy_from_delta",
            source=table.identifier(self.served),
            source_version=sql.Literal(self.served["rows_version"]),
            base=base,
            same_base_key=views.same_key(self._key, "b", "s"),
            **self._copied,
        )

    def hide(self, base: sql.Identifier) -> sql.Composed:
        """Hide the rows that the base keeps and this version does not."""
        return query(
            "kept_hide",
            rejected=_REJECTED,
            same_rejected=views.same_key(self._key, "r", "b"),
            is_hidden=self._is_hidden(),
            key=identifiers(self._key),
            base_key=identifiers(self._key, "b"),
            base=base,
            same_table_key=views.same_key(self._key, "t", "b"),
            table=table.identifier(self.version),
            version=sql.Literal(self.version["version"]),
        )

    def _is_hidden(self) -> sql.Composable:
        """Return the condition for the served version to hide a row of the base."""
        if self.served["base_version"] is None:
            return sql.SQL("false")
        return query(
            "kept_is_hidden",
            served=table.identifier(self.served),
            served_version=sql.Literal(self.served["rows_version"]),
            same_key=views.same_key(self._key, "s", "b"),
        )

    @property
    def _key(self) -> list[str]:
        return table.key_names(self.version)

    @property
    def _values(self) -> list[str]:
        """The columns that kept rows have values of. Those that the served version does not have are NULL in them."""
        available = set(table.column_names(self.served))
        available -= {*self._key, KEPT_CLOCK}
        names = table.column_names(self.version)
        return [name for name in names if name in available]

    @property
    def _shared(self) -> dict[str, sql.Composable]:
        own_clock = _own_clock(self.served)
        is_kept = query(
            "kept_condition",
            rejected=_REJECTED,
            same_rejected=views.same_key(self._key, "r", "s"),
            own_clock=own_clock,
        )
        return {
            "table": table.identifier(self.version),
            "version": sql.Literal(self.version["version"]),
            "own_clock": own_clock,
            "is_kept": is_kept,
        }

    @property
    def _copied(self) -> dict[str, sql.Composable]:
        names = [*self._key, *self._values]
        return {
            **self._shared,
            "columns": identifiers(names),
            "served_columns": identifiers(names, "s"),
            "same_key": views.same_key(self._key, "t", "s"),
        }
