"""Tables of keys and answers as Arrow IPC streams. pyarrow is imported only when a table is sent or received.

The format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prescore_api.client.requests import ARROW
from prescore_api.client.responses import Response, read

if TYPE_CHECKING:
    import pyarrow as pa


def serialize(table: pa.Table) -> bytes:
    """Return a table of keys as a request body."""
    import pyarrow as pa

    fields = [field.with_type(_plain(field.type)) for field in table.schema]
    table = table.cast(pa.schema(fields))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def read_answers(response: Response) -> pa.Table:
    """Return the table of answers in a response; raise ApiError."""
    return read(response, _deserialize)


def version_of(answers: pa.Table) -> int:
    """Return the version of a table of answers; raise LookupError, TypeError or ValueError if it names none."""
    metadata = answers.schema.metadata or {}
    return int(metadata[b"version"])


def concatenate(parts: Sequence[pa.Table]) -> pa.Table:
    """Return parts of one version as one table.

    The metadata is that of the last part, so that the age is not understated for any of them.
    """
    import pyarrow as pa

    last_metadata = parts[-1].schema.metadata
    table = pa.concat_tables(parts)
    return table.replace_schema_metadata(last_metadata)


def _plain(arrow_type: pa.DataType) -> pa.DataType:
    """Return the type of the same values as the API accepts it: pandas has categories, and polars has views."""
    import pyarrow as pa

    if pa.types.is_dictionary(arrow_type):
        return _plain(arrow_type.value_type)
    return pa.string() if pa.types.is_string_view(arrow_type) else arrow_type


def _deserialize(response: Response) -> pa.Table:
    import pyarrow as pa

    if not response.headers.get("Content-Type", "").startswith(ARROW):
        raise ValueError("the response is not an Arrow IPC stream")
    with pa.ipc.open_stream(response.content) as reader:
        answers = reader.read_all()
    # Answers without a version would fail later, when they are no longer recognizable as a wrong response.
    version_of(answers)
    return answers
