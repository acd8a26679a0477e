"""Rows that a model fails on, and predictions that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from prescore.catalog.types import FLOATS, TYPES
from prescore.errors import ModelFailed
from prescore.scoring import arrays

Score = Callable[[pa.RecordBatch], pa.RecordBatch]


def bisect(score: Score, rows: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch | ModelFailed]]:
    """Yield the largest parts of a batch that the model can score, with predictions, and the rows it fails on alone.

    The parts are in the order of the batch.
    """
    try:
        yield rows, score(rows)
    except ModelFailed as error:
        if rows.num_rows == 1:
            yield rows, error
            return
        middle = rows.num_rows // 2
        for half in (rows[:middle], rows[middle:]):
            yield from bisect(score, half)


def are_finite(values: pa.Array, type_name: str) -> pa.Array | None:
    """Return for each prediction whether it is finite, or None for a type that has no NaN."""
    if TYPES[type_name].is_array:
        return arrays.are_finite(values)
    return pc.is_finite(values) if type_name in FLOATS else None


def not_finite_reason(name: str, type_name: str) -> str:
    """Return the reason for rejecting a row whose prediction is not finite."""
    if TYPES[type_name].is_array:
        return f"An element of prediction {name} is null, NaN or infinite"
    return f"Prediction {name} is NaN or infinite"
