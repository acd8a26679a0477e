"""Keys and answers as Arrow IPC streams: columns in, columns out.

A request's stream has the key's columns, by name. The answer's has three columns, `key` and `prediction` as structs and
`found`, and what all answers share as its schema's metadata: as in JSON, and with no name that could meet another.
Source of the format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from prescore.catalog import keys
from prescore.catalog.types import INTEGERS, TIMES
from prescore.errors import KeyInvalid
from prescore_api.service.answers import Age, Answers
from prescore_api.tables.version import TableVersion

MEDIA_TYPE = b"application/vnd.apache.arrow.stream"
_TYPES = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "uuid": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}


def parse(described: TableVersion, table: pa.Table) -> list[list[Any]]:
    """A request's columns as those of the key; raises KeyInvalid."""
    names = [column["name"] for column in described.key]
    if sorted(table.column_names) != sorted(names):
        raise KeyInvalid(f"The columns are {', '.join(table.column_names)}; the key consists of {', '.join(names)}.")
    try:
        columns = [_cast(column["name"], column["type"], table.column(column["name"])) for column in described.key]
        # Text, times and UUIDs have rules of their own, and numbers their ranges, the same as in JSON.
        values = [_values(column) for column in columns]
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise KeyInvalid(f"The keys cannot be read: {error}.") from error
    return keys.parse_columns(described.key, values)


def _values(column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = column.to_numpy().tolist() if pa.types.is_integer(column.type) else column.to_pylist()
    return values


def _cast(name: str, kind: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.null_count:
        place = column.is_null().to_pylist().index(True)
        raise KeyInvalid(f"keys[{place}]: {name} is null.")
    whole = pa.types.is_integer(column.type)
    if kind in INTEGERS:
        if not whole:
            raise KeyInvalid(f"{name} takes whole numbers ({kind}), not {column.type}.")
        return column
    if kind in TIMES:
        return _iso(kind, column)
    if whole or pa.types.is_temporal(column.type):
        raise KeyInvalid(f"{name} takes {kind}, not {column.type}.")
    return column


def _iso(kind: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times as ISO 8601 text, which is read as in JSON."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.string())
    if not pa.types.is_temporal(column.type):
        raise KeyInvalid(f"a {kind} takes times or their text, not {column.type}.")
    if kind == "timestamptz" and getattr(column.type, "tz", None) is None:
        raise KeyInvalid(f"a timestamptz takes times with a zone, not {column.type}.")
    if kind == "timestamp" and getattr(column.type, "tz", None) is not None:
        raise KeyInvalid(f"a timestamp takes times without a zone, not {column.type}.")
    values = column.cast(_TYPES[kind]).to_pylist()
    return pa.chunked_array([pa.array([value.isoformat() for value in values], pa.string())])


def render(answers: Answers) -> bytes:
    """Answers as a reply's body."""
    described, places = answers.table_version, answers.selection
    found = pa.array(answers.found, pa.bool_()).fill_null(False)
    key = _struct([c["name"] for c in described.key], [c["type"] for c in described.key], answers.keys)
    columns = answers.outputs.to_arrays([place for place, _ in places])
    kinds = [described.outputs[place]["type"] for place, _ in places]
    prediction = _struct([name for _, name in places], kinds, columns, mask=pa.compute.invert(found))
    fields = [("key", key.type), ("found", pa.bool_()), ("prediction", prediction.type)]
    schema = pa.schema(fields, metadata=_metadata(described, answers.age))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch([key, found, prediction], schema=schema))
    return bytes(sink.getvalue())


def _metadata(version: TableVersion, age: Age) -> dict[bytes, str]:
    """Return what all answers share, as text."""
    published_at = version.row["published_at"]
    return {
        b"model": version.model,
        b"version": str(version.version),
        b"data_as_of": version.row["data_as_of"].isoformat(),
        b"published_at": published_at.isoformat() if published_at else "",
        b"age_seconds": f"{age.seconds:.3f}",
        b"stale": str(age.stale).lower(),
    }


def _struct(
    names: Sequence[str], kinds: Sequence[str], columns: Sequence[Any], mask: pa.Array | None = None
) -> pa.StructArray:
    fields = [pa.field(name, _TYPES[kind]) for name, kind in zip(names, kinds, strict=True)]
    arrays = [_typed(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=mask)


def _typed(column: Any, kind: str) -> pa.Array:
    if isinstance(column, pa.Array):
        return column.cast(_TYPES[kind], safe=False)
    if kind == "uuid":
        column = [None if value is None else str(value) for value in column]
    # Infinity and times before Christ come as text.
    if kind in TIMES:
        column = [None if isinstance(value, str) else value for value in column]
    return pa.array(column, _TYPES[kind])
