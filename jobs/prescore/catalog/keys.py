"""Parsing of keys, from text or JSON values to the Python objects that Postgres compares.

The command line, query strings and JSON bodies share this parsing, so a key means the same everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

from prescore import errors, wording
from prescore.catalog.catalog import Column
from prescore.catalog.types import TYPES, Parser


def parse(columns: Sequence[Column], key: Mapping[str, Any]) -> dict[str, Any]:
    """Return a key's values as Python objects, in column order; raise KeyInvalid that names the column at fault."""
    if len(key) == len(columns):
        with suppress(KeyError):
            return {column["name"]: _parse_value(column, key[column["name"]]) for column in columns}
    raise _wrong_columns(columns, key)


def parse_many(columns: Sequence[Column], keys: Sequence[Any]) -> list[list[Any]]:
    """Parse keys, each a mapping by column name; return one list of values for each key column, in key order.

    Raises KeyInvalid with the position of the first invalid key.
    """
    # The fast path parses whole columns. When it fails, the slow path finds the key at fault.
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        if set(map(len, keys)) <= {len(columns)}:
            return [_parse_all(column["type"], list(map(itemgetter(column["name"]), keys))) for column in columns]
    parsed = [_parse_at(position, columns, key) for position, key in enumerate(keys)]
    return [[key[column["name"]] for key in parsed] for column in columns]


def parse_columns(columns: Sequence[Column], values: Sequence[list[Any]]) -> list[list[Any]]:
    """Parse keys that are given as one list of values for each key column, in key order; otherwise as `parse_many`."""
    try:
        return [_parse_all(column["type"], texts) for column, texts in zip(columns, values, strict=True)]
    except (TypeError, ValueError, OverflowError):
        names = [column["name"] for column in columns]
        keys = [dict(zip(names, key, strict=True)) for key in zip(*values, strict=True)]
    return parse_many(columns, keys)


def _wrong_columns(columns: Sequence[Column], key: Mapping[str, Any]) -> errors.KeyInvalid:
    names = [column["name"] for column in columns]
    missing = [name for name in names if name not in key]
    unknown = [name for name in key if name not in names]
    faults = []
    if missing:
        faults.append(f"lacks {', '.join(missing)}")
    if unknown:
        faults.append(f"has no column {wording.names(unknown)}")
    subject = "key column is" if len(names) == 1 else "key columns are"
    return errors.KeyInvalid(f"The key {' and '.join(faults)}; the {subject} {', '.join(names)}.")


def _parse_at(position: int, columns: Sequence[Column], key: Any) -> dict[str, Any]:
    if not isinstance(key, Mapping):
        raise errors.KeyInvalid(f"keys[{position}] is not an object of column names and values.")
    try:
        return parse(columns, key)
    except errors.KeyInvalid as error:
        raise errors.KeyInvalid(f"keys[{position}]: {error}") from error


def _parser(type_name: str) -> Parser:
    parser = TYPES[type_name].parse
    if parser is None:
        raise AssertionError(f"a key cannot have the type {type_name}")
    return parser


def _parse_all(type_name: str, values: list[Any]) -> list[Any]:
    """Return the parsed values of one column; raise what the parser raises for an invalid value."""
    column_type = TYPES[type_name]
    value_types = set(map(type, values))
    # Integers and text from JSON need no conversion, so checking all of them at once is enough.
    if value_types == {int} and column_type.bits:
        bound = 2 ** (column_type.bits - 1)
        if -bound <= min(values) and max(values) < bound:
            return values
    if value_types == {str} and column_type.category == "text" and not any("\x00" in value for value in values):
        return values
    parser = _parser(type_name)
    return [parser(value) for value in values]


def _parse_value(column: Column, value: Any) -> Any:
    parser = _parser(column["type"])
    try:
        return parser(value)
    except (ValueError, TypeError, OverflowError) as error:
        accepts = TYPES[column["type"]].accepts
        raise errors.KeyInvalid(f"{column['name']} must be {accepts}, not {_display(value)}.") from error


def _display(value: Any) -> str:
    """Return text in quotes, and any other value as JSON, both shortened."""
    if isinstance(value, str):
        return repr(value[:60])
    return json.dumps(value, ensure_ascii=False, default=str)[:60]
