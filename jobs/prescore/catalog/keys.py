"""Keys as people and programs write them, and as Postgres compares them.

The same parsing serves the command line, query strings and JSON bodies, so that a key means one thing everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

from prescore import errors
from prescore.catalog.catalog import Column
from prescore.catalog.types import TYPES, Parser


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


def _parser(kind: str) -> Parser:
    parser = TYPES[kind].parse
    if parser is None:
        raise AssertionError(f"no key has the type {kind}")
    return parser


def _all(kind: str, values: list[Any]) -> list[Any]:
    """Return a column's values, parsed; raise whatever the parser raises for one that is not of its type."""
    column_type = TYPES[kind]
    found = set(map(type, values))
    if found == {int} and column_type.bits:
        bound = 2 ** (column_type.bits - 1)
        if -bound <= min(values) and max(values) < bound:
            return values
    if found == {str} and kind == "text" and not any("\x00" in value for value in values):
        return values
    parser = _parser(kind)
    return [parser(value) for value in values]


def _value(column: Column, value: Any) -> Any:
    column_type = TYPES[column["type"]]
    try:
        return _parser(column["type"])(value)
    except (ValueError, TypeError, OverflowError) as error:
        message = f"{column['name']} takes {column_type.accepts}, not {_shown(value)}."
        raise errors.KeyInvalid(message) from error


def _shown(value: Any) -> str:
    """Text in quotes; what came as something else, as JSON writes it."""
    if isinstance(value, str):
        return repr(value[:60])
    return json.dumps(value, ensure_ascii=False, default=str)[:60]
