"""JSON bodies of requests: the keys and rows of an application, in the types that JSON has."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from math import isinf
from typing import Any, SupportsIndex
from uuid import UUID

KeyValue = str | SupportsIndex | UUID | date | datetime
"""A value of a key column. NumPy's integers are SupportsIndex too."""
Key = Mapping[str, Any]
"""A key by column name. Its values are KeyValues, but mypy takes {"carrier": "UA", "flight": 1545} for objects."""
ScoreRow = Mapping[str, Mapping[str, Any] | None]
"""A row to score: `features` by name, and the `key` if it has one, or the key alone."""
JsonKey = dict[str, str | int]
"""A key by column name, with values as in JSON."""
JsonRow = dict[str, dict[str, Any]]
"""A row to score, with values as in JSON."""

_PLAIN_FEATURES = (str, bool, int, type(None))


def key_value(value: Any) -> str | int:
    """Convert a key's value to what JSON can hold; raise TypeError."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    # This check comes last because checking against a protocol is slow.
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return operator.index(value)
    raise TypeError(f"keys are of str, int, UUID, date or datetime, not {type(value).__name__}")


def convert_keys(keys: Iterable[Key]) -> list[JsonKey]:
    """Convert keys by column name; raise TypeError with the position of the first that is not a key."""
    _require_list(keys)
    return [_convert_key(position, key) for position, key in enumerate(keys)]


def convert_rows(rows: Iterable[ScoreRow]) -> list[JsonRow]:
    """Convert rows of features and keys.

    Raises TypeError with the position of the first that is not a row, and ValueError for a number that is infinite.
    """
    if isinstance(rows, str | Mapping):
        raise TypeError("score takes a list of rows or a DataFrame. Pass a single row in a list.")
    if hasattr(rows, "__arrow_c_stream__"):
        raise TypeError("score takes a list of rows or a pandas DataFrame. Pass other tables to score_table.")
    return [_convert_row(position, row) for position, row in enumerate(rows)]


def keys_body(keys: Sequence[JsonKey]) -> bytes:
    """Return the body of a request for keys."""
    return _body({"keys": keys})


def rows_body(rows: Sequence[JsonRow]) -> bytes:
    """Return the body of a request for the answers to rows."""
    return _body({"rows": rows})


def _body(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _require_list(keys: Any) -> None:
    """Raise TypeError, with what to pass instead, for objects that callers take for a list of keys."""
    if isinstance(keys, str | Mapping):
        raise TypeError("lookup takes a list of keys or a DataFrame. For a single key, use predict.")
    if hasattr(keys, "to_frame"):
        raise TypeError("lookup takes a list of keys or a DataFrame, not a Series. Pass keys.to_frame().")
    if hasattr(keys, "__arrow_c_stream__"):
        raise TypeError("lookup takes a list of keys or a pandas DataFrame. Pass other tables to lookup_table.")


def _convert_key(position: int, key: Key) -> JsonKey:
    try:
        return {name: key_value(value) for name, value in key.items()}
    except (AttributeError, TypeError) as error:
        reason = error if isinstance(key, Mapping) else "pass each key by column name, {column: value}"
        raise TypeError(f"keys[{position}]: {reason}") from error


def _convert_row(position: int, row: ScoreRow) -> JsonRow:
    if not _is_row(row):
        raise TypeError(f'rows[{position}]: pass each row as {{"features": {{…}}}}, with a "key" if it has one')
    features, key = row.get("features"), row.get("key")
    converted: JsonRow = {}
    try:
        if features is not None:
            converted["features"] = {name: _convert_feature(name, value) for name, value in features.items()}
        if key is not None:
            converted["key"] = {name: key_value(value) for name, value in key.items()}
    except (TypeError, ValueError) as error:
        raise type(error)(f"rows[{position}]: {error}") from error
    return converted


def _is_row(row: Any) -> bool:
    """Return whether an object has the names and the shape of a row."""
    if not isinstance(row, Mapping) or not row or not set(row) <= {"features", "key"}:
        return False
    return all(part is None or isinstance(part, Mapping) for part in row.values())


def _convert_feature(name: str, value: Any) -> Any:
    """Return a feature's value as JSON has it, None for NaN; raise TypeError or ValueError if JSON does not have it."""
    if isinstance(value, _PLAIN_FEATURES):
        return value
    # Numbers of NumPy
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float):
        if isinf(plain):
            raise ValueError(f"feature {name} is infinite, which JSON does not have. Pass the rows to score_table.")
        return plain if plain == plain else None
    if isinstance(plain, _PLAIN_FEATURES):
        return plain
    raise TypeError(f"feature {name} must be a number, a text, a boolean or None, not {type(value).__name__}")
