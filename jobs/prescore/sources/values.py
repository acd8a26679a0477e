"""The values that a database's driver returns, which are Python objects: as what they are in Arrow, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.types as pat

from prescore.sources.source import Needed

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6}0*)?)?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?")

_KINDS: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "float",
    Decimal: "numeric",
    str: "text",
    UUID: "uuid",
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
    date: "date",
    list: "list",
}
_ARROW: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "uuid": pa.binary(16),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
"""Kind of value → its Arrow type. That of numerics and lists depends on the values."""


@dataclass(frozen=True)
class Unparsed:
    """A value that a driver could not make a Python object of, as text."""

    text: str

    def __str__(self) -> str:
        """Return the text."""
        return self.text


class Unfit(ValueError):
    """A value does not fit its column. The text completes the sentence "Column x holds <value>, …"."""


def kind(value: Any) -> str | None:
    """Return the kind of a value, None if there is no Arrow type for it."""
    if isinstance(value, datetime):
        return "timestamp" if value.tzinfo is None else "timestamptz"
    return _KINDS.get(type(value))


@dataclass(frozen=True)
class Reader:
    """Reads the values of one column.

    The texts of a column that is `padded` end with spaces that mean nothing. The floats of one that is `single` have 32
    bits.
    """

    needed: Needed
    padded: bool = False
    single: bool = False

    def is_plain(self, classes: set[type]) -> bool:
        """Return whether values of these classes can stay as they are, with one kind for all of them."""
        if len(classes) > 1:
            return False
        for plain in classes:
            if plain is str:
                return not self.padded and not self._has_times()
            if plain in (int, bytes):
                return not self._has(pat.is_boolean)
            return plain in (float, bool, UUID, date, list)
        return True

    def read(self, value: Any) -> Any:
        """Return a value as what it means in its column; raise Unfit for one that has no place there."""
        match value:
            case None:
                return None
            case str():
                return self._read_text(value.rstrip(" ") if self.padded else value)
            case Decimal():
                return self._read_decimal(value)
            case bool():
                return value
            case int() if self._has(pat.is_boolean):
                return _boolean(value)
            case bytes() if self._has(pat.is_boolean):
                return _boolean(int.from_bytes(value, "big"))
            case Unparsed():
                raise Unfit("which prescore cannot read")
        if kind(value) is None:
            raise Unfit(f"of the type {type(value).__name__}, which prescore does not read")
        return value

    def array(self, values: list[Any], value_kind: str | None) -> pa.Array:
        """Return values that are all of one kind as Arrow; `value_kind` is None if all of them are null.

        Raises an exception of pyarrow or Python if Arrow cannot hold them in one column.
        """
        match value_kind:
            case None:
                return pa.nulls(len(values), self.needed.type or pa.null())
            case "uuid":
                return pa.array([None if value is None else value.bytes for value in values], pa.binary(16))
            case "float" if self.single:
                return pa.array(values, pa.float32())
            case "list":
                return pa.array(values, pa.list_(pa.float32()) if self.single else None)
            case "numeric":
                return pa.array(values)
            case "integer":
                return _integers(values)
        return pa.array(values, _ARROW[value_kind])

    def _has(self, is_kind: Callable[[pa.DataType], bool]) -> bool:
        return self.needed.type is not None and bool(is_kind(self.needed.type))

    def _has_times(self) -> bool:
        return self.needed.type is None or self._has(pat.is_temporal)

    def _read_text(self, text: str) -> Any:
        """Return text; in a column of dates or times, the one that it spells: SQLite has no other way to hold them."""
        target = self.needed.type
        if target is None:
            return _date(text) if _DATE.fullmatch(text) else _time(text, has_zone=None)
        if pat.is_date(target):
            return _date(text)
        if pat.is_timestamp(target):
            return _time(text, has_zone=target.tz is not None)
        return text

    def _read_decimal(self, value: Decimal) -> Any:
        if not value.is_finite():
            return float(value)
        if self._has(pat.is_boolean):
            return _boolean(value)
        if self.needed.may_round and self._has(pat.is_floating):
            return _rounded(value)
        return value


def _boolean(value: int | Decimal) -> bool:
    # Databases without booleans write 0 and 1 for them.
    if value not in (0, 1):
        raise Unfit("which is neither 0 nor 1")
    return bool(value)


def _date(text: str) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise Unfit("which is not a date such as 2013-07-04")


def _time(text: str, *, has_zone: bool | None) -> datetime:
    """Return the time in a text, which must have a zone, must not, or may; raise Unfit otherwise."""
    match = _TIME.fullmatch(text)
    try:
        if match and has_zone in (None, match["zone"] is not None):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    if has_zone is None:
        raise Unfit("which is neither a date nor a time such as 2013-07-04T17:30:00")
    example = "with a zone such as 2013-07-04T17:30:00Z" if has_zone else "without a zone such as 2013-07-04T17:30:00"
    raise Unfit(f"which is not a time {example}, with six digits behind the seconds at most")


def _rounded(value: Decimal) -> float:
    number = float(value)
    if number in (float("inf"), float("-inf")):
        raise Unfit("which is too large for a float")
    return number


def _integers(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.int64())
    except OverflowError:
        return pa.array([None if value is None else Decimal(value) for value in values])
