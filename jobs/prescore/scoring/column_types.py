"""The types of columns in Arrow and Postgres, and which of them can become which others without loss."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.types as pat

from prescore.arrow.types import arrow_types
from prescore.errors import DomainInvalid

ARROW = arrow_types({"uuid": pa.binary(16)})
"""Postgres type name → the Arrow type of its values. A uuid is its 16 bytes."""

# The first of two Postgres types with the same Arrow type wins: real[], and not vector.
_NAMES = {arrow: postgres for postgres, arrow in reversed(ARROW.items())} | {pa.float16(): "float16"}

# Every integer up to this magnitude has a float of its own (IEEE 754: 11, 24 and 53 bits of significand).
LARGEST_EXACT_INTEGER = {pa.float16(): 2**11, pa.float32(): 2**24, pa.float64(): 2**53}


def type_name(arrow_type: pa.DataType) -> str:
    """Return the Postgres name of an Arrow type, as specs use it, or Arrow's own name where there is none."""
    if _is_text(arrow_type):
        return "text"
    if pat.is_decimal(arrow_type):
        return f"numeric({arrow_type.precision}, {arrow_type.scale})"
    return _NAMES.get(arrow_type, str(arrow_type))


def check_type(
    name: str,
    source: pa.DataType,
    target: pa.DataType,
    *,
    allow_precision_loss: bool = False,
    is_stored: bool = False,
) -> None:
    """Raise DomainInvalid unless a column of type `source` can become `target`, judged by the types alone.

    `is_stored` says that the column is one of the table, and not only a feature of the model.
    """
    if pat.is_dictionary(source):
        source = source.value_type
    if pat.is_list(target) and _is_list(source):
        source, target = source.value_type, target.value_type
    if not _is_convertible(source, target):
        raise DomainInvalid(
            f"Column {name} is {type_name(source)} in the domain, but must be {type_name(target)}. "
            f"{_cast_advice(source, target)}"
        )
    if _loses_digits(source, target) and is_stored:
        raise DomainInvalid(
            f"Column {name} is {type_name(source)} in the domain and {type_name(target)} in the spec, so digits would "
            "be lost. Cast it in the domain query, or use a wider type in the spec."
        )
    if _loses_digits(source, target) and not allow_precision_loss:
        # No database has a type of half precision that a query could cast to.
        advice = "Accept" if pat.is_float16(target) else "Cast it in the domain query, or accept"
        raise DomainInvalid(
            f"Column {name} is {type_name(source)} in the domain and {type_name(target)} in the model, so digits would "
            f"be lost. {advice} the loss with "
            f"onnx.allow_precision_loss = [{name!r}]."
        )


def _cast_advice(source: pa.DataType, target: pa.DataType) -> str:
    if _is_text(source) and _is_number(target):
        return (
            "Make texts that are not numbers NULL in the domain query, then cast it there. A cast alone makes them 0 "
            "in SQLite and MySQL. In CSV with decimal commas, use read_csv(…, decimal_separator = ',')."
        )
    if _is_text(target) and (_is_number(source) or pat.is_boolean(source) or pat.is_temporal(source)):
        return (
            "Cast it in the domain query. In CSV, read it as text with read_csv(…, types = {'name': 'VARCHAR'}): a "
            "cast would make 7 of 007, and true of t."
        )
    return "Cast it in the domain query."


_LISTS = (pat.is_list, pat.is_large_list, pat.is_fixed_size_list)
_TEXTS = (pat.is_string, pat.is_large_string, pat.is_string_view)
_NUMBERS = (pat.is_integer, pat.is_floating, pat.is_decimal)


def _is_list(arrow_type: pa.DataType) -> bool:
    return any(is_kind(arrow_type) for is_kind in _LISTS)


def _is_text(arrow_type: pa.DataType) -> bool:
    return any(is_kind(arrow_type) for is_kind in _TEXTS)


def _is_number(arrow_type: pa.DataType) -> bool:
    return any(is_kind(arrow_type) for is_kind in _NUMBERS)


def is_whole(arrow_type: pa.DataType) -> bool:
    """Return whether a type has integers only, as the sum of a bigint column does, which is a numeric."""
    return bool(pat.is_integer(arrow_type)) or (bool(pat.is_decimal(arrow_type)) and arrow_type.scale <= 0)


def _is_number_or_boolean(arrow_type: pa.DataType) -> bool:
    return _is_number(arrow_type) or bool(pat.is_boolean(arrow_type))


def _is_uuid_like(arrow_type: pa.DataType) -> bool:
    if pat.is_fixed_size_binary(arrow_type):
        return bool(arrow_type.byte_width == 16)
    return _is_text(arrow_type)


# Kind of target type → the source types that it accepts.
_ACCEPTED: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], bool]], ...] = (
    (pat.is_fixed_size_binary, _is_uuid_like),
    (pat.is_string, _is_text),
    (pat.is_floating, _is_number_or_boolean),
    (pat.is_integer, _is_number),
    (pat.is_date, pat.is_date),
)


def _is_convertible(source: pa.DataType, target: pa.DataType) -> bool:
    if pat.is_null(source) or source == target:
        return True
    if pat.is_timestamp(target):
        # A timestamp with a zone is an instant and one without is a clock reading. Neither is guessed from the other.
        if not pat.is_timestamp(source):
            return False
        return (source.tz is None) == (target.tz is None)
    for is_kind, accepts in _ACCEPTED:
        if is_kind(target):
            return bool(accepts(source))
    return False


def _loses_digits(source: pa.DataType, target: pa.DataType) -> bool:
    """Return whether the types alone say that values will be rounded. Whole numbers are judged by their values."""
    if not pat.is_floating(target):
        return False
    if pat.is_decimal(source):
        return not is_whole(source)
    if not pat.is_floating(source):
        return False
    return bool(source.bit_width > target.bit_width)
