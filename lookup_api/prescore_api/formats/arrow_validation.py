"""Validate Arrow IPC streams before any value is read from them.

Arrow trusts the streams it reads. Forged offsets can make it read beyond the body, and a few compressed kilobytes can
expand to gigabytes. Requests may therefore contain only plain, uncompressed columns, which Arrow validates in full.

The stream format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format. Message metadata follows
Arrow's Message.fbs, encoded as described at https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from prescore.errors import RequestInvalid

# Numbers of the fields in Message.fbs, and of a record batch among the kinds of messages.
_HEADER_TYPE_FIELD = 1
_HEADER_FIELD = 2
_COMPRESSION_FIELD = 3
_RECORD_BATCH = 3


class Columns(NamedTuple):
    """What the columns of a stream may be: the checks of their types, and how a message describes them."""

    checks: tuple[Callable[[pa.DataType], bool], ...]
    description: str


KEYS = Columns(
    (
        pa.types.is_integer,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_date,
        pa.types.is_timestamp,
    ),
    "which no key column has. Send the key columns alone: integers, text, dates or timestamps, none of them "
    "dictionary-encoded.",
)
ROWS = Columns(
    (*KEYS.checks, pa.types.is_floating, pa.types.is_boolean),
    "which no feature and no key has. Send numbers, text, booleans, dates or timestamps, none of them "
    "dictionary-encoded.",
)


def read_table(body: bytes, columns: Columns = KEYS) -> pa.Table:
    """Return all rows of a stream; raise RequestInvalid if it is malformed, compressed, or has other column types."""
    try:
        _require_plain_columns(body, columns)
        _require_uncompressed(body)
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, OverflowError, struct.error) as error:
        raise RequestInvalid(f"The body is not an Arrow IPC stream: {error}.") from error
    return table


def _require_plain_columns(body: bytes, columns: Columns) -> None:
    # Opening a stream reads only its schema.
    with pa.ipc.open_stream(body) as reader:
        schema = reader.schema
    for field in schema:
        if not any(is_type(field.type) for is_type in columns.checks):
            raise RequestInvalid(f"Column {field.name} has the type {field.type}, {columns.description}")


def _require_uncompressed(body: bytes) -> None:
    for message in pa.ipc.MessageReader.open_stream(body):
        if message.type != "record batch":
            continue
        metadata = message.metadata.to_pybytes()
        if _is_compressed(metadata):
            raise RequestInvalid("The Arrow stream is compressed. Send it without compression.")


def _is_compressed(metadata: bytes) -> bool:
    """Return whether a record batch is compressed, by the metadata of its message; raise struct.error if malformed."""
    (message,) = struct.unpack_from("<I", metadata)
    header_type = _find_field(metadata, message, _HEADER_TYPE_FIELD)
    if header_type is None or metadata[header_type] != _RECORD_BATCH:
        raise struct.error("a record batch has the header of another message")
    header = _find_field(metadata, message, _HEADER_FIELD)
    if header is None:
        raise struct.error("a message has no header")
    (offset,) = struct.unpack_from("<I", metadata, header)
    record_batch = header + int(offset)
    compression = _find_field(metadata, record_batch, _COMPRESSION_FIELD)
    return compression is not None


def _find_field(metadata: bytes, table: int, number: int) -> int | None:
    """Return the position of a field of the FlatBuffers table at `table`, or None if the field is absent."""
    (distance,) = struct.unpack_from("<i", metadata, table)
    vtable = table - distance
    if vtable < 0:
        raise struct.error("a vtable begins before its message")
    (size,) = struct.unpack_from("<H", metadata, vtable)
    # A vtable begins with two sizes. An offset of two bytes for each field follows.
    entry = 4 + 2 * number
    if entry >= size:
        return None
    (offset,) = struct.unpack_from("<H", metadata, vtable + entry)
    if offset == 0:
        return None
    return table + int(offset)
