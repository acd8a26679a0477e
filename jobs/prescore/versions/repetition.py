"""A version with the predictions of an earlier one: it shows the same rows, or has a copy of them in a full table."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.columns import identifiers
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.versions import delta, table


def share_rows(
    connection: Connection,
    version: Version,
    earlier: Version,
    *,
    changes: dict[str, Any],
    data_as_of: datetime | None = None,
) -> None:
    """Give a version that has no rows yet those of an earlier one, in the caller's transaction: it is then staged.

    `data_as_of` is its time if it has no snapshot of its own.
    """
    catalog = Catalog(connection)
    model, number = version["model"], version["version"]
    owner = catalog.version(model, earlier["rows_version"])
    connection.execute(query("tables_drop", table=table.identifier(version)))
    statement = query(
        "deltas_shared_view",
        view=table.whole(version),
        columns=identifiers(table.column_names(version)),
        version=sql.Literal(number),
        earlier=table.whole(owner),
    )
    connection.execute(statement)
    _copy_rejects(catalog, model, earlier["version"], number, frozen=version["snapshot_rows"] is None)
    catalog.execute(
        "deltas_record_shared",
        model=model,
        version=number,
        earlier=earlier["version"],
        data_as_of=data_as_of,
        changes=Jsonb(changes),
    )


def copy_rows(
    reader: Connection,
    writer: Connection,
    version: Version,
    number: int,
    snapshot_location: str,
) -> Version:
    """Copy a checked version into a full one with this number, in the writer's transaction, and return its row.

    It has passed the checks of the first, as it has the same rows. `reader` is another connection.
    """
    catalog = Catalog(writer)
    model = version["model"]
    name = f"{model}_v{number}"
    described: Version = {
        **version,
        "version": number,
        "table_name": name,
        "rows_table": name,
        "base_version": None,
    }
    rows = delta.copy_whole(reader, writer, version, described)
    catalog.execute(
        "deltas_record_copy",
        model=model,
        version=version["version"],
        number=number,
        table_name=name,
        rows=rows,
        location=snapshot_location,
        changes=Jsonb({"copy_of": version["version"]}),
    )
    _copy_rejects(catalog, model, version["version"], number, frozen=True)
    catalog.execute("deltas_copy_ledger", model=model, number=number, rows_version=version["rows_version"], rows=rows)
    catalog.record_event(model, number, "rebased", copy_of=version["version"])
    return catalog.version(model, number)


def _copy_rejects(catalog: Catalog, model: str, earlier: int, version: int, *, frozen: bool) -> None:
    """Copy the rejects of an earlier version that are due to its model; with `frozen`, those of its snapshot too."""
    catalog.execute("deltas_copy_rejects", model=model, version=version, earlier=earlier, frozen=frozen)
