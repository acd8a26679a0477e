"""Requests: keys and terms in, a method, a target and a body out. Nothing is sent here."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Self, SupportsIndex
from urllib.parse import quote, urlencode
from uuid import UUID

MAX_KEYS = 10_000
"""How many keys the server takes in one request."""
ARROW = "application/vnd.apache.arrow.stream"

KeyValue = str | SupportsIndex | UUID | date | datetime
"""A value of a key; NumPy's integers are SupportsIndex too."""
Key = Mapping[str, KeyValue]
"""A key by column name."""
PlainKey = dict[str, str | int]

_PARAMETERS = ("version", "max_age", "output")
# Servers and proxies begin to refuse URLs at 8 KiB.
_LONGEST_TARGET = 8000
_PREDICTIONS = "/v1/predictions/"
_JSON = {"Accept": "application/json"}


@dataclass(frozen=True)
class Asked:
    """A request, but for where the server is and which API key it is asked with."""

    method: str
    target: str
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)


@dataclass(frozen=True)
class Terms:
    """What is asked for besides keys; `version` None is what is published, `outputs` empty all of them."""

    version: int | None
    max_age: float | None
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, version: int | None, max_age: float | None, outputs: Iterable[str]) -> Self:
        """As a caller gives them: one output may come as its name alone."""
        return cls(version, max_age, (outputs,) if isinstance(outputs, str) else tuple(outputs))

    def parameters(self) -> list[tuple[str, str]]:
        """As they stand in a query string."""
        told = [] if self.version is None else [("version", str(self.version))]
        if self.max_age is not None:
            # The server takes no exponent.
            told.append(("max_age", f"{self.max_age:.9f}".rstrip("0").rstrip(".")))
        return told + [("output", name) for name in self.outputs]


def get(path: str) -> Asked:
    """What is at a path."""
    return Asked("GET", path)


def model(name: str) -> Asked:
    """One model."""
    return get(f"/v1/models/{_segment(name)}")


def by_value(model: str, value: KeyValue, terms: Terms) -> Asked:
    """The prediction of a key of one column; raises TypeError for what can be no key, ValueError for a long one."""
    target = _target(f"{_PREDICTIONS}{_segment(model)}/{_segment(_text(value))}", terms.parameters())
    if len(target) > _LONGEST_TARGET:
        raise ValueError("So long a key does not fit into a URL; give it by its column's name: {column: value}.")
    return get(target)


def by_name(model: str, key: Key, terms: Terms) -> Asked | None:
    """The prediction of a key by column name; None for one that does not fit into a URL. Raises TypeError."""
    if reserved := [name for name in key if name in _PARAMETERS]:
        raise TypeError(f"No key column is called {reserved[0]}: it is a parameter. Outputs go by outputs=….")
    given = [(name, _text(value)) for name, value in key.items()]
    target = _target(f"{_PREDICTIONS}{_segment(model)}", given + terms.parameters())
    return get(target) if len(target) <= _LONGEST_TARGET else None


def plain(keys: Iterable[Key]) -> list[PlainKey]:
    """Keys by column name as JSON has them; raises TypeError with the position of what can be none."""
    return [_told(place, key) for place, key in enumerate(keys)]


def many(model: str, keys: Sequence[PlainKey], terms: Terms) -> Asked:
    """The predictions of keys by column name."""
    body = json.dumps({"keys": keys}, ensure_ascii=False, separators=(",", ":")).encode()
    return _lookup(model, terms, body, _JSON | {"Content-Type": "application/json"})


def table(model: str, stream: bytes, terms: Terms) -> Asked:
    """The predictions of keys in an Arrow IPC stream, as one."""
    return _lookup(model, terms, stream, {"Content-Type": ARROW, "Accept": ARROW})


def _lookup(model: str, terms: Terms, body: bytes, headers: Mapping[str, str]) -> Asked:
    return Asked("POST", _target(f"{_PREDICTIONS}{_segment(model)}/lookup", terms.parameters()), body, headers)


def _told(place: int, key: Key) -> PlainKey:
    try:
        return {name: _plain(value) for name, value in key.items()}
    except (AttributeError, TypeError) as error:
        why = error if isinstance(key, Mapping) else 'a key is given by column name, {"customer_id": 42}'
        raise TypeError(f"keys[{place}]: {why}") from error


def _plain(value: Any) -> str | int:
    """A key's value as JSON has it."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    # Last: it is slow to tell.
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return operator.index(value)
    raise TypeError(f"keys are of str, int, UUID, date or datetime, not {type(value).__name__}")


def _text(value: KeyValue) -> str:
    plain = _plain(value)
    # An enumeration's member would give its name.
    return plain if isinstance(plain, str) else str(int(plain))


def _segment(text: str) -> str:
    # "." and ".." mean something in a path, unless their dots are escaped.
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def _target(path: str, parameters: Sequence[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(parameters, quote_via=quote)}" if parameters else path
