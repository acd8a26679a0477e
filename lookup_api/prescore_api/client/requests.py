"""Requests: build a method, a target and a body from keys and lookup options. This module sends nothing."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Self, SupportsIndex, TypedDict
from urllib.parse import quote, urlencode
from uuid import UUID

MAX_KEYS = 10_000
"""How many keys the server takes in one request."""
ARROW = "application/vnd.apache.arrow.stream"

KeyValue = str | SupportsIndex | UUID | date | datetime
"""A value of a key column. NumPy's integers are SupportsIndex too."""
Key = Mapping[str, KeyValue]
"""A key by column name."""
ScoreRow = Mapping[str, Mapping[str, Any] | None]
"""A row to score: `features` by name, and the `key` if it has one, or the key alone."""
JsonKey = dict[str, str | int]
"""A key by column name, with values as in JSON."""

_PARAMETERS = ("version", "max_age", "output")
# Servers and proxies begin to refuse URLs at 8 KiB.
_MAX_TARGET_LENGTH = 8000
_PREDICTIONS = "/v1/predictions/"
_JSON = {"Accept": "application/json"}
_JSON_LINES = {"Accept": "application/x-ndjson"}
# Paths that mean something else than a key. With an escape, they are keys.
_RESERVED_SEGMENTS = {".": "%2E", "..": "%2E%2E", "rows": "%72ows"}


@dataclass(frozen=True)
class Request:
    """An HTTP request without the server's address and the API key."""

    method: str
    target: str
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)


class Options(TypedDict, total=False):
    """The keyword arguments of a call, by default the published version at any age, with all outputs.

    `max_age` is the maximum age of the data in seconds, and `outputs` has the names of those to return.
    """

    version: int | None
    max_age: float | None
    outputs: Iterable[str]


@dataclass(frozen=True)
class LookupOptions:
    """Which version, how old its data may be in seconds, and which outputs.

    `version` None is the published version, `max_age` None allows any age, no `outputs` selects all of them. `canary`
    is what the server sent for the canary that answers its share of the keys beside the version; without a version,
    that is the model's own.
    """

    version: int | None
    max_age: float | None
    outputs: tuple[str, ...]
    canary: str | None = None

    @classmethod
    def build(cls, version: int | None = None, max_age: float | None = None, outputs: Iterable[str] = ()) -> Self:
        """Build the options from a call's arguments. `outputs` may be the name of a single output."""
        names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        return cls(version, max_age, names)

    def parameters(self) -> list[tuple[str, str]]:
        """Return the query parameters."""
        parameters = []
        if self.version is not None:
            parameters.append(("version", str(self.version)))
        if self.canary is not None:
            parameters.append(("canary", self.canary))
        if self.max_age is not None:
            # The server accepts no exponent.
            parameters.append(("max_age", f"{self.max_age:.9f}".rstrip("0").rstrip(".")))
        parameters += [("output", name) for name in self.outputs]
        return parameters


def get(path: str) -> Request:
    """Build a GET request for a path."""
    return Request("GET", path)


def model(name: str) -> Request:
    """Build the request for one model's description."""
    return get(f"/v1/models/{_segment(name)}")


def predict_by_value(model: str, value: KeyValue, options: LookupOptions) -> Request:
    """Build the request for a key of one column.

    Raises TypeError if the value cannot be a key, and ValueError if it does not fit into a URL.
    """
    text = _text(value)
    segment = _RESERVED_SEGMENTS.get(text) or _segment(text)
    path = f"{_PREDICTIONS}{_segment(model)}/{segment}"
    target = _target(path, options.parameters())
    if len(target) > _MAX_TARGET_LENGTH:
        raise ValueError("The key is too long for a URL. Pass it by column name: {column: value}.")
    return get(target)


def predict_by_name(model: str, key: Key, options: LookupOptions) -> Request | None:
    """Build the request for a key by column name; return None if it does not fit into a URL. Raises TypeError."""
    reserved = [name for name in key if name in _PARAMETERS]
    if reserved:
        raise TypeError(f"No key column is called {reserved[0]}: it is a parameter. Select outputs with outputs=….")
    columns = [(name, _text(value)) for name, value in key.items()]
    path = _PREDICTIONS + _segment(model)
    target = _target(path, columns + options.parameters())
    return get(target) if len(target) <= _MAX_TARGET_LENGTH else None


def rows(model: str, options: LookupOptions, limit: int) -> Request:
    """Build the request for the first page of a version's rows."""
    path = f"{_PREDICTIONS}{_segment(model)}/rows"
    target = _target(path, [*options.parameters(), ("limit", str(limit))])
    return Request("GET", target, headers=_JSON_LINES)


def first_row(model: str, options: LookupOptions) -> Request:
    """Build the request for the first row of a version in Arrow, whose schema names the columns of the key."""
    return replace(rows(model, options, 1), headers={"Accept": ARROW})


def next_rows(request: Request, link: str) -> Request:
    """Build the request for the page that a link on another page names, relative to that page."""
    folder, _, _ = request.target.partition("?")[0].rpartition("/")
    return replace(request, target=f"{folder}/{link}")


def to_json_keys(keys: Iterable[Key]) -> list[JsonKey]:
    """Convert keys by column name to JSON values; raise TypeError with the position of the first that is not a key."""
    _require_list(keys)
    return [_json_key(position, key) for position, key in enumerate(keys)]


def lookup(model: str, keys: Sequence[JsonKey], options: LookupOptions) -> Request:
    """Build the request for many keys by column name."""
    body = json.dumps({"keys": keys}, ensure_ascii=False, separators=(",", ":"))
    headers = {"Content-Type": "application/json", **_JSON}
    return _lookup(model, options, body.encode(), headers)


def to_json_rows(rows: Iterable[ScoreRow]) -> list[dict[str, Any]]:
    """Convert rows of features and keys to JSON values; raise TypeError with the position of the first that is none."""
    if isinstance(rows, str | Mapping):
        raise TypeError("score takes a list of rows or a DataFrame. Pass a single row in a list.")
    if hasattr(rows, "__arrow_c_stream__"):
        raise TypeError("score takes a list of rows or a pandas DataFrame.")
    return [_json_row(position, row) for position, row in enumerate(rows)]


def score(model: str, rows: Sequence[dict[str, Any]], prefer: str, options: LookupOptions) -> Request:
    """Build the request for rows to score; raise TypeError for a feature that JSON does not have."""
    body = json.dumps({"rows": rows}, ensure_ascii=False, separators=(",", ":"), default=_json_feature)
    path = f"{_PREDICTIONS}{_segment(model)}/score"
    target = _target(path, [*options.parameters(), ("prefer", prefer)])
    return Request("POST", target, body.encode(), {"Content-Type": "application/json", **_JSON})


def _json_row(position: int, row: ScoreRow) -> dict[str, Any]:
    if not isinstance(row, Mapping) or not row or not set(row) <= {"features", "key"}:
        raise TypeError(f'rows[{position}]: pass each row as {{"features": {{…}}}}, with a "key" if it has one')
    converted: dict[str, Any] = {}
    features, key = row.get("features"), row.get("key")
    if features is not None:
        converted["features"] = {name: None if value != value else value for name, value in features.items()}
    if key is not None:
        try:
            converted["key"] = {name: _json_value(value) for name, value in key.items()}
        except TypeError as error:
            raise TypeError(f"rows[{position}]: {error}") from error
    return converted


def _json_feature(value: Any) -> Any:
    """Return a number of NumPy as one of Python; raise TypeError for anything that JSON does not have."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"features are numbers, texts, booleans or None, not {type(value).__name__}")


def lookup_stream(model: str, stream: bytes, options: LookupOptions) -> Request:
    """Build the request for the keys in an Arrow IPC stream; the response is such a stream, too."""
    headers = {"Content-Type": ARROW, "Accept": ARROW}
    return _lookup(model, options, stream, headers)


def _lookup(model: str, options: LookupOptions, body: bytes, headers: Mapping[str, str]) -> Request:
    path = f"{_PREDICTIONS}{_segment(model)}/lookup"
    target = _target(path, options.parameters())
    return Request("POST", target, body, headers)


def _require_list(keys: Any) -> None:
    """Raise TypeError, with what to pass instead, for objects that callers take for a list of keys."""
    if isinstance(keys, str | Mapping):
        raise TypeError("lookup takes a list of keys or a DataFrame. For a single key, use predict.")
    if hasattr(keys, "to_frame"):
        raise TypeError("lookup takes a list of keys or a DataFrame, not a Series. Pass keys.to_frame().")
    if hasattr(keys, "__arrow_c_stream__"):
        raise TypeError("lookup takes a list of keys or a pandas DataFrame. Pass other tables to lookup_table.")


def _json_key(position: int, key: Key) -> JsonKey:
    try:
        return {name: _json_value(value) for name, value in key.items()}
    except (AttributeError, TypeError) as error:
        reason = error if isinstance(key, Mapping) else "pass each key by column name, {column: value}"
        raise TypeError(f"keys[{position}]: {reason}") from error


def _json_value(value: Any) -> str | int:
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


def _text(value: KeyValue) -> str:
    converted = _json_value(value)
    # int() first: str() of a member of an integer enumeration is its name.
    return converted if isinstance(converted, str) else str(int(converted))


def _segment(text: str) -> str:
    # "." and ".." are path navigation unless their dots are escaped.
    if text in (".", ".."):
        return text.replace(".", "%2E")
    return quote(text, safe="")


def _target(path: str, parameters: Sequence[tuple[str, str]]) -> str:
    if not parameters:
        return path
    query = urlencode(parameters, quote_via=quote)
    return f"{path}?{query}"
