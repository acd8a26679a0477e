"""Every call of a client as a talk with the server: what to ask, and what the replies come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from prescore_api.client import arrow, asking, replies
from prescore_api.client.answers import Answer, Model
from prescore_api.client.asking import MAX_KEYS, Asked, Key, KeyValue, Terms
from prescore_api.client.attempts import Server, Talk, attempts
from prescore_api.client.errors import Unavailable
from prescore_api.client.parts import in_parts
from prescore_api.client.replies import Reply

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


def predict(
    server: Server, model: str, key: KeyValue | Key | None, columns: Mapping[str, Any], terms: Terms
) -> Talk[Answer]:
    """The answer to one key, given in one of three ways; raises TypeError, ValueError, ApiError."""
    if (key is None) == (not columns) or key == {}:
        raise TypeError('A key is a value, or values by column name: 42, or {"carrier": "UA", "flight": 1545}.')
    if key is not None and not isinstance(key, Mapping):
        return (yield from _heard(server, asking.by_value(model, key, terms), replies.answer))
    named = key or columns
    if asked := asking.by_name(model, named, terms):
        return (yield from _heard(server, asked, replies.answer))
    return (yield from _heard(server, asking.many(model, asking.plain([named]), terms), replies.answers))[0]


def lookup(server: Server, model: str, keys: Iterable[Key], terms: Terms) -> Talk[list[Answer]]:
    """The answers to any number of keys, in their order; raises TypeError, ApiError."""
    # All of them, before any is asked for.
    plain = asking.plain(keys)

    def ask(start: int, version: int | None) -> Talk[list[Answer]]:
        part = plain[start : start + MAX_KEYS]
        return _heard(server, asking.many(model, part, replace(terms, version=version)), replies.answers)

    parts = yield from in_parts(len(plain), terms.version, ask, lambda answers: answers[0].version)
    return [answer for part in parts for answer in part]


def lookup_table(server: Server, model: str, table: pa.Table, terms: Terms) -> Talk[pa.Table]:
    """The answers to the keys in a table's rows, as one; raises ApiError."""

    def ask(start: int, version: int | None) -> Talk[pa.Table]:
        stream = arrow.stream(table.slice(start, MAX_KEYS))
        return _heard(server, asking.table(model, stream, replace(terms, version=version)), arrow.table)

    return arrow.joined((yield from in_parts(table.num_rows, terms.version, ask, arrow.version)))


def models(server: Server) -> Talk[list[Model]]:
    """Every published model; raises ApiError."""
    return _heard(server, asking.get("/v1/models"), replies.models)


def model(server: Server, name: str) -> Talk[Model]:
    """One of them, with its columns; raises ApiError."""
    return _heard(server, asking.model(name), replies.model)


def ready(server: Server) -> Talk[bool]:
    """Whether lookups can be answered, asked once; raises ApiError for what is no lookup API."""
    try:
        return (yield from _heard(replace(server, retries=0), asking.get("/health/ready"), replies.ready))
    except Unavailable:
        return False


def _heard(server: Server, asked: Asked, read: Callable[[Reply], T]) -> Talk[T]:
    return read((yield from attempts(asked, server)))
