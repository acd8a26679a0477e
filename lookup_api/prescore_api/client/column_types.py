"""Values that came in JSON, as Arrow arrays of the types that the same columns have in an answer in Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def to_array(kind: str | None, values: Sequence[Any]) -> pa.Array:
    """Return the values of a column of a Postgres type as an array; None is null, and so is an infinite time.

    Without a type, Arrow infers one.
    """
    import pyarrow as pa

    if kind == "date":
        values = _parse_times(date.fromisoformat, values)
    elif kind in ("timestamp", "timestamptz"):
        values = _parse_times(datetime.fromisoformat, values)
    return pa.array(values, kind and arrow_type(kind))


def arrow_type(kind: str) -> pa.DataType | None:
    """Return the Arrow type of a Postgres type, None for one that this client does not know."""
    import pyarrow as pa

    scalars = {
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
        "timestamptz": pa.timestamp("us", "UTC"),
    }
    element = "real" if kind == "vector" else kind.removesuffix("[]")
    data_type = scalars.get(element)
    if data_type is None or element == kind:
        return data_type
    return pa.list_(data_type)


def _parse_times(parse: Callable[[str], date], texts: Iterable[str | None]) -> list[date | None]:
    """Return times that Python has. Others, such as `infinity`, are null in Arrow."""
    times: list[date | None] = []
    for text in texts:
        try:
            times.append(None if text is None else parse(text))
        except ValueError:
            times.append(None)
    return times
