"""Tables of keys, rows and answers, as Arrow IPC streams. pyarrow is imported only when a table is sent or received.

The format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from prescore_api.client.requests import ARROW
from prescore_api.client.responses import Response, read

if TYPE_CHECKING:
    import pyarrow as pa


class ArrowTable(Protocol):
    """A table of pyarrow, or of another library that exports its tables to Arrow, such as polars."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a PyCapsule with an Arrow stream."""


def to_table(rows: ArrowTable, method: str) -> pa.Table:
    """Return what was passed to a method as a pyarrow table; raise TypeError."""
    import_pyarrow(method)
    import pyarrow as pa

    if not hasattr(rows, "__arrow_c_stream__"):
        raise TypeError(
            f"{method} takes a pyarrow table, not {type(rows).__name__}. Pass a pandas DataFrame or a list of "
            f"mappings to {method.removesuffix('_table')}."
        )
    return pa.table(rows)


def import_pyarrow(purpose: str) -> None:
    """Raise ModuleNotFoundError with what to install if pyarrow is missing; the client works without it otherwise."""
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        message = f"{purpose} needs pyarrow, which is not installed. Run: pip install pyarrow"
        raise ModuleNotFoundError(message, name="pyarrow") from error


def serialize(table: pa.Table) -> bytes:
    """Return a table of keys or rows as a request body."""
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


def read_key_names(response: Response) -> list[str]:
    """Return the names of the key's columns from a table of answers; raise ApiError."""
    return read(response, lambda response: _field_names(_deserialize(response), "key"))


def version_of(answers: pa.Table) -> int:
    """Return the published version of a table of answers; raise LookupError, TypeError or ValueError without one."""
    metadata = answers.schema.metadata or {}
    return int(metadata[b"version"])


def concatenate(parts: Sequence[pa.Table]) -> pa.Table:
    """Return flat parts as one table.

    The metadata is that of the last part, so that the age is not understated for any of them.
    """
    import pyarrow as pa

    last_metadata = parts[-1].schema.metadata
    table = pa.concat_tables(parts)
    return table.replace_schema_metadata(last_metadata)


def flatten(answers: pa.Table) -> pa.Table:
    """Return answers with the key's columns, the outputs, and the columns about the answers side by side.

    These are `found`, or `source` and `rejected` for rows that were scored, and `version` and `data_as_of`. Outputs are
    null without a prediction. The metadata is unchanged.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for struct in ("key", "prediction"):
        # Rows that are scored may have no key.
        if struct in answers.column_names:
            columns |= zip(_field_names(answers, struct), answers.column(struct).flatten(), strict=True)
    data_as_of = datetime.fromisoformat(answers.schema.metadata[b"data_as_of"].decode())
    shared = {
        "version": pa.scalar(version_of(answers), pa.int32()),
        "data_as_of": pa.scalar(data_as_of, pa.timestamp("us", "UTC")),
    }
    for name in ("found", "source", "rejected"):
        if name in answers.column_names:
            columns[name] = answers.column(name)
    for name, value in shared.items():
        # Rows have their own while the model has a canary, or `data_as_of` alone if it keeps rows.
        has_own = name in answers.column_names
        columns[name] = answers.column(name) if has_own else pa.repeat(value, answers.num_rows)
    return pa.table(columns, metadata=answers.schema.metadata)


def _field_names(answers: pa.Table, struct: str) -> list[str]:
    return [field.name for field in answers.schema.field(struct).type]


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
