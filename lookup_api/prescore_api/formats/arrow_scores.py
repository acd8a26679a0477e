"""Read rows to score from Arrow IPC streams, and render their answers as such a stream.

The columns of the answers are the struct `key`, if the rows have one, the struct `prediction`, `source`, the struct
`rejected` and `data_as_of`. A prediction is null where the row was rejected, and `rejected` is null where it was not.
The schema's metadata is that of the version's table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from prescore.catalog.catalog import Column
from prescore_api.formats import arrow
from prescore_api.formats.scores import UNKNOWN_KEY
from prescore_api.service.answers import Age, Answers
from prescore_api.service.live import Rejection, Source
from prescore_api.tables.version import TableVersion

_REJECTION = pa.struct({"column": pa.string(), "reason": pa.string()})
_TIME = pa.timestamp("us", "UTC")


class LiveColumns(NamedTuple):
    """Rows that were scored: predictions by output, and rejections by place; `scored_at` is in seconds since 1970."""

    predictions: Mapping[str, Sequence[Any]]
    rejections: Mapping[int, Rejection]
    scored_at: float


def read(body: bytes, numbers: Sequence[int]) -> pa.Table:
    """Return the rows with some numbers of a stream that was validated before."""
    table = pa.ipc.open_stream(body).read_all()
    places = pa.array(numbers, pa.int64())
    return table.take(places)


def parse_keys(key: Sequence[Column], table: pa.Table) -> list[list[Any]] | None:
    """Return the keys of rows by column, None if the rows do not have all of its columns; raise KeyInvalid."""
    names = [column["name"] for column in key]
    if not set(names).issubset(table.column_names):
        return None
    return arrow.parse(key, table.select(names))


def answer_from_table(answers: Answers) -> pa.RecordBatch:
    """Return the answers that the table has; rows whose keys it does not have are rejected."""
    version = answers.table_version
    unknown = [number for number, is_found in enumerate(answers.found) if not is_found]
    rejections = dict.fromkeys(unknown, Rejection(None, UNKNOWN_KEY))
    positions = answers.selection.positions
    batch = _batch(
        key=arrow.struct(version.key, answers.keys),
        outputs=[version.outputs[position] for position in positions],
        values=answers.outputs.to_arrays(positions),
        source="table",
        rejections=rejections,
        rows=len(answers.found),
    )
    return arrow.with_data_as_of(batch, version, answers.age, answers.kept_ages)


def answer_live(table: pa.Table, key: Sequence[Column], outputs: Sequence[Column], live: LiveColumns) -> pa.RecordBatch:
    """Return the answers to rows that were scored; passthrough columns are null. Raises KeyInvalid."""
    rows = table.num_rows
    keys = parse_keys(key, table)
    without = [None] * rows
    batch = _batch(
        key=None if keys is None else arrow.struct(key, keys),
        outputs=outputs,
        values=[live.predictions.get(output["name"], without) for output in outputs],
        source="live",
        rejections=live.rejections,
        rows=rows,
    )
    scored_at = datetime.fromtimestamp(live.scored_at, UTC)
    times = pa.repeat(pa.scalar(scored_at, _TIME), rows)
    return batch.append_column("data_as_of", times)


def merge(found: Answers, live: pa.RecordBatch, numbers: Sequence[int]) -> pa.RecordBatch:
    """Return the answers from the table, and those from the model to the rows with some numbers."""
    table = answer_from_table(found)
    order = list(range(table.num_rows))
    for place, number in enumerate(numbers):
        order[number] = table.num_rows + place
    both = pa.Table.from_batches([table, live])
    (batch,) = both.combine_chunks().to_batches()
    return batch.take(pa.array(order, pa.int64()))


def render(answers: pa.RecordBatch, version: TableVersion, age: Age) -> bytes:
    """Return answers as a stream; the age is that of the version's table."""
    metadata = arrow.metadata(version, age)
    return arrow.stream(answers.replace_schema_metadata(metadata))


def _batch(
    key: pa.Array | None,
    outputs: Sequence[Column],
    values: Sequence[Any],
    source: Source,
    rejections: Mapping[int, Rejection],
    rows: int,
) -> pa.RecordBatch:
    """Return answers without their times; `values` are those of the outputs, by column."""
    reasons: list[dict[str, str | None] | None] = [None] * rows
    for number, rejection in rejections.items():
        reasons[number] = rejection._asdict()
    rejected = pa.array(reasons, _REJECTION)
    columns = {} if key is None else {"key": key}
    columns["prediction"] = arrow.struct(outputs, values, mask=rejected.is_valid())
    columns["source"] = pa.repeat(pa.scalar(source, pa.string()), rows)
    columns["rejected"] = rejected
    return pa.record_batch(columns)
