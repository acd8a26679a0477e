"""A delta: a version whose table holds what differs from a full version, its base. It never changes once it is staged.

The delta's table has the rows that are new or whose inputs changed and, under the negative version, rows with a key and
nothing else, which hide rows of the base. Its whole version is a view over both tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.columns import column_definitions, identifiers
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.versions import rows, table, views

_SCORED_KEYS = sql.Identifier("prescore_scored_keys")


def create(
    connection: Connection,
    version: Version,
    base: Version,
    vanished: pa.Table,
    *,
    changes: dict[str, Any],
    location: str | None,
) -> None:
    """Turn a version that has no rows yet into a delta over a base, in the caller's transaction.

    `vanished` has the keys of the base's rows to hide. `changes` and `location` are recorded: the numbers of rows, and
    the file with the rows that are to be scored, None if there is none.
    """
    name = f"{version['table_name']}_DELTA"
    connection.execute(query("tables_drop", table=table.identifier(version)))
    statement = query(
        "deltas_create",
        table=sql.Identifier(name),
        columns=column_definitions(table.columns(version), not_null=table.key_names(version)),
        version=sql.Literal(version["version"]),
    )
    connection.execute(statement)
    connection.execute(_view(version, base, name))
    _hide(connection, version, name, vanished)
    Catalog(connection).execute(
        "deltas_record",
        model=version["model"],
        version=version["version"],
        rows_table=name,
        base_version=base["version"],
        base_table=base["table_name"],
        changes=Jsonb(changes),
        location=location,
    )


def hide_rejected(connection: Connection, version: Version, scored: pa.Table) -> None:
    """Hide the base's rows whose keys were to be scored, `scored`, and were rejected; the delta has its primary key."""
    keys = identifiers(table.key_names(version))
    with connection.transaction():
        definitions = column_definitions(version["key_columns"])
        connection.execute(query("deltas_keys", table=_SCORED_KEYS, columns=definitions))
        for batch in scored.to_batches():
            rows.copy(connection, _SCORED_KEYS, batch, version["key_columns"])
        statement = query(
            "deltas_hide",
            table=table.identifier(version),
            keys=keys,
            version=sql.Literal(version["version"]),
            scored=_SCORED_KEYS,
        )
        connection.execute(statement)


def count_rows(connection: Connection, version: Version) -> int:
    """Return how many rows the delta's table has, with those that only hide a row of the base."""
    row = connection.execute(query("deltas_count", table=table.identifier(version))).fetchone() or {}
    return int(row["rows"])


def count_replaced(connection: Connection, version: Version, base: Version) -> int:
    """Return how many rows of the base the delta replaces or hides; both have their primary keys."""
    statement = query(
        "deltas_count_replaced",
        delta=table.identifier(version),
        base=table.identifier(base),
        keys=identifiers(table.key_names(version)),
        same_key=views.same_key(table.key_names(version), "d", "b"),
    )
    row = connection.execute(statement).fetchone() or {}
    return int(row["rows"])


def flatten(reader: Connection, writer: Connection, version: Version) -> None:
    """Turn a delta that is not staged yet into a full version, in the writer's transaction.

    `reader` is another connection, which reads the whole version while the writer copies it into a table.
    """
    name = f"{version['table_name']}_FULL"
    copy_whole(reader, writer, version, {**version, "rows_table": name})
    writer.execute(query("deltas_drop_view", view=table.whole(version)))
    writer.execute(query("tables_drop", table=table.identifier(version)))
    writer.execute(query("deltas_rename", table=sql.Identifier(name), name=table.whole(version)))
    Catalog(writer).execute(
        "deltas_record_flat",
        model=version["model"],
        version=version["version"],
    )


def copy_whole(reader: Connection, writer: Connection, version: Version, copied: Version) -> int:
    """Create the table of `copied` in the writer's transaction, with all rows of a version, and return their number.

    COPY on both sides writes half as much WAL as INSERT … SELECT, and rows that need no vacuum later.
    """
    table.create(writer, copied)
    names = identifiers(table.column_names(version))
    read = query("deltas_read", view=table.whole(version), columns=names)
    write = query("deltas_write", table=table.identifier(copied), columns=names)
    cursor = writer.cursor()
    with reader.cursor().copy(read) as source, cursor.copy(write) as target:
        for data in source:
            target.write(data)
    return cursor.rowcount


def _view(version: Version, base: Version, name: str) -> sql.Composed:
    columns = table.column_names(version)
    return query(
        "deltas_view",
        view=table.whole(version),
        delta=sql.Identifier(name),
        delta_columns=identifiers(columns, "d"),
        base=table.identifier(base),
        base_columns=identifiers(columns, "b"),
        version=sql.Literal(version["version"]),
        same_key=views.same_key(table.key_names(version), "d", "b"),
    )


def _hide(connection: Connection, version: Version, name: str, keys: pa.Table) -> None:
    target = sql.Identifier("prescore_versions", name)
    for batch in keys.to_batches():
        hidden = np.full(batch.num_rows, -version["version"], np.int32)
        rows.copy(connection, target, batch.append_column("version", pa.array(hidden)), version["key_columns"])
