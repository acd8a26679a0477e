"""A version's table as a pandas DataFrame: COPY as CSV, which Arrow parses exactly or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
from psycopg import IsolationLevel, sql

from prescore import errors
from prescore.arrow.copy_csv import read_batches
from prescore.catalog import session, version_row
from prescore.catalog.catalog import Catalog, Column, Version
from prescore.catalog.columns import copy_columns
from prescore.catalog.queries import query
from prescore.catalog.types import ARRAYS
from prescore.scoring.column_types import ARROW

_CSV_TYPES = ARROW | dict.fromkeys(("uuid", *ARRAYS), pa.string())
"""Postgres type name → the Arrow type that its text is parsed as. Arrays are JSON."""
# A passthrough column may hold NULLs: numpy's integers and booleans have no room for them.
_NULLABLE = {
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_CLOCKS = ("version", "data_as_of", "published_at")
_WITHOUT_TABLE = ("building", "failed", "retired")


def read(catalog: Catalog, model: str, version: int | None, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the published version of a model, or another one by its number: all columns of its view, or some by name.

    Raises NotFound for a model without a published version and for an unknown version, Mistake for an unknown column,
    NotAllowed for a version whose table does not exist or that holds a value that pandas cannot, DatabaseRefused when
    not all of its rows can be read.
    """
    connection = catalog.connection
    connection.execute(session.reader_settings(0))
    # One snapshot for the pointer and the table. Retirement waits for transactions that may still read a table.
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        row = _published(catalog, model) if version is None else catalog.version(model, version)
        _require_table(row)
        columns = _columns(row, names)
        table = _copy(catalog, row, columns)
    version_row.require_count(row, table.num_rows)
    frame = _frame(row, columns, table)
    return frame if names is None else frame[list(names)]


def _columns(version: Version, names: Sequence[str] | None) -> list[Column]:
    """Return the columns to read from the table: the rest of the view is the same in every row."""
    columns = [*version["key_columns"], *version["output_columns"]]
    if names is None:
        return columns
    available = [*(column["name"] for column in columns), *_CLOCKS]
    unknown = [name for name in names if name not in available]
    if unknown:
        raise errors.Mistake(
            f"{version['model']} version {version['version']} has no column {', '.join(unknown)}. "
            f"Its columns are {', '.join(available)}."
        )
    # The key counts the rows if nothing else does.
    return [column for column in columns if column["name"] in names] or version["key_columns"]


def _published(catalog: Catalog, model: str) -> Version:
    published = catalog.one("lookup_version", model=model, version=None)
    if published is None:
        raise errors.NotFound(
            f"{model} has no published version here. `prescore status` lists the models and what is served."
        )
    return catalog.version(model, published["version"])


def _require_table(version: Version) -> None:
    if version["state"] in _WITHOUT_TABLE:
        raise errors.NotAllowed(
            f"{version['model']} version {version['version']} is {version['state']}: it has no table to read. "
            f"`prescore versions {version['model']}` lists all versions."
        )


def _copy(catalog: Catalog, version: Version, columns: list[Column]) -> pa.Table:
    """Return the table's columns in Arrow, named by their position."""
    statement = query(
        "lookup_copy",
        table=sql.Identifier(version["table_name"]),
        columns=copy_columns(columns),
    )
    types = {str(i): _CSV_TYPES[column["type"]] for i, column in enumerate(columns)}
    with catalog.connection.cursor().copy(statement) as copy:
        try:
            batches = list(read_batches(copy, types))
        except pa.ArrowInvalid as error:
            raise errors.NotAllowed(
                f"{version['model']} version {version['version']} has a value that a DataFrame cannot hold, such as an "
                f"infinite time: {error}. Read it with SQL instead."
            ) from error
    return pa.Table.from_batches(batches, pa.schema(list(types.items())))


def _frame(version: Version, columns: list[Column], table: pa.Table) -> pd.DataFrame:
    frame: dict[str, Any] = {}
    rows = pd.RangeIndex(table.num_rows)
    for column, values in zip(columns, table.columns, strict=True):
        if column["role"] != "key" and "version" not in frame:
            frame |= _clocks(version, rows)
        frame[column["name"]] = _series(column, values)
    if "version" not in frame:
        frame |= _clocks(version, rows)
    return pd.DataFrame(frame, index=rows)


def _clocks(version: Version, rows: pd.RangeIndex) -> dict[str, Any]:
    """Return the columns that the view has between key and outputs: the same values in every row."""
    return {
        "version": pd.Series(version["version"], rows, dtype="int32"),
        "data_as_of": pd.Series(version["data_as_of"], rows, dtype="datetime64[us, UTC]"),
        "published_at": pd.Series(version["published_at"], rows, dtype="datetime64[us, UTC]"),
    }


def _series(column: Column, values: pa.ChunkedArray) -> Any:
    if column["type"] == "uuid":
        return pd.Series([None if text is None else UUID(text) for text in values.to_pylist()], dtype="object")
    if column["type"] in ARRAYS:
        # Python's objects take much memory, so one chunk is parsed after the other.
        chunks = [_parse_arrays(chunk, ARROW[column["type"]]) for chunk in values.chunks]
        values = pa.chunked_array(chunks, ARROW[column["type"]])
    nullable = _NULLABLE.get if column["role"] == "passthrough" else None
    return values.to_pandas(types_mapper=nullable)


def _parse_arrays(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    return pa.array([None if text is None else json.loads(text) for text in texts.to_pylist()], kind)
