"""Arrow IPC streams from outside: looked at before they are believed, because Arrow itself believes them.

A stream that says of itself what is not so can make Arrow read other memory; a compressed one of some kilobytes can be
gigabytes. So only plain columns are taken, nothing compressed, and all of it is validated before a value is read.
Source of the format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format; what is read of a
message's metadata here is as in Message.fbs, whose encoding is https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import struct

import pyarrow as pa

from prescore.errors import RequestInvalid

_RECORD_BATCH, _COMPRESSION, _HEADER_TYPE, _HEADER = 3, 3, 1, 2


def read_table(body: bytes) -> pa.Table:
    """The whole of a stream; raises RequestInvalid."""
    try:
        _require_plain(body)
        with pa.ipc.open_stream(body) as reader:
            read = reader.read_all()
        read.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, OverflowError, struct.error) as error:
        raise RequestInvalid(f"The body is not an Arrow IPC stream: {error}.") from error
    return read


def _require_plain(body: bytes) -> None:
    # Reads the schema and no more.
    with pa.ipc.open_stream(body) as reader:
        for field in reader.schema:
            if not _plain(field.type):
                raise RequestInvalid(
                    f"The column {field.name} is {field.type}. Integers, text, dates and timestamps are taken, "
                    "none of them dictionary-encoded."
                )
    for message in pa.ipc.MessageReader.open_stream(body):
        if message.type == "record batch" and _compressed(message.metadata.to_pybytes()):
            raise RequestInvalid("The stream is compressed. Send it as it is; HTTP may be compressed by a proxy.")


def _plain(kind: pa.DataType) -> bool:
    plain = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string, pa.types.is_date, pa.types.is_timestamp)
    return any(is_it(kind) for is_it in plain)


def _compressed(metadata: bytes) -> bool:
    """Whether a message's record batch names a compression; raise struct.error if it is not a message."""
    (root,) = struct.unpack_from("<I", metadata)
    kind = _field(metadata, root, _HEADER_TYPE)
    if kind is None or metadata[kind] != _RECORD_BATCH:
        raise struct.error("a message is of another kind than it says")
    header = _field(metadata, root, _HEADER)
    if header is None:
        raise struct.error("a message has no header")
    (offset,) = struct.unpack_from("<I", metadata, header)
    return _field(metadata, header + int(offset), _COMPRESSION) is not None


def _field(metadata: bytes, table_at: int, number: int) -> int | None:
    """Where a field of a FlatBuffers table is; None when it has its default."""
    (back,) = struct.unpack_from("<i", metadata, table_at)
    vtable = table_at - back
    if vtable < 0:
        raise struct.error("a table's vtable is outside")
    (size,) = struct.unpack_from("<H", metadata, vtable)
    if 4 + 2 * number >= size:
        return None
    (offset,) = struct.unpack_from("<H", metadata, vtable + 4 + 2 * number)
    return table_at + offset if offset else None
