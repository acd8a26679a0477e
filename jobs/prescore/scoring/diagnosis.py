"""Why a model does not reproduce its examples: the likely cause, found by trying what people get wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from prescore.errors import DomainInvalid, ModelInvalid
from prescore.scoring.arrays import Mask
from prescore.scoring.examples import Examples
from prescore.scoring.expected import Expected, is_missing
from prescore.scoring.scorer import Scorer
from prescore.scoring.signature import TENSOR_TYPES

# Exchanges are tried on this many of the differing rows, for at most this many pairs of features.
_ROWS_TRIED = 64
_PAIRS_TRIED = 5_000
_SHARE_CLOSE_TO_THRESHOLDS = 0.25
_UNKNOWN = (
    "The cause is not one that prescore recognizes. Compare the model's outputs with those of the toolkit for one of "
    "these rows. The documentation lists exports that are known to differ: Exports known to be wrong."
)


def cause(scorer: Scorer, examples: Examples, predictions: pa.RecordBatch) -> str:
    """Return a sentence on why predictions differ from the examples, and what to do."""
    differing = examples.differing(predictions)
    rows = np.logical_or.reduce(list(differing.values()))
    found = (
        _missing_values(scorer, examples, rows)
        or _other_column(scorer, examples, differing)
        or _log_odds(examples, predictions, differing)
        or _exchange(scorer, examples, rows)
        or _precision(scorer, examples, predictions, differing)
    )
    return found or _UNKNOWN


def _missing_values(scorer: Scorer, examples: Examples, rows: Mask) -> str | None:
    """Recognize an export that loses how the model treats missing values: no complete row differs."""
    missing = np.zeros(len(rows), np.bool_)
    columns = []
    for name in sorted(scorer.onnx.nullable):
        values = examples.features.column(name)
        missing_here = is_missing(values)
        if (missing_here & rows).any():
            columns.append(name)
        missing |= missing_here
    if missing.all() or not missing[rows].all():
        return None
    return (
        "Likely cause: missing values. Every row that differs has one, and no complete row differs: the export has "
        f"lost how the model treats them. Fill {', '.join(columns)} before training and in the domain query, or "
        "export another kind of model."
    )


def _other_column(scorer: Scorer, examples: Examples, differing: dict[str, Mask]) -> str | None:
    """Recognize a wrong `index`, `class` or `from`: another column of the model's outputs fits."""
    tensors = _readable_tensors(scorer, examples)
    lines = []
    for name in differing:
        expected = examples.expected[name]
        fitting = [place for place, values in _columns(tensors) if _fits(expected, values)]
        if not fitting:
            return None
        lines.append(f"outputs.{name}: the examples fit {' or '.join(fitting)}.")
    return "Likely cause: the wrong output of the model.\n" + "\n".join(f"  {line}" for line in lines)


def _readable_tensors(scorer: Scorer, examples: Examples) -> dict[str, Any]:
    """Return the outputs of the model for the examples, except those that prescore cannot read."""
    tensors: dict[str, Any] = {}
    for node in scorer.session.get_outputs():
        if node.type in TENSOR_TYPES:
            with suppress(ModelInvalid):
                tensors |= scorer.tensors(examples.features, [node.name])
    return tensors


def _columns(tensors: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for source, tensor in tensors.items():
        if tensor.ndim == 1:
            yield f'from = "{source}"', tensor
            continue
        for index in range(tensor.shape[1]):
            yield f'from = "{source}", index = {index}', tensor[:, index]


def _fits(expected: Expected, values: Any) -> bool:
    try:
        column = pa.array(np.ascontiguousarray(values)).cast(expected.values.type, safe=False)
    except pa.ArrowException:
        return False
    return not expected.differing(column).any()


def _log_odds(examples: Examples, predictions: pa.RecordBatch, differing: dict[str, Mask]) -> str | None:
    """Recognize log-odds where probabilities are expected, and the reverse."""
    for name in differing:
        expected = examples.expected[name]
        if not pat.is_floating(expected.values.type):
            return None
        predicted = predictions.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
        with np.errstate(all="ignore"):
            probabilities = 1 / (1 + np.exp(-predicted))
            log_odds = np.log(predicted / (1 - predicted))
        if _fits(expected, probabilities):
            return f"Likely cause: the model returns log-odds as {name}, and the examples have probabilities."
        if _fits(expected, log_odds):
            return f"Likely cause: the model returns probabilities as {name}, and the examples have log-odds."
    return None


def _exchange(scorer: Scorer, examples: Examples, rows: Mask) -> str | None:
    """Recognize features in the wrong order: exchange the pair that helps most, until all rows fit or none helps."""
    tried = examples.take(_first(rows, _ROWS_TRIED))
    features = tried.features
    error = _error(scorer, tried, features)
    # Feature → the column that belongs in its place.
    right = {name: name for name in features.schema.names}
    # Every order of the features is at most this many exchanges away.
    for _ in range(features.num_columns):
        best = _best_exchange(scorer, tried, features, error)
        if best is None:
            break
        first, second = best
        right[first], right[second] = right[second], right[first]
        features = _swap(features, best)
        error = _error(scorer, tried, features)
    if error > 0:
        return None
    # What fits the rows that differed must not spoil the others.
    whole = pa.record_batch({name: examples.features.column(column) for name, column in right.items()})
    if _error(scorer, examples, whole) > 0:
        return None
    lines = []
    for source, columns in scorer.signature.inputs.items():
        corrected = [right[column] for column in columns]
        if corrected != list(columns):
            lines.append(f"\n  {source} = {json.dumps(corrected, ensure_ascii=False)}")
    return f"Likely cause: exchanged columns. All rows fit with this order under [onnx.inputs]:{''.join(lines)}"


def _best_exchange(
    scorer: Scorer, examples: Examples, features: pa.RecordBatch, error: float
) -> tuple[str, str] | None:
    """Return the pair of features whose exchange brings the outputs closest, None if no exchange helps."""
    best = None
    for pair in _pairs(features):
        candidate = _error(scorer, examples, _swap(features, pair))
        if candidate < error:
            best, error = pair, candidate
    return best


def _first(mask: Mask, count: int) -> Mask:
    chosen = np.zeros_like(mask)
    chosen[np.flatnonzero(mask)[:count]] = True
    return chosen


def _pairs(features: pa.RecordBatch) -> list[tuple[str, str]]:
    """Return pairs of features of the same type, whose values may have been exchanged."""
    pairs = []
    for first, second in combinations(features.schema, 2):
        if first.type == second.type:
            pairs.append((first.name, second.name))
    return pairs[:_PAIRS_TRIED]


def _swap(features: pa.RecordBatch, pair: tuple[str, str]) -> pa.RecordBatch:
    first, second = pair
    position, other = (features.schema.get_field_index(name) for name in pair)
    swapped = features.set_column(position, first, features.column(second))
    return swapped.set_column(other, second, features.column(first))


def _error(scorer: Scorer, examples: Examples, features: pa.RecordBatch) -> float:
    """Return how far the outputs are off: 0 if all are as expected, infinite if the features cannot be scored."""
    try:
        predictions = scorer.score(features)
    except (DomainInvalid, ModelInvalid):
        return np.inf
    total = 0.0
    for name, expected in examples.expected.items():
        differing = expected.differing(predictions.column(name))
        total += int(differing.sum())
        if pat.is_floating(expected.values.type) and differing.any():
            errors = expected.errors(predictions.column(name))[differing]
            total += float(np.minimum(errors, 1.0).sum())
    return total


def _precision(
    scorer: Scorer, examples: Examples, predictions: pa.RecordBatch, differing: dict[str, Mask]
) -> str | None:
    """Recognize rounding: features that lose digits on their way into the model, or outputs that are barely off."""
    rounded = []
    for name, arrow_type in scorer.features.items():
        given = examples.source.column(name)
        if pat.is_floating(arrow_type) and given.type != arrow_type and pat.is_floating(given.type):
            values = examples.features.column(name).cast(given.type)
            if pa.compute.any(pa.compute.not_equal(values, given)).as_py():
                rounded.append(name)
    any_differs = np.logical_or.reduce(list(differing.values()))
    # Only values close to a threshold change sides, and these are few.
    if rounded and any_differs.mean() <= _SHARE_CLOSE_TO_THRESHOLDS:
        return (
            f"Likely cause: precision loss. The model takes {', '.join(rounded)} with fewer digits than the examples "
            "have, so that values close to a split of a tree fall on its other side. Round the features to the type "
            "of the model's input before training, for example with astype('float32')."
        )
    errors = []
    for name in differing:
        if not pat.is_floating(examples.expected[name].values.type):
            return None
        errors.append(examples.expected[name].errors(predictions.column(name)).max())
    if max(errors) > 0.01:
        return None
    return (
        f"Likely cause: precision loss inside of the model, as the outputs are off by at most {max(errors):.1g} of "
        "their size. If that is good enough, set onnx.examples.tolerance."
    )
