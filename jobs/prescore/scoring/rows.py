"""Score rows of features on request: each row is scored, or rejected with its reason, whatever the others are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prescore.errors import DomainInvalid, ModelFailed
from prescore.scoring import column_types, conversion, failures, feature_values
from prescore.scoring.column_types import ARROW
from prescore.scoring.expected import is_missing
from prescore.scoring.scorer import Scorer
from prescore.scoring.signature import Signature

FeatureColumns = Mapping[str, Sequence[Any] | pa.Array]
"""Feature → its values in all rows: of Python or JSON, or an Arrow array."""


@dataclass(frozen=True)
class Rejection:
    """Why a row was not scored, and the feature or the output at fault; None if the model failed on the row."""

    column: str | None
    reason: str


@dataclass(frozen=True)
class ScoredRows:
    """Predictions in the order of the rows, null where the row was rejected, and the rejections by row number."""

    predictions: pa.RecordBatch
    rejections: dict[int, Rejection]


def score(scorer: Scorer, columns: FeatureColumns, rows: int) -> ScoredRows:
    """Score rows that are given as columns: every feature of the signature, and no column beside them is read.

    Raises DomainInvalid for an Arrow array of a type that the feature cannot have, and ModelInvalid when the model
    does not fit its signature.
    """
    batch, rejections = _convert(scorer.signature, columns, rows)
    accepted = [number for number in range(rows) if number not in rejections] if rejections else range(rows)
    parts: list[pa.RecordBatch] = []
    positions: list[int] = []
    start = 0
    for part, result in failures.bisect(scorer.score, batch) if batch.num_rows else ():
        numbers = accepted[start : start + part.num_rows]
        start += part.num_rows
        if isinstance(result, ModelFailed):
            rejections[numbers[0]] = Rejection(None, str(result))
            continue
        parts.append(result)
        positions += numbers
    predictions = pa.concat_batches(parts) if parts else _no_rows(scorer.signature)
    rejections |= _not_finite(scorer.signature, predictions, positions)
    return ScoredRows(_spread(predictions, positions, rejections, rows), rejections)


def _convert(signature: Signature, columns: FeatureColumns, rows: int) -> tuple[pa.RecordBatch, dict[int, Rejection]]:
    """Return the rows that can be scored as a batch, and the rejections of the others."""
    rejections: dict[int, Rejection] = {}
    arrays = _convert_alike(signature, columns, rows)
    for name, target in signature.features.items():
        if name in arrays:
            continue
        values = columns[name]
        options = _options(signature, name)
        if isinstance(values, pa.Array):
            converted = _convert_array(name, values, target, **options)
        else:
            converted = feature_values.convert(values, target, **options)
        if converted is None:
            converted = _convert_singly(name, values, target, rejections, **options)
        arrays[name] = converted
    batch = pa.record_batch([arrays[name] for name in signature.features], names=list(signature.features))
    if rejections:
        accepted = np.ones(rows, np.bool_)
        accepted[list(rejections)] = False
        batch = batch.filter(pa.array(accepted))
    return batch, rejections


def _convert_alike(signature: Signature, columns: FeatureColumns, rows: int) -> dict[str, pa.Array]:
    """Return the features that can be converted together with others of their type, for which all values are exact.

    A call for each of a dozen features would cost more than scoring the few rows of most requests.
    """
    alike: dict[tuple[Any, ...], list[str]] = {}
    for name, target in signature.features.items():
        if not isinstance(columns[name], pa.Array):
            kind = (target, *_options(signature, name).values())
            alike.setdefault(kind, []).append(name)
    arrays: dict[str, pa.Array] = {}
    for (target, nullable, may_round), names in alike.items():
        values = list(chain.from_iterable(columns[name] for name in names))
        converted = feature_values.convert(values, target, nullable=nullable, may_round=may_round)
        if converted is None:
            continue
        for number, name in enumerate(names):
            start = number * rows
            arrays[name] = converted[start : start + rows]
    return arrays


def _options(signature: Signature, name: str) -> dict[str, bool]:
    return {"nullable": name in signature.nullable, "may_round": name in signature.allow_precision_loss}


def _convert_array(
    name: str, values: pa.Array, target: pa.DataType, *, nullable: bool, may_round: bool
) -> pa.Array | None:
    """Return an Arrow array as the type of its feature, or None if one of its values cannot be converted exactly."""
    try:
        column_types.check_type(name, values.type, target, allow_precision_loss=may_round)
    except DomainInvalid as error:
        raise DomainInvalid(
            f"Feature {name} is {values.type}, and the model takes {feature_values.name(target)}. Cast it first."
        ) from error
    if not nullable and is_missing(values).any():
        return None
    try:
        return conversion.convert(name, values, target, allow_precision_loss=may_round)
    except DomainInvalid:
        return None


def _convert_singly(
    name: str,
    values: Sequence[Any] | pa.Array,
    target: pa.DataType,
    rejections: dict[int, Rejection],
    *,
    nullable: bool,
    may_round: bool,
) -> pa.Array:
    """Convert values one by one; a row with one that cannot be converted is rejected, and its value is null."""
    converted = []
    for number, value in enumerate(values.to_pylist() if isinstance(values, pa.Array) else values):
        try:
            converted.append(feature_values.convert_value(value, target, nullable=nullable, may_round=may_round))
        except ValueError as error:
            rejections.setdefault(number, Rejection(name, f"Feature {name} {error}."))
            converted.append(None)
    # NumPy has no cast from Python's floats to its half precision that Arrow would take.
    if target == pa.float16():
        converted = [None if value is None else np.float16(value) for value in converted]
    return pa.array(converted, target)


def _not_finite(signature: Signature, predictions: pa.RecordBatch, positions: Sequence[int]) -> dict[int, Rejection]:
    rejections: dict[int, Rejection] = {}
    for name, selection in signature.outputs.items():
        finite = failures.are_finite(predictions.column(name), selection.type)
        if finite is None or pc.all(finite).as_py():
            continue
        reason = failures.not_finite_reason(name, selection.type)
        for place in np.flatnonzero(~finite.to_numpy(zero_copy_only=False)).tolist():
            rejections.setdefault(positions[place], Rejection(name, f"{reason}."))
    return rejections


def _spread(
    predictions: pa.RecordBatch, positions: Sequence[int], rejections: Mapping[int, Rejection], rows: int
) -> pa.RecordBatch:
    """Return a prediction for each row, null where it was rejected."""
    if not rejections:
        return predictions
    places: list[int | None] = [None] * rows
    for place, number in enumerate(positions):
        if number not in rejections:
            places[number] = place
    return predictions.take(pa.array(places, pa.int64()))


def _no_rows(signature: Signature) -> pa.RecordBatch:
    types = {name: ARROW[selection.type] for name, selection in signature.outputs.items()}
    return pa.RecordBatch.from_pylist([], schema=pa.schema(types))
