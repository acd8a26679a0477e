"""Parse keys from Arrow tables, and render answers as Arrow IPC streams.

A request has a column for each key column, with the same name. A response has three columns: the structs `key` and
`prediction`, whose fields cannot clash with other names, and the boolean `found`, which pages of rows do not need. The
schema's metadata holds what all answers share. While a model has a canary, answers to many keys also have the columns
`version` and `data_as_of`. In a version that keeps rows whose keys have vanished, all rows have `data_as_of`.

The format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from prescore.arrow.types import arrow_types
from prescore.catalog import keys
from prescore.catalog.catalog import Column
from prescore.catalog.types import INTEGERS, TIMES
from prescore.errors import KeyInvalid
from prescore_api.service.answers import Age, Answers, MixedAnswers
from prescore_api.tables.version import OutputSelection, TableVersion

if TYPE_CHECKING:
    # A scoring process needs no service.
    from prescore_api.service.row_pages import Page

MEDIA_TYPE = b"application/vnd.apache.arrow.stream"
_TYPES = arrow_types()


def parse(key: Sequence[Column], table: pa.Table) -> list[list[Any]]:
    """Return a request's keys as columns of Python values, in the order of a version's key; raise KeyInvalid."""
    names = [column["name"] for column in key]
    if sorted(table.column_names) != sorted(names):
        sent = ", ".join(table.column_names)
        expected = ", ".join(names)
        raise KeyInvalid(f"The request has the columns {sent}. Send the columns of the key: {expected}.")
    columns = []
    try:
        for column in key:
            name = column["name"]
            values = _key_values(name, column["type"], table.column(name))
            columns.append(values)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise KeyInvalid(f"The keys cannot be read: {error}.") from error
    # Ranges of integers and the formats of text, times and UUIDs are checked as for JSON.
    return keys.parse_columns(key, columns)


def _key_values(name: str, kind: str, column: pa.ChunkedArray) -> list[Any]:
    """Return a key column of type `kind` as values that a request in JSON could contain; raise KeyInvalid."""
    _require_no_null(name, column)
    if kind in INTEGERS:
        return _integers(name, kind, column)
    if kind in TIMES:
        return _times(kind, column)
    if pa.types.is_integer(column.type) or pa.types.is_temporal(column.type):
        raise KeyInvalid(f"{name} takes {kind}, not {column.type}.")
    return column.to_pylist()  # type: ignore[no-any-return]


def _require_no_null(name: str, column: pa.ChunkedArray) -> None:
    if not column.null_count:
        return
    position = column.is_null().index(True)
    raise KeyInvalid(f"keys[{position}]: {name} is null.")


def _integers(name: str, kind: str, column: pa.ChunkedArray) -> list[Any]:
    if not pa.types.is_integer(column.type):
        raise KeyInvalid(f"{name} takes whole numbers ({kind}), not {column.type}.")
    # NumPy converts integers to Python several times faster than Arrow.
    array = column.to_numpy()
    return array.tolist()  # type: ignore[no-any-return]


def _times(kind: str, column: pa.ChunkedArray) -> list[Any]:
    """Return dates or timestamps as ISO 8601 text, as in JSON."""
    data_type = column.type
    if pa.types.is_string(data_type) or pa.types.is_large_string(data_type):
        return column.to_pylist()  # type: ignore[no-any-return]
    _require_time(kind, data_type)
    times = column.cast(_TYPES[kind])
    return [time.isoformat() for time in times.to_pylist()]


def _require_time(kind: str, data_type: pa.DataType) -> None:
    if not pa.types.is_temporal(data_type):
        raise KeyInvalid(f"a {kind} takes times or their text, not {data_type}.")
    # Dates have no such attribute.
    time_zone = getattr(data_type, "tz", None)
    if kind == "timestamptz" and time_zone is None:
        raise KeyInvalid(f"a timestamptz takes times with a time zone, not {data_type}.")
    if kind == "timestamp" and time_zone is not None:
        raise KeyInvalid(f"a timestamp takes times without a time zone, not {data_type}.")


def render(answers: Answers | MixedAnswers) -> bytes:
    """Return the answers as an Arrow IPC stream with one record batch, in the order of the request."""
    if isinstance(answers, MixedAnswers):
        return stream(_mixed(answers))
    batch = _batch(answers, answers.selection)
    version = answers.table_version
    if version.kept_position is not None:
        batch = with_data_as_of(batch, version, answers.age, answers.kept_ages)
    return stream(batch.replace_schema_metadata(metadata(version, answers.age)))


def _mixed(answers: MixedAnswers) -> pa.RecordBatch:
    """Return answers of two versions with the columns `version` and `data_as_of`, and the outputs of the published one.

    The metadata is that of the published version, too.
    """
    published, canary = answers.published, answers.canary
    names = published.selection.names
    parts = [
        _with_version(_batch(published, published.selection), published),
        # It has these outputs with the same types. Otherwise, it would break readers, and be no canary.
        _with_version(_batch(canary, canary.table_version.select_outputs(names)), canary),
    ]
    (batch,) = pa.Table.from_batches(parts).combine_chunks().to_batches() or parts[:1]
    ordered = batch.take(pa.array(_order(answers.is_canary), pa.int64()))
    return ordered.replace_schema_metadata(metadata(published.table_version, published.age))


def _order(is_canary: Sequence[bool]) -> list[int]:
    """Return where the answer to each key is, if those of the canary follow all others."""
    published, canary = count(), count(is_canary.count(False))
    return [next(canary if taken else published) for taken in is_canary]


def _with_version(batch: pa.RecordBatch, answers: Answers) -> pa.RecordBatch:
    version = answers.table_version
    number = pa.repeat(pa.scalar(version.version, pa.int32()), batch.num_rows)
    return with_data_as_of(batch.append_column("version", number), version, answers.age, answers.kept_ages)


def with_data_as_of(
    batch: pa.RecordBatch, version: TableVersion, age: Age, kept_ages: Mapping[int, Age]
) -> pa.RecordBatch:
    """Return rows with the column `data_as_of`: the time of the version's inputs, or of those of a kept row."""
    times = [age.data_as_of(version)] * batch.num_rows
    for position, own in kept_ages.items():
        times[position] = own.data_as_of(version)
    return batch.append_column("data_as_of", pa.array(times, _TYPES["timestamptz"]))


def _batch(answers: Answers, selection: OutputSelection) -> pa.RecordBatch:
    """Return answers with these outputs of their version, as the columns `key`, `found` and `prediction`."""
    version = answers.table_version
    found = pa.array(answers.found, pa.bool_()).fill_null(False)
    key = struct(version.key, answers.keys)
    selected = [version.outputs[position] for position in selection.positions]
    outputs = answers.outputs.to_arrays(selection.positions)
    # A prediction is null as a whole if its key was not found.
    not_found = pa.compute.invert(found)
    prediction = struct(selected, outputs, mask=not_found)
    return pa.record_batch([key, found, prediction], names=["key", "found", "prediction"])


def render_page(page: Page) -> bytes:
    """Return a page of rows as an Arrow IPC stream with one record batch."""
    version = page.table_version
    selected = [version.outputs[position] for position in page.selection.positions]
    key = struct(version.key, page.keys)
    prediction = struct(selected, page.selected())
    batch = pa.record_batch([key, prediction], names=["key", "prediction"])
    if version.kept_position is not None:
        batch = with_data_as_of(batch, version, page.age, page.kept_ages)
    return stream(batch.replace_schema_metadata(metadata(version, page.age)))


def stream(batch: pa.RecordBatch) -> bytes:
    """Return a batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def metadata(version: TableVersion, age: Age) -> dict[bytes, str]:
    """Return what all answers share, as text. A version that was never published has an empty `published_at`."""
    data_as_of = age.data_as_of(version)
    published_at = version.row["published_at"]
    return {
        b"model": version.model,
        b"version": str(version.version),
        b"data_as_of": data_as_of.isoformat(),
        b"published_at": published_at.isoformat() if published_at else "",
        b"age_seconds": f"{age.seconds:.3f}",
        b"stale": "true" if age.stale else "false",
    }


def struct(columns: Sequence[Column], values: Sequence[Any], mask: pa.Array | None = None) -> pa.StructArray:
    """Return an array of structs with a field for each column. Structs are null where `mask` is true."""
    fields = []
    arrays = []
    for column, column_values in zip(columns, values, strict=True):
        kind = column["type"]
        field = pa.field(column["name"], _TYPES[kind])
        fields.append(field)
        arrays.append(_array(column_values, kind))
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=mask)


def _array(values: Any, kind: str) -> pa.Array:
    """Return values of a column type as an Arrow array. Infinity and times before Christ become null."""
    if isinstance(values, pa.Array):
        return values.cast(_TYPES[kind], safe=False)
    if kind == "uuid":
        values = [None if value is None else str(value) for value in values]
    if kind in TIMES:
        # Times beyond Python's range are text.
        values = [None if isinstance(value, str) else value for value in values]
    return pa.array(values, _TYPES[kind])
