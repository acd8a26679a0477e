"""The column types that prescore supports, one row for each. All other lists of types derive from this table.

To add a type, add a row here. `tests/test_types.py` then names the maps (Arrow, CSV, pages) that lack it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg.sql import SQL

Category = Literal["integer", "float", "boolean", "text", "uuid", "time", "array"]
Parser = Callable[[Any], Any]

UUID_PATTERN = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{32}"
"""A UUID as in RFC 9562, or the same without dashes."""
_DIGITS = re.compile(r"[+-]?[0-9]+")
_BEYOND_MICROSECONDS = re.compile(r"[.,][0-9]{7}")


@dataclass(frozen=True)
class ColumnType:
    """A Postgres type that a column of predictions may have.

    `parse` converts a key's value, given as text or as a JSON value, to Python. It raises ValueError, TypeError
    or OverflowError for a value that is not of the type, and is None for a type that a key cannot have. `accepts`
    describes the valid values in messages. `bits` is the width of an integer, otherwise 0. `is_output` is true of the
    types that a model's output can have. `long_name` is the name in Postgres' `format_type` where it differs. `size`
    is how many bytes a value takes at least in its row. `element` is the type of an array's elements, otherwise empty.
    """

    name: LiteralString
    category: Category
    parse: Parser | None = None
    accepts: str = ""
    bits: int = 0
    is_output: bool = False
    long_name: str = ""
    size: int = 1
    element: LiteralString = ""

    @property
    def is_array(self) -> bool:
        """Whether a value holds several elements."""
        return bool(self.element)

    @property
    def sql(self) -> SQL:
        """The type name as SQL. It is safe to compose: the names are literals of this module."""
        return SQL(self.name)

    @property
    def array(self) -> SQL:
        """The name of the array type as SQL."""
        return SQL(self.name + "[]")

    @property
    def readable(self) -> SQL:
        """The type as SQL that readers cast a column to: a Postgres array for every array, otherwise the type itself.

        Drivers read a Postgres array as a list, and a type of an extension, such as `vector`, as text.
        """
        return TYPES[self.element].array if self.is_array else self.sql


def _integer(bits: int) -> Parser:
    bound = 2 ** (bits - 1)

    def parse(value: Any) -> int:
        if not _is_whole(value):
            raise ValueError(value)
        number = int(value)
        if not -bound <= number < bound:
            raise ValueError(value)
        return number

    return parse


def _is_whole(value: Any) -> bool:
    # int() also accepts " 7", "1_000" and digits of other scripts, so one key would have many spellings.
    if isinstance(value, str):
        return _DIGITS.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError(value)
    # A lone surrogate, such as an undecodable byte of a command line, raises UnicodeEncodeError here.
    value.encode()
    return value


def _uuid(value: Any) -> UUID:
    # UUID() also accepts dashes anywhere, braces and "urn:uuid:".
    if not isinstance(value, str) or not re.fullmatch(UUID_PATTERN, value):
        raise ValueError(value)
    return UUID(value)


def _date(value: Any) -> date:
    return date.fromisoformat(value)


def _datetime(value: Any) -> datetime:
    # Python would drop the digits beyond microseconds, so the lookup would return another key's prediction.
    if _BEYOND_MICROSECONDS.search(value):
        raise ValueError(value)
    return datetime.fromisoformat(value)


def _with_zone(value: Any) -> datetime:
    parsed = _datetime(value)
    if parsed.tzinfo is None:
        raise ValueError(value)
    # Postgres rejects offsets beyond 16 hours, which Python accepts.
    return parsed.astimezone(UTC)


def _without_zone(value: Any) -> datetime:
    parsed = _datetime(value)
    if parsed.tzinfo is not None:
        raise ValueError(value)
    return parsed


_ROWS = (
    ColumnType("smallint", "integer", _integer(16), "a 16-bit integer", 16, is_output=True, size=2),
    ColumnType("integer", "integer", _integer(32), "a 32-bit integer", 32, is_output=True, size=4),
    ColumnType("bigint", "integer", _integer(64), "a 64-bit integer", 64, is_output=True, size=8),
    ColumnType("real", "float", is_output=True, size=4),
    ColumnType("double precision", "float", is_output=True, size=8),
    ColumnType("boolean", "boolean", is_output=True, size=1),
    ColumnType("text", "text", _text, "text without NUL characters", is_output=True),
    ColumnType("uuid", "uuid", _uuid, "a UUID such as 8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d", size=16),
    ColumnType("date", "time", _date, "a date such as 2013-07-04", size=4),
    ColumnType(
        "timestamp",
        "time",
        _without_zone,
        "a time without a zone such as 2013-07-04T17:30:00",
        long_name="timestamp without time zone",
        size=8,
    ),
    ColumnType(
        "timestamptz",
        "time",
        _with_zone,
        "a time with a zone such as 2013-07-04T17:30:00Z",
        long_name="timestamp with time zone",
        size=8,
    ),
    ColumnType("real[]", "array", is_output=True, element="real"),
    ColumnType("double precision[]", "array", is_output=True, element="double precision"),
    ColumnType("bigint[]", "array", is_output=True, element="bigint"),
    ColumnType("text[]", "array", is_output=True, element="text"),
    # A type of the extension pgvector, which a server may lack.
    ColumnType("vector", "array", is_output=True, element="real"),
)
TYPES: dict[str, ColumnType] = {row.name: row for row in _ROWS}


def _names(rows: Iterable[ColumnType]) -> tuple[str, ...]:
    return tuple(row.name for row in rows)


def _in_categories(*categories: Category) -> tuple[str, ...]:
    return _names(row for row in _ROWS if row.category in categories)


KEY_TYPES = _names(row for row in _ROWS if row.parse is not None)
OUTPUT_TYPES = _names(row for row in _ROWS if row.is_output)
SCALARS = _names(row for row in _ROWS if not row.is_array)
ARRAYS = _in_categories("array")
PASSTHROUGH_TYPES = SCALARS
INTEGERS = _in_categories("integer")
FLOATS = _in_categories("float")
NUMBERS = _in_categories("integer", "float")
TIMES = _in_categories("time")

_SHORT_NAMES = {row.long_name: row.name for row in _ROWS if row.long_name}


def short_name(postgres_name: str) -> str:
    """Return the type name that specs use for a name that Postgres' `format_type` returned."""
    return _SHORT_NAMES.get(postgres_name, postgres_name)
