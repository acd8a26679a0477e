"""Requests: build a method, a target and a body from keys and lookup options. This module sends nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self, TypedDict
from urllib.parse import quote, urlencode

from prescore_api.client.json_body import Key, KeyValue, key_value, keys_body

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"

Source = Literal["table", "live"]
"""Where the prediction of a row comes from."""

_PARAMETERS = ("version", "max_age", "output")
# Servers and proxies begin to refuse URLs at 8 KiB.
_MAX_TARGET_LENGTH = 8000
_PREDICTIONS = "/v1/predictions/"
_JSON = {"Accept": JSON}
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
    is what the server sent beside the version that answered an earlier request, and None for a version of the caller's
    choice.
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


def next_rows(request: Request, link: str) -> Request:
    """Build the request for the page that a link on another page names, relative to that page."""
    folder, _, _ = request.target.partition("?")[0].rpartition("/")
    return replace(request, target=f"{folder}/{link}")


def lookup(model: str, body: bytes, options: LookupOptions, form: str = JSON) -> Request:
    """Build the request for many keys; `form` is the media type of the body and of the response."""
    return _post(model, "lookup", body, form, options.parameters())


def key_names(model: str, options: LookupOptions) -> Request:
    """Build the request for no key at all, with a response in Arrow, whose schema names the columns of the key."""
    return replace(lookup(model, keys_body([]), options), headers={"Content-Type": JSON, "Accept": ARROW})


def score(model: str, body: bytes, options: LookupOptions, *, prefer: Source, form: str = JSON) -> Request:
    """Build the request for the answers to rows; `form` is the media type of the body and of the response."""
    return _post(model, "score", body, form, [*options.parameters(), ("prefer", prefer)])


def _post(model: str, endpoint: str, body: bytes, form: str, parameters: Sequence[tuple[str, str]]) -> Request:
    target = _target(f"{_PREDICTIONS}{_segment(model)}/{endpoint}", parameters)
    return Request("POST", target, body, {"Content-Type": form, "Accept": form})


def _text(value: KeyValue) -> str:
    converted = key_value(value)
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
