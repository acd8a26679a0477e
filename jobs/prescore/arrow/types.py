"""The Arrow types of the types that columns of a version can have."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from prescore.catalog.types import ARRAYS, TYPES

_SCALARS: dict[str, pa.DataType] = {
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


def arrow_types(
    others: dict[str, pa.DataType] | None = None,
    list_type: Callable[[pa.DataType], pa.DataType] = pa.list_,
) -> dict[str, pa.DataType]:
    """Return Arrow's type for each type in the catalog. A uuid is text, and an array a list of its elements' type.

    `others` are the scalar types that are to have another Arrow type, as elements of arrays too.
    """
    scalars = _SCALARS | (others or {})
    return scalars | {name: list_type(scalars[TYPES[name].element or name]) for name in ARRAYS}
