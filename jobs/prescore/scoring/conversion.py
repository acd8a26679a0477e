"""Columns between Arrow, ONNX and Postgres: converted exactly, or not at all.

A value that would change on its way (a digit lost, a number wrapped, a text read as a number) is an error here,
unless the caller names the loss.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from prescore.catalog.types import UUID_PATTERN
from prescore.errors import DomainInvalid

ARROW: dict[str, pa.DataType] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "uuid": pa.binary(16),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
"""Postgres type name → the Arrow type that COPY sends for it; a uuid travels as its 16 bytes."""

# The largest magnitude up to which every integer has its own float (IEEE 754: 24 and 53 bits of significand).
_EXACT = {pa.float32(): 2**24, pa.float64(): 2**53}


_NAMES = {arrow: postgres for postgres, arrow in ARROW.items()}


def type_name(kind: pa.DataType) -> str:
    """An Arrow type in the words of a spec, where it has one."""
    return _NAMES.get(kind, str(kind))


def check_type(name: str, have: pa.DataType, want: pa.DataType, *, allow_precision_loss: bool = False) -> None:
    """Whether a column of one type can become another at all, before any value is seen; raises DomainInvalid."""
    have = have.value_type if pa.types.is_dictionary(have) else have
    if not _convertible(have, want):
        raise DomainInvalid(
            f"Column {name} is {type_name(have)} in the domain and must be {type_name(want)}. Cast it in the domain query."
        )
    if _loses(have, want) and not allow_precision_loss:
        raise DomainInvalid(
            f"Column {name} is {type_name(have)} in the domain and {type_name(want)} in the model: digits would be lost. "
            f"Cast it in the domain query, or accept the loss with onnx.allow_precision_loss = [{name!r}]."
        )


def convert(name: str, column: pa.Array, want: pa.DataType, *, allow_precision_loss: bool = False) -> pa.Array:
    """The column as another type with every value unchanged; raises DomainInvalid that shows a value which is not."""
    _refuse_infinite(name, column)
    if column.type == want:
        return column
    check_type(name, column.type, want, allow_precision_loss=allow_precision_loss)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if want == ARROW["uuid"]:
        return _uuids(name, column)
    if pa.types.is_floating(want):
        return _floats(name, column, want, allow_precision_loss=allow_precision_loss)
    try:
        return column.cast(want)
    except pa.ArrowInvalid as error:
        raise DomainInvalid(
            f"Column {name} does not fit {type_name(want)}: {error}. Widen the type in the spec, or mend the query."
        ) from error


def _convertible(have: pa.DataType, want: pa.DataType) -> bool:
    t = pa.types
    number = t.is_integer(have) or t.is_floating(have) or t.is_decimal(have)
    if t.is_null(have) or have == want:
        return True
    if want == ARROW["uuid"]:
        sixteen = t.is_fixed_size_binary(have) and have.byte_width == 16
        return bool(sixteen or t.is_string(have) or t.is_large_string(have))
    if t.is_string(want):
        return bool(t.is_string(have) or t.is_large_string(have) or t.is_string_view(have))
    if t.is_floating(want):
        return number or bool(t.is_boolean(have))
    if t.is_integer(want):
        return bool(number)
    if t.is_date(want):
        return bool(t.is_date(have))
    # A time with a zone is a moment, one without is a reading of a clock: neither is guessed from the other.
    return bool(t.is_timestamp(want) and t.is_timestamp(have) and (have.tz is None) == (want.tz is None))


def _loses(have: pa.DataType, want: pa.DataType) -> bool:
    """Whether the types alone say that values will be rounded; integers are judged by their values."""
    if pa.types.is_decimal(have):
        return bool(pa.types.is_floating(want))
    return bool(pa.types.is_floating(have) and pa.types.is_floating(want) and have.bit_width > want.bit_width)


def _floats(name: str, column: pa.Array, want: pa.DataType, *, allow_precision_loss: bool) -> pa.Array:
    if pa.types.is_integer(column.type) and not allow_precision_loss:
        bounds = pc.min_max(column).as_py()
        worst = max((v for v in bounds.values() if v is not None), key=abs, default=0)
        if abs(worst) > _EXACT[want]:
            raise DomainInvalid(
                f"Column {name} holds {worst}: past {_EXACT[want]} not every integer has a {type_name(want)} of its own, so "
                "the model would see another number. Export the model with wider inputs, or accept it with "
                f"onnx.allow_precision_loss = [{name!r}]."
            )
    try:
        converted = column.cast(want, safe=False)
    except pa.ArrowInvalid as error:
        raise DomainInvalid(f"Column {name} does not fit {type_name(want)}: {error}.") from error
    if allow_precision_loss and pa.types.is_floating(column.type) and _infinities(converted) != _infinities(column):
        raise DomainInvalid(f"Column {name} holds numbers too large for {type_name(want)}: they would become infinite.")
    return converted


def _refuse_infinite(name: str, column: pa.Array) -> None:
    """DuckDB writes infinite times as the largest integers, which elsewhere are dates 292,000 years away."""
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date32(column.type)):
        return
    bounds = pc.min_max(column.view(pa.int32() if pa.types.is_date32(column.type) else pa.int64())).as_py()
    largest = 2 ** (column.type.bit_width - 1) - 1
    if any(value is not None and abs(value) >= largest for value in bounds.values()):
        raise DomainInvalid(
            f"Column {name} holds an infinite time, which has no place in a table. Make it NULL, or a date."
        )


def refuse_nul(name: str, column: pa.Array) -> None:
    """Postgres holds every character but this one; raises DomainInvalid."""
    if pa.types.is_string(column.type) and pc.any(pc.match_substring(column, "\x00")).as_py():
        raise DomainInvalid(f"Column {name} holds a NUL character, which no text in Postgres can. Take it out.")


def _infinities(column: pa.Array) -> int:
    return int(pc.sum(pc.is_inf(column)).as_py() or 0)


def _uuids(name: str, column: pa.Array) -> pa.Array:
    """UUIDs as their 16 bytes, from the 36 characters of RFC 9562 or the 32 without dashes."""
    if pa.types.is_fixed_size_binary(column.type):
        return column.cast(ARROW["uuid"])
    column = column.cast(pa.string())
    wrong = pc.invert(pc.match_substring_regex(column, f"^(?:{UUID_PATTERN})$"))
    if pc.any(wrong).as_py():
        raise DomainInvalid(f"Column {name} holds {column.filter(wrong)[0].as_py()!r}, which is no UUID.")
    texts = pc.replace_substring(column, "-", "")
    packed = bytes.fromhex("".join(pc.fill_null(texts, "0" * 32).to_pylist()))
    filled = pa.FixedSizeBinaryArray.from_buffers(ARROW["uuid"], len(texts), [None, pa.py_buffer(packed)])
    return pc.if_else(texts.is_valid(), filled, pa.scalar(None, ARROW["uuid"])) if texts.null_count else filled
