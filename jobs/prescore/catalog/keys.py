"""Keys as people and programs write them, and as Postgres compares them.

The same parsing serves the command line, query strings and JSON bodies, so that a key means one thing everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

from prescore import errors
from prescore.catalog.catalog import Column

_DIGITS = re.compile(r"[+-]?[0-9]+")
_TOO_FINE = re.compile(r"[.,][0-9]{7}")
UUID_FORM = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{32}"
"""A uuid as RFC 9562 writes it, or without its dashes."""
_INTEGER_BITS = {"smallint": 16, "integer": 32, "bigint": 64}


def _integer(kind: str) -> Callable[[Any], int]:
    bound = 2 ** (_INTEGER_BITS[kind] - 1)

    def parse(value: Any) -> int:
        if not _whole(value):
            raise ValueError(value)
        number = int(value)
        if not -bound <= number < bound:
            raise ValueError(value)
        return number

    return parse


def _whole(value: Any) -> bool:
    # int() takes " 7", "1_000" and other scripts' digits too: one key would have many spellings.
    if isinstance(value, str):
        return _DIGITS.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError(value)
    value.encode()  # a lone surrogate (a command line's undecodable byte) is a ValueError here
    return value


def _uuid(value: Any) -> UUID:
    # UUID() takes dashes anywhere, braces and "urn:uuid:" too.
    if not isinstance(value, str) or not re.fullmatch(UUID_FORM, value):
        raise ValueError(value)
    return UUID(value)


def _moment(value: Any) -> datetime:
    if _TOO_FINE.search(value):  # Python would cut the digits that neither it nor Postgres holds, and find another key
        raise ValueError(value)
    return datetime.fromisoformat(value)


def _zoned(value: Any) -> datetime:
    moment = _moment(value)
    if moment.tzinfo is None:
        raise ValueError(value)
    return moment.astimezone(UTC)  # Postgres knows no zones beyond 16 hours from UTC


def _naive(value: Any) -> datetime:
    moment = _moment(value)
    if moment.tzinfo is not None:
        raise ValueError(value)
    return moment


_PARSERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    **{kind: (_integer(kind), f"a whole number of {bits} bits") for kind, bits in _INTEGER_BITS.items()},
    "text": (_text, "text (with no NUL in it)"),
    "uuid": (_uuid, "a UUID such as 8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d"),
    "date": (lambda value: date.fromisoformat(value), "a date such as 2013-07-04"),
    "timestamp": (_naive, "a time without zone such as 2013-07-04T17:30:00"),
    "timestamptz": (_zoned, "a time with zone such as 2013-07-04T17:30:00Z"),
}
TYPES = tuple(_PARSERS)


def parse(columns: Sequence[Column], key: Mapping[str, Any]) -> dict[str, Any]:
    """A key's values as Python objects, in column order; raises KeyInvalid that names the column and what it takes."""
    if len(key) == len(columns):
        with suppress(KeyError):
            return {column["name"]: _value(column, key[column["name"]]) for column in columns}
    names = [column["name"] for column in columns]
    missing, extra = [n for n in names if n not in key], [k for k in key if k not in names]
    wrong = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has no column {', '.join(extra)}"] * bool(extra)
    raise errors.KeyInvalid(f"The key {' and '.join(wrong)}; it consists of {', '.join(names)}.")


def parse_many(columns: Sequence[Column], asked: Sequence[Any]) -> list[list[Any]]:
    """Keys, each a mapping by column name, as columns of values in key order; raises KeyInvalid with the position.

    They are parsed at once as far as possible, and one by one where that tells what is wrong.
    """
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        if set(map(len, asked)) <= {len(columns)}:
            return [_all(column["type"], list(map(itemgetter(column["name"]), asked))) for column in columns]
    parsed = [_at(i, columns, key) for i, key in enumerate(asked)]
    return [[key[column["name"]] for key in parsed] for column in columns]


def parse_columns(columns: Sequence[Column], values: Sequence[list[Any]]) -> list[list[Any]]:
    """The same for keys that are columns of values already, in key order."""
    with suppress(TypeError, ValueError, OverflowError):
        return [_all(column["type"], given) for column, given in zip(columns, values, strict=True)]
    names = [column["name"] for column in columns]
    return parse_many(columns, [dict(zip(names, key, strict=True)) for key in zip(*values, strict=True)])


def _at(position: int, columns: Sequence[Column], key: Any) -> dict[str, Any]:
    if not isinstance(key, Mapping):
        raise errors.KeyInvalid(f"keys[{position}] is not an object of column names and values.")
    try:
        return parse(columns, key)
    except errors.KeyInvalid as error:
        raise errors.KeyInvalid(f"keys[{position}]: {error}") from error


def _all(kind: str, values: list[Any]) -> list[Any]:
    """A column's values, parsed; any error when one is not of its type."""
    types = set(map(type, values))
    if types == {int} and kind in _INTEGER_BITS:
        bound = 2 ** (_INTEGER_BITS[kind] - 1)
        if -bound <= min(values) and max(values) < bound:
            return values
    if types == {str} and kind == "text" and not any("\x00" in value for value in values):
        return values
    parser, _ = _PARSERS[kind]
    return [parser(value) for value in values]


def _value(column: Column, value: Any) -> Any:
    parser, takes = _PARSERS[column["type"]]
    try:
        return parser(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise errors.KeyInvalid(f"{column['name']} takes {takes}, not {_shown(value)}.") from error


def _shown(value: Any) -> str:
    """Text in quotes; what came as something else, as JSON writes it."""
    if isinstance(value, str):
        return repr(value[:60])
    return json.dumps(value, ensure_ascii=False, default=str)[:60]
