"""Loading of a version's whole table from Postgres into Arrow. COPY sends CSV, which Arrow parses as it arrives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
import pyarrow as pa
from psycopg import sql

from prescore.arrow.copy_csv import read_batches
from prescore.arrow.types import arrow_types
from prescore.catalog import version_row
from prescore.catalog.columns import copy_columns
from prescore.catalog.database import Connection, Database
from prescore.catalog.queries import query
from prescore.errors import Transient
from prescore_api.tables.version import TableVersion

# A real is loaded as the double nearest to its shortest text, because that is the number JSON shows. Arrow answers cast
# it back to a float.
_TYPES = arrow_types(
    {
        "smallint": pa.int64(),
        "integer": pa.int64(),
        "real": pa.float64(),
    },
    list_type=pa.large_list,
)


class DoesNotFit(Exception):
    """A version cannot be held in memory; the message says why."""


def load(database: Database, version: TableVersion, max_bytes: int) -> pa.Table:
    """Return a version's key columns and outputs, in columns named f0, f1, …: as many rows as the catalog says.

    Raises DoesNotFit if they take more than `max_bytes`, DatabaseUnavailable, DatabaseRefused if not all rows can be
    read, and Transient if the version is not the one under this number any more.
    """
    columns = [*version.key, *version.outputs]
    _require_room(version, max_bytes)
    types = {f"f{i}": _TYPES[column["type"]] for i, column in enumerate(columns)}
    statement = query(
        "lookup_copy",
        table=sql.Identifier(version.row["table_name"]),
        columns=copy_columns(columns),
    )
    table = _read(database, version, statement, types, max_bytes)
    version_row.require_count(version.row, table.num_rows)
    return table


def load_delta(database: Database, version: TableVersion, max_bytes: int) -> pa.Table:
    """Return the rows of a delta's own table as `load` does; a last column says which of them only hide a key."""
    columns = [*version.key, *version.outputs]
    types = {f"f{i}": _TYPES[column["type"]] for i, column in enumerate(columns)}
    own, _ = version.row["stored"]
    statement = query(
        "lookup_copy_delta",
        table=sql.Identifier(own["name"]),
        columns=copy_columns(columns),
    )
    table = _read(database, version, statement, types | {"hidden": pa.bool_()}, max_bytes)
    if table.num_rows != own["rows"]:
        raise version_row.missing_rows(version.row, None)
    return table


def _read(
    database: Database,
    version: TableVersion,
    statement: sql.Composed,
    types: dict[str, pa.DataType],
    max_bytes: int,
) -> pa.Table:
    # One snapshot for the version's id and its rows.
    with database.read() as connection:
        _require_same(connection, version)
        with connection.cursor().copy(statement) as copy:
            return _read_csv(copy, types, max_bytes)


def _require_same(connection: Connection, version: TableVersion) -> None:
    """Raise Transient if the catalog has another version under this number, as after a restore, or none."""
    row = connection.execute(query("lookup_version"), {"model": version.model, "version": version.version}).fetchone()
    if row is None or row["id"] != version.id:
        raise Transient(f"{version.model} version {version.version} was replaced while it was being read.")


def _require_room(version: TableVersion, max_bytes: int) -> None:
    """Raise DoesNotFit for a table that is certainly too large, before any of it is sent."""
    rows = version.row["rows"]
    # Numbers take 8 bytes each and booleans less, so a byte a value is a low estimate.
    least_bytes = rows * (1 + len(version.outputs))
    if max_bytes < least_bytes:
        raise DoesNotFit(f"{rows:,} rows take more than the {max_bytes:,} bytes left of --memory-limit")


def _read_csv(blocks: Iterable[Any], types: dict[str, pa.DataType], max_bytes: int) -> pa.Table:
    batches = []
    size = 0
    try:
        for batch in _batches(blocks, types):
            batches.append(batch)
            size += batch.nbytes
            if size > max_bytes:
                raise DoesNotFit(f"it takes more than the {max_bytes:,} bytes left of --memory-limit")
    except pa.ArrowInvalid as error:
        raise DoesNotFit(f"Arrow cannot hold one of its values ({error})") from error
    schema = pa.schema(list(types.items()))
    return pa.Table.from_batches(batches, schema)


def _batches(blocks: Iterable[Any], types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    # Arrays are JSON in the CSV.
    texts = {name: pa.string() if pa.types.is_large_list(kind) else kind for name, kind in types.items()}
    for batch in read_batches(blocks, texts, use_threads=False):
        columns = map(_parse_arrays, batch.columns, types.values())
        yield pa.record_batch(list(columns), names=list(types))


def _parse_arrays(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column of arrays, given as JSON, as lists, and any other column as it is."""
    if not pa.types.is_large_list(kind):
        return values
    lists = [None if text is None else orjson.loads(text) for text in values.to_pylist()]
    return pa.array(lists, kind)
