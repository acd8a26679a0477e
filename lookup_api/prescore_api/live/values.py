"""Predictions as the values that JSON answers have, which are those of a lookup in the table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def to_lists(predictions: pa.RecordBatch) -> dict[str, list[Any]]:
    """Return each output as Python values.

    A real is the double with the shortest text that reads as it, as Postgres writes it: 0.1, not 0.10000000149011612.
    """
    names = predictions.schema.names
    return {name: _widened(column).to_pylist() for name, column in zip(names, predictions.columns, strict=True)}


def _widened(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type):
        elements = _widened(column.flatten())
        # The offsets of a slice count from the beginning of the whole array.
        offsets = pa.compute.subtract(column.offsets, column.offsets[0])
        return pa.ListArray.from_arrays(offsets, elements, mask=column.is_null())
    if column.type != pa.float32():
        return column
    return column.cast(pa.string()).cast(pa.float64())
