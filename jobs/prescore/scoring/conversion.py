"""Convert columns between Arrow, ONNX and Postgres: exactly, or not at all.

A value that would change on its way (a digit lost, a number wrapped, a text read as a number) is an error, unless the
caller accepts the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.arrow.types import arrow_types
from prescore.catalog.types import UUID_PATTERN
from prescore.errors import DomainInvalid

ARROW = arrow_types({"uuid": pa.binary(16)})
"""Postgres type name → the Arrow type of its values. A uuid is its 16 bytes."""

# The first of two Postgres types with the same Arrow type wins: real[], and not vector.
_NAMES = {arrow: postgres for postgres, arrow in reversed(ARROW.items())} | {pa.float16(): "float16"}

# Every integer up to this magnitude has a float of its own (IEEE 754: 11, 24 and 53 bits of significand).
LARGEST_EXACT_INTEGER = {pa.float16(): 2**11, pa.float32(): 2**24, pa.float64(): 2**53}

# The years 1 to 9999 from 1970 on. Timestamps in nanoseconds hold no others.
_FIRST_TIME = datetime.min - datetime(1970, 1, 1)  # noqa: DTZ001, DTZ901 - a difference
_END_OF_TIME = datetime.max - datetime(1970, 1, 1) + timedelta(microseconds=1)  # noqa: DTZ001, DTZ901 - a difference
_UNITS = {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1), "us": timedelta(microseconds=1)}

_NIL_UUID = "0" * 32
_WHOLE_UUID = f"^(?:{UUID_PATTERN})$"


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


def convert(
    name: str,
    column: pa.Array,
    target: pa.DataType,
    *,
    allow_precision_loss: bool = False,
    is_stored: bool = False,
) -> pa.Array:
    """Return a column as type `target` with every value unchanged.

    Raises DomainInvalid, showing a value that would change. `allow_precision_loss` lets numbers be rounded, and
    `is_stored` says that the column is one of the table.
    """
    _refuse_far_times(name, column)
    if column.type == target:
        return column
    check_type(name, column.type, target, allow_precision_loss=allow_precision_loss, is_stored=is_stored)
    if pat.is_dictionary(column.type):
        column = column.dictionary_decode()
    if target == ARROW["uuid"]:
        return _to_uuids(name, column)
    if pat.is_list(target):
        return _to_lists(name, column, target, allow_precision_loss=allow_precision_loss, is_stored=is_stored)
    if pat.is_floating(target):
        return _to_floats(
            name,
            column,
            target,
            allow_precision_loss=allow_precision_loss,
            is_stored=is_stored,
        )
    if pat.is_integer(target) and pat.is_floating(column.type):
        _refuse_ambiguous_floats(name, column)
    try:
        return column.cast(target)
    except pa.ArrowInvalid as error:
        raise DomainInvalid(
            f"Column {name} does not fit {type_name(target)}: {error}. "
            "Use a wider type in the spec, or fix the values in the domain query."
        ) from error


def has_nul(column: pa.Array) -> bool:
    """Return whether a column has a text with a NUL, the one character that Postgres cannot store."""
    if pat.is_list(column.type):
        column = column.flatten()
    if not pat.is_string(column.type):
        return False
    return bool(pc.any(pc.match_substring(column, "\x00")).as_py())


def refuse_nul(name: str, column: pa.Array) -> None:
    """Raise DomainInvalid for a text with a NUL."""
    if has_nul(column):
        raise DomainInvalid(
            f"Column {name} holds a NUL character (U+0000), which Postgres cannot store in text. "
            "Remove it in the domain query."
        )


_LISTS = (pat.is_list, pat.is_large_list, pat.is_fixed_size_list)
_TEXTS = (pat.is_string, pat.is_large_string, pat.is_string_view)
_NUMBERS = (pat.is_integer, pat.is_floating, pat.is_decimal)


def _is_list(arrow_type: pa.DataType) -> bool:
    return any(is_kind(arrow_type) for is_kind in _LISTS)


def _is_text(arrow_type: pa.DataType) -> bool:
    return any(is_kind(arrow_type) for is_kind in _TEXTS)


def _is_number(arrow_type: pa.DataType) -> bool:
    return any(is_kind(arrow_type) for is_kind in _NUMBERS)


def _is_whole(arrow_type: pa.DataType) -> bool:
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
        return not _is_whole(source)
    if not pat.is_floating(source):
        return False
    return bool(source.bit_width > target.bit_width)


def _to_lists(
    name: str,
    column: pa.Array,
    target: pa.DataType,
    *,
    allow_precision_loss: bool,
    is_stored: bool,
) -> pa.Array:
    """Return lists of any kind with their elements converted."""
    if pat.is_null(column.type):
        return column.cast(target)
    elements = convert(
        name,
        column.flatten(),
        target.value_type,
        allow_precision_loss=allow_precision_loss,
        is_stored=is_stored,
    )
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    return pa.ListArray.from_arrays(offsets, elements, mask=column.is_null())


def _to_floats(
    name: str,
    column: pa.Array,
    target: pa.DataType,
    *,
    allow_precision_loss: bool,
    is_stored: bool,
) -> pa.Array:
    if _is_whole(column.type) and not allow_precision_loss:
        _refuse_inexact_integers(name, column, target, is_stored=is_stored)
    try:
        # Arrow has no cast to half precision from every type.
        numbers = column.cast(pa.float32(), safe=False) if pat.is_float16(target) else column
        converted = numbers.cast(target, safe=False)
    except pa.ArrowInvalid as error:
        raise DomainInvalid(f"Column {name} does not fit {type_name(target)}: {error}.") from error
    may_overflow = allow_precision_loss and pat.is_floating(column.type)
    if may_overflow and _count_infinities(converted) != _count_infinities(column):
        raise DomainInvalid(
            f"Column {name} holds numbers too large for {type_name(target)}: they would become infinite. "
            "Use a wider type, or limit the values."
        )
    return converted


def _refuse_inexact_integers(
    name: str,
    column: pa.Array,
    target: pa.DataType,
    *,
    is_stored: bool,
) -> None:
    bounds = pc.min_max(column).as_py()
    if bounds["max"] is None:
        return
    largest = max(bounds["min"], bounds["max"], key=abs)
    limit = LARGEST_EXACT_INTEGER[target]
    if abs(largest) > limit:
        fault = f"Column {name} holds {largest}, but {type_name(target)} holds every integer only up to {limit}"
        if is_stored:
            raise DomainInvalid(f"{fault}: the table would have a different number. Use bigint in the spec.")
        raise DomainInvalid(
            f"{fault}: the model would see a different number. Export the model with wider inputs, or accept the loss "
            f"with onnx.allow_precision_loss = [{name!r}]."
        )


def _refuse_ambiguous_floats(name: str, column: pa.Array) -> None:
    """Raise DomainInvalid for a float that may have been another integer before it was rounded to a float."""
    bounds = pc.min_max(column).as_py()
    limit = LARGEST_EXACT_INTEGER[column.type]
    for bound in (bounds["min"], bounds["max"]):
        # A NaN is an error of the conversion itself.
        if bound is not None and abs(bound) >= limit:
            raise DomainInvalid(
                f"Column {name} holds {bound:.17g} as {type_name(column.type)}, which has no value for every integer "
                f"from {limit} on: another number may have been meant. Have the source write it as an integer. pandas "
                "makes floats of integers when one of them is missing; its type Int64 does not."
            )


def _count_infinities(column: pa.Array) -> int:
    is_infinite = pc.is_inf(column)
    count = pc.sum(is_infinite).as_py()
    return int(count or 0)


def _refuse_far_times(name: str, column: pa.Array) -> None:
    """Raise DomainInvalid for a date or timestamp that is infinite or outside of the years 1 to 9999.

    Neither Python nor ISO 8601 have any other, so that no lookup could ask for it. DuckDB writes infinities as the
    largest integers.
    """
    if pat.is_date32(column.type):
        integers, unit = column.view(pa.int32()), timedelta(days=1)
    elif pat.is_timestamp(column.type) and column.type.unit in _UNITS:
        integers, unit = column.view(pa.int64()), _UNITS[column.type.unit]
    else:
        return
    bounds = pc.min_max(integers).as_py()
    if bounds["max"] is None:
        return
    if bounds["min"] < _FIRST_TIME // unit or bounds["max"] >= _END_OF_TIME // unit:
        raise DomainInvalid(
            f"Column {name} holds a date or timestamp that is infinite or outside of the years 1 to 9999, which no "
            "lookup can have. Replace it with NULL or a date within them in the domain query."
        )


def _refuse_invalid_uuids(name: str, texts: pa.Array) -> None:
    valid = pc.match_substring_regex(texts, _WHOLE_UUID)
    invalid = pc.invert(valid)
    if pc.any(invalid).as_py():
        example = texts.filter(invalid)[0].as_py()
        raise DomainInvalid(
            f"Column {name} holds {example!r}, which is not a valid UUID. Use, for example, "
            "8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d."
        )


def _to_uuids(name: str, column: pa.Array) -> pa.Array:
    """Return UUIDs as their 16 bytes, from the 36 characters of RFC 9562 or the 32 without dashes."""
    uuid_type = ARROW["uuid"]
    if pat.is_fixed_size_binary(column.type):
        return column.cast(uuid_type)
    texts = column.cast(pa.string())
    _refuse_invalid_uuids(name, texts)
    without_dashes = pc.replace_substring(texts, "-", "")
    digits = pc.fill_null(without_dashes, _NIL_UUID)
    joined = "".join(digits.to_pylist())
    content = bytes.fromhex(joined)
    buffers = [None, pa.py_buffer(content)]
    uuids = pa.FixedSizeBinaryArray.from_buffers(uuid_type, len(texts), buffers)
    if texts.null_count == 0:
        return uuids
    null = pa.scalar(None, uuid_type)
    return pc.if_else(texts.is_valid(), uuids, null)
