"""Convert what a model returns to the types of output columns: exactly, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.catalog.types import INTEGERS, TYPES
from prescore.errors import DomainInvalid, ModelFailed, ModelInvalid
from prescore.scoring import column_types, conversion
from prescore.scoring.column_types import ARROW

Values = np.ndarray[Any, Any]


def convert(output: str, type_name: str, values: Values) -> pa.Array:
    """Return predictions as the type of their output column, or as that of its elements if it holds arrays.

    A spec that stores doubles as real accepts the rounding; integers are never rounded. Raises ModelFailed for a
    prediction that does not fit, ModelInvalid for a fraction in a column of integers.
    """
    predictions = pa.array(np.ascontiguousarray(values), from_pandas=False)
    target = ARROW[TYPES[type_name].element or type_name]
    if pat.is_boolean(target) and pat.is_integer(predictions.type):
        return _to_booleans(output, values)
    _refuse_fractions(output, type_name, values)
    may_round = pat.is_floating(predictions.type)
    try:
        if may_round and pat.is_integer(target):
            # A whole number that a model returns as a float is that number, however large.
            column = predictions.cast(target)
        else:
            column = conversion.convert(output, predictions, target, allow_precision_loss=may_round)
    except (DomainInvalid, pa.ArrowInvalid) as error:
        raise _misfit(output, predictions.type, target, error) from error
    if conversion.has_nul(column):
        raise ModelFailed(
            f"Output {output}: the model returned a text with a NUL character (U+0000), which Postgres cannot store. "
            "Fix the labels of the model."
        )
    return column


def _misfit(output: str, predicted: pa.DataType, target: pa.DataType, error: Exception) -> ModelFailed:
    """Return the error for a prediction that cannot be converted, without advice on the domain query."""
    cause = error.__cause__ or error
    if isinstance(cause, pa.ArrowInvalid):
        return ModelFailed(f"Output {output}: {cause}. Give the output a wider type in the spec, or fix the model.")
    if pat.is_integer(predicted) and pat.is_floating(target):
        name = column_types.type_name(target)
        return ModelFailed(
            f"Output {output}: the model returned an integer that {name} cannot hold exactly. "
            "Give the output the type bigint in the spec."
        )
    return ModelFailed(str(error).replace(f"Column {output}", f"Output {output}", 1))


def _refuse_fractions(output: str, type_name: str, values: Values) -> None:
    """Raise ModelInvalid for a prediction with a fraction, if its output column holds integers, or arrays of them."""
    element = TYPES[type_name].element
    if (element or type_name) not in INTEGERS or values.dtype.kind != "f":
        return
    fractions = values[np.isfinite(values) & (values != np.trunc(values))]
    if fractions.size:
        raise ModelInvalid(
            f"Output {output}: the model returned {fractions[0]}, but the spec stores whole numbers ({type_name}). "
            f"Give the output a float type in the spec, such as {'real[]' if element else 'real'}."
        )


def _to_booleans(output: str, labels: Values) -> pa.Array:
    """Return the labels 0 and 1 as false and true; raise ModelFailed for any other label."""
    invalid = labels[(labels != 0) & (labels != 1)]
    if invalid.size:
        raise ModelFailed(
            f"Output {output}: the model returned the label {invalid[0]}, which is neither 0 nor 1 and so not a "
            "boolean. Give the output an integer type in the spec."
        )
    return pa.array(labels.astype(bool))


def to_lists(batch: pa.RecordBatch) -> dict[str, list[Any]]:
    """Return predictions as values of Python, by output.

    A real is the double with the shortest text that reads as it, as Postgres writes it: 0.1, not 0.10000000149011612.
    """
    return {name: _widened(column).to_pylist() for name, column in zip(batch.schema.names, batch.columns, strict=True)}


def _widened(column: pa.Array) -> pa.Array:
    if pat.is_list(column.type):
        elements = _widened(column.flatten())
        lengths = pc.list_value_length(column).fill_null(0).to_numpy()
        offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
        return pa.ListArray.from_arrays(offsets, elements, mask=column.is_null())
    if column.type != pa.float32():
        return column
    return column.cast(pa.string()).cast(pa.float64())
