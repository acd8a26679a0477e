"""Tables as Arrow IPC streams. Only whoever asks with a table needs pyarrow: it is imported when one is there.

Source of the format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prescore_api.client.asking import ARROW
from prescore_api.client.replies import Reply, read

if TYPE_CHECKING:
    import pyarrow as pa


def stream(table: pa.Table) -> bytes:
    """A table as a request's body."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def table(reply: Reply) -> pa.Table:
    """The table that a reply holds; raises ApiError."""
    return read(reply, _table)


def version(answers: pa.Table) -> int:
    """The version that answers are of; raises LookupError, TypeError or ValueError for what are none."""
    return int((answers.schema.metadata or {})[b"version"])


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Parts of one version as one table. Its metadata is the last one's: nothing has become younger since."""
    import pyarrow as pa

    return pa.concat_tables(parts).replace_schema_metadata(parts[-1].schema.metadata)


def _table(reply: Reply) -> pa.Table:
    import pyarrow as pa

    if not reply.headers.get("Content-Type", "").startswith(ARROW):
        raise ValueError("no Arrow IPC stream")
    with pa.ipc.open_stream(reply.content) as reader:
        answers = reader.read_all()
    version(answers)
    return answers
