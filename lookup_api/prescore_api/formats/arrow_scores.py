"""Render the answers to rows that were scored or looked up as an Arrow IPC stream.

The columns are the struct `key`, if the rows have one, and for each row the struct `prediction`, `source`, the struct
`rejected` and `data_as_of`. A prediction is null where the row was rejected, and `rejected` is null where it was not.
The schema's metadata is that of the version's table.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa

from prescore_api.formats import arrow
from prescore_api.service.live import Rejection, ScoredTable

_REJECTION = pa.struct({"column": pa.string(), "reason": pa.string()})


def render(scored: ScoredTable) -> bytes:
    """Return the answers as a stream with one record batch, in the order of the rows."""
    version, rows = scored.table_version, len(scored.sources)
    columns: dict[str, pa.Array] = {}
    if scored.keys is not None:
        columns["key"] = arrow.struct(version.key, scored.keys)
    outputs = [version.outputs[position] for position, _ in scored.selection]
    is_rejected = pa.array([number in scored.rejections for number in range(rows)], pa.bool_())
    columns["prediction"] = arrow.struct(outputs, scored.predictions, mask=is_rejected)
    columns["source"] = pa.array(scored.sources, pa.string())
    columns["rejected"] = _rejected(scored.rejections, rows)
    times = [datetime.fromtimestamp(seconds, UTC) for seconds in scored.data_as_of]
    columns["data_as_of"] = pa.array(times, pa.timestamp("us", "UTC"))
    batch = pa.record_batch(columns)
    return arrow.stream(batch.replace_schema_metadata(arrow.metadata(version, scored.age)))


def _rejected(rejections: Mapping[int, Rejection], rows: int) -> pa.Array:
    given = [rejections.get(number) for number in range(rows)]
    return pa.array([None if each is None else each._asdict() for each in given], _REJECTION)
