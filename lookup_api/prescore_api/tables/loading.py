"""A version's whole table out of Postgres into Arrow: COPY as CSV, which Arrow reads."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv
from psycopg import sql

from prescore.catalog.columns import identifiers
from prescore.catalog.database import Database
from prescore.catalog.queries import query
from prescore_api.tables.version import TableVersion

# A real is read as a double: the nearest to its shortest text, which is what JSON is to say. Arrow narrows it again.
_TYPES = {
    "smallint": pa.int64(),
    "integer": pa.int64(),
    "bigint": pa.int64(),
    "real": pa.float64(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "uuid": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}
_BLOCK = 4 << 20


class DoesNotFit(Exception):
    """A version cannot be held in memory: the message says why."""


def load(database: Database, described: TableVersion, most: int) -> pa.Table:
    """Return the key columns and outputs by position, in at most so many bytes.

    Raises DoesNotFit, DatabaseUnavailable or DatabaseRefused.
    """
    columns = [*described.key, *described.outputs]
    least = described.row["rows"] * 8 * (1 + len(described.outputs))
    # Booleans take an eighth of a number.
    if most < least // 8:
        raise DoesNotFit(f"{described.row['rows']:,} rows take more than the {most:,} bytes left")
    table = sql.Identifier(described.row["table_name"])
    statement = query("lookup_copy", table=table, columns=identifiers([column["name"] for column in columns]))
    types = {f"f{i}": _TYPES[column["type"]] for i, column in enumerate(columns)}
    with database.connect() as connection:
        connection.execute(query("lookup_session"), {"statement_timeout": "0"})
        with connection.cursor().copy(statement) as copy:
            return _read(_Stream(iter(copy)), types, most)


def _read(stream: io.RawIOBase, types: dict[str, pa.DataType], most: int) -> pa.Table:
    batches, taken = [], 0
    try:
        for batch in _batches(stream, types):
            batches.append(batch)
            taken += batch.nbytes
            if taken > most:
                raise DoesNotFit(f"it takes more than the {most:,} bytes left")
    except pa.ArrowInvalid as error:
        raise DoesNotFit(f"Arrow cannot hold a value of it ({error}), whatever is left") from error
    schema = pa.schema(list(types.items()))
    return pa.Table.from_batches(batches, schema)


def _batches(stream: io.RawIOBase, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    buffered: Any = io.BufferedReader(stream, _BLOCK)
    # Arrow takes an empty file for a mistake.
    if not buffered.peek(1):
        return
    yield from pyarrow.csv.open_csv(
        buffered,
        pyarrow.csv.ReadOptions(column_names=list(types), block_size=_BLOCK, use_threads=False),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=types,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


class _Stream(io.RawIOBase):
    """What COPY gives, as a file."""

    def __init__(self, blocks: Iterator[Any]) -> None:
        self._blocks, self._left = blocks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size
