"""Convert the values of columns between Arrow, ONNX and Postgres: exactly, or not at all.

A value that would change on its way (a digit lost, a number wrapped, a text read as a number) is an error, unless the
caller accepts the loss.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.catalog.types import UUID_PATTERN
from prescore.errors import DomainInvalid
from prescore.scoring.column_types import ARROW, LARGEST_EXACT_INTEGER, check_type, is_whole, type_name

# The years 1 to 9999 from 1970 on. Timestamps in nanoseconds hold no others.
_FIRST_TIME = datetime.min - datetime(1970, 1, 1)  # noqa: DTZ001, DTZ901 - a difference
_END_OF_TIME = datetime.max - datetime(1970, 1, 1) + timedelta(microseconds=1)  # noqa: DTZ001, DTZ901 - a difference
_UNITS = {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1), "us": timedelta(microseconds=1)}

_NIL_UUID = "0" * 32
_WHOLE_UUID = f"^(?:{UUID_PATTERN})$"


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
    if is_whole(column.type) and not allow_precision_loss:
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
