"""Features as programs send them, row by row: values of Python or JSON, converted to what the model takes.

JSON has one kind of number, and few fractions are exact in 32 bits: 0.1 and 1/3 become the nearest number, as a cast in
the domain query makes them. Anything else is converted exactly or rejected, as in the domain. A whole number that the
feature cannot hold exactly may be an identifier, so it is rejected, too, unless the signature allows its loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from prescore.scoring.column_types import LARGEST_EXACT_INTEGER

MISSING: Any = ...
"""Stands for the value of a feature that a row does not have."""

_ABSENT = "is missing"
_NULL = "is null or NaN, which the model does not take"
_QUOTED_CHARACTERS = 40


def convert(values: Sequence[Any], target: pa.DataType, *, nullable: bool, may_round: bool) -> pa.Array | None:
    """Return the values of a feature as an Arrow array, or None if one of them cannot be converted.

    Whole columns are converted at once, several times faster than value by value.
    """
    kinds = set(map(type, values))
    if nullable:
        kinds.discard(type(None))
    if pat.is_floating(target):
        return _floats(values, kinds, target, nullable=nullable, may_round=may_round)
    expected = {bool} if pat.is_boolean(target) else {str} if pat.is_string(target) else {int}
    if not kinds <= expected:
        return None
    try:
        return pa.array(values, target)
    # A number beyond the type, or a text that is not UTF-8.
    except (pa.ArrowException, OverflowError, ValueError):
        return None


def _floats(
    values: Sequence[Any], kinds: set[type], target: pa.DataType, *, nullable: bool, may_round: bool
) -> pa.Array | None:
    if not kinds <= {float, int} or (int in kinds and not _are_exact(values, target, may_round=may_round)):
        return None
    try:
        doubles = np.array(values, np.float64)
    except OverflowError:
        return None
    dtype = target.to_pandas_dtype()
    with np.errstate(over="ignore"):
        numbers = doubles.astype(dtype)
    missing = np.isnan(doubles)
    if missing.any() and not nullable:
        return None
    if (np.isinf(numbers) != np.isinf(doubles)).any():
        return None
    return pa.array(numbers, target)


def _are_exact(values: Sequence[Any], target: pa.DataType, *, may_round: bool) -> bool:
    """Return whether a float holds each of the integers among some values exactly, or may round it."""
    limit = math.inf if may_round else LARGEST_EXACT_INTEGER[target]
    return all(type(value) is not int or -limit <= value <= limit for value in values)


def convert_value(value: Any, target: pa.DataType, *, nullable: bool, may_round: bool) -> Any:
    """Return a single value as Arrow takes it; raise ValueError with what is wrong with it."""
    if value is MISSING:
        raise ValueError(_ABSENT)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:
        if nullable:
            return None
        raise ValueError(_NULL)
    if isinstance(value, bool) and not pat.is_boolean(target) and pat.is_floating(target):
        value = int(value)
    if isinstance(value, float) and pat.is_integer(target):
        value = _whole(value, target)
    convert_type = _converter(target)
    return convert_type(value, target, may_round)


def _converter(target: pa.DataType) -> Callable[[Any, pa.DataType, bool], Any]:
    if pat.is_floating(target):
        return _float_value
    if pat.is_integer(target):
        return _integer_value
    return _boolean_value if pat.is_boolean(target) else _text_value


def _whole(value: float, target: pa.DataType) -> int:
    """Return the integer that a float stands for, as clients in some languages send floats alone."""
    if not value.is_integer():
        raise ValueError(f"must be a whole number ({target}), not {value!r}")
    if abs(value) >= LARGEST_EXACT_INTEGER[pa.float64()]:
        raise ValueError(f"is {value!r}, a float that may stand for several whole numbers; send it as an integer")
    return int(value)


def _float_value(value: Any, target: pa.DataType, may_round: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong("a number", target, value)
    number = _rounded(value, target)
    if math.isinf(number) and not (isinstance(value, float) and math.isinf(value)):
        raise ValueError(f"is {_quoted(value)}, which is too large for {name(target)}")
    if isinstance(value, int) and abs(value) > LARGEST_EXACT_INTEGER[target] and not may_round:
        limit = f"{LARGEST_EXACT_INTEGER[target]:,}"
        raise ValueError(
            f"is {value!r}, and {name(target)} holds whole numbers exactly up to {limit}. Send "
            "a float to have it rounded, or let the spec name the feature in onnx.allow_precision_loss"
        )
    return float(number)


def _rounded(value: float, target: pa.DataType) -> Any:
    """Return a number as a float of NumPy, infinite if it is too large."""
    dtype = target.to_pandas_dtype()
    try:
        with np.errstate(over="ignore"):
            return dtype(value)
    except OverflowError:
        return dtype(math.inf)


def _integer_value(value: Any, target: pa.DataType, may_round: bool) -> int:  # noqa: ARG001 # nothing is rounded
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong("a whole number", target, value)
    bounds = np.iinfo(target.to_pandas_dtype())
    if not bounds.min <= value <= bounds.max:
        raise ValueError(f"is {_quoted(value)}, which does not fit {name(target)}")
    return value


def _boolean_value(value: Any, target: pa.DataType, may_round: bool) -> bool:  # noqa: ARG001
    if not isinstance(value, bool):
        raise _wrong("true or false", target, value)
    return value


def _text_value(value: Any, target: pa.DataType, may_round: bool) -> str:  # noqa: ARG001
    if not isinstance(value, str):
        raise _wrong("a text", target, value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("is a text that is not valid Unicode") from error
    return value


def _wrong(expected: str, target: pa.DataType, value: Any) -> ValueError:
    return ValueError(f"must be {expected} ({name(target)}), not {_quoted(value)}")


def _quoted(value: Any) -> str:
    return repr(value)[:_QUOTED_CHARACTERS]


def name(target: pa.DataType) -> str:
    """Return the dtype of a feature as a signature has it."""
    return "string" if pat.is_string(target) else str(np.dtype(target.to_pandas_dtype()))
