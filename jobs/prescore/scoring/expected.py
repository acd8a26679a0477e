"""What an output must be for each example, and how far predictions are from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.scoring import arrays
from prescore.scoring.arrays import Mask

Floats = np.ndarray[Any, np.dtype[np.float64]]

_SMALLEST = float(np.finfo(np.float32).tiny)
_ROUNDING = 4 * float(np.finfo(np.float32).eps)
_HALF_ROUNDING = float(np.finfo(np.float16).eps)
_SMALL = 0.1


@dataclass(frozen=True)
class Expected:
    """What an output must be for each example: `values` in the output's Arrow type; `tolerance` 0 means exactly.

    `is_half` says that the model returns floats of 16 bits.
    """

    values: pa.Array
    tolerance: float
    is_half: bool = False

    @property
    def is_float(self) -> bool:
        """Whether the values are floats, or arrays of them."""
        kind = self.values.type
        return bool(pat.is_floating(kind.value_type if pat.is_list(kind) else kind))

    def take(self, chosen: pa.Array) -> Expected:
        """Return the rows where the booleans of `chosen` are true."""
        return replace(self, values=self.values.filter(chosen))

    def differing(self, predictions: pa.Array) -> Mask:
        """Return which predictions are not as expected."""
        return self.errors(predictions) > self.tolerance

    def errors(self, predictions: pa.Array) -> Floats:
        """Return how far predictions are off; of an array it is the error of its worst element.

        The errors of floats are fractions of the expected value, and of anything else 1 or 0. They are infinite where
        a float of the two is missing, or an array has another length.
        """
        if pat.is_list(self.values.type):
            return arrays.largest_errors(self.values, predictions, self._errors_of_elements)
        if pat.is_floating(self.values.type):
            return self._errors_of_floats(predictions)
        unequal = pc.not_equal(predictions, self.values).fill_null(True)
        return to_floats(unequal)

    def _errors_of_elements(self, values: pa.Array, predictions: pa.Array) -> Floats:
        return replace(self, values=values).errors(predictions)

    def _errors_of_floats(self, predictions: pa.Array) -> Floats:
        """Return how far float predictions are off: fractions of the expected value.

        Of a value that is smaller than nine tenths of the others, they are fractions of the size of the tenth.
        The rounding of the model's floats does not count: a few units in the last place of a value that is larger than
        nine tenths of the others. By the largest, one damaged example would hide the differences of all others.
        """
        expected = to_floats(self.values)
        predicted = to_floats(predictions)
        magnitudes = np.abs(expected)
        sizes = magnitudes[np.isfinite(magnitudes) & (magnitudes > 0)]
        # A few large values must not raise the tolerance of all others.
        small, large = np.quantile(sizes, [_SMALL, 1 - _SMALL]) if sizes.size else (0.0, 0.0)
        rounding = (_HALF_ROUNDING if self.is_half else _ROUNDING) * large
        with np.errstate(invalid="ignore"):
            differences = np.maximum(np.abs(predicted - expected) - rounding, 0.0)
            errors: Floats = differences / np.maximum(magnitudes, max(small, _SMALLEST))
        both_missing = np.isnan(predicted) & np.isnan(expected)
        errors[both_missing | (predicted == expected)] = 0.0
        errors[np.isnan(errors)] = np.inf
        return errors


def to_floats(values: pa.Array) -> Floats:
    """Return numbers as 64-bit floats, with NaN for nulls."""
    array = values.to_numpy(zero_copy_only=False)
    floats: Floats = array.astype(np.float64)
    return floats


def is_missing(column: pa.Array | pa.ChunkedArray) -> Mask:
    """Return which values are null or NaN."""
    # For the few rows of a request, NumPy takes a fraction of the time of a call of Arrow's.
    if isinstance(column, pa.Array) and pat.is_floating(column.type) and not column.null_count:
        is_nan: Mask = np.isnan(column.to_numpy())
        return is_nan
    missing = pc.is_null(column, nan_is_null=True)
    mask: Mask = np.asarray(missing)
    return mask
