"""Calls with more keys or rows than a request may hold: sent in parts, and answered by what answers the first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from prescore_api.client.attempts import Call, Server, attempts
from prescore_api.client.errors import Invalid, Unavailable
from prescore_api.client.requests import LookupOptions, Request
from prescore_api.client.responses import Response, pinned

MAX_KEYS = 10_000
"""How many keys or rows the server takes in one request."""
MAX_BYTES = 8 << 20
"""How long the body of a request may be."""

P = TypeVar("P")


@dataclass(frozen=True)
class Bulk(Generic[P]):
    """Any number of keys or rows.

    `serialize` returns a body with those from one position to another, `request` builds a request with a body, and
    `read` returns the answers in a response, or raises ApiError.
    """

    size: int
    serialize: Callable[[int, int], bytes]
    request: Callable[[bytes, LookupOptions], Request]
    read: Callable[[Response], P]


class _VersionGone(Exception):
    """A version that answered the first part was retired before the last part was answered."""


def in_parts(server: Server, bulk: Bulk[P], options: LookupOptions) -> Call[list[P]]:
    """Return the answers part by part, all from what answers the first part: a version, or it and its canary.

    If one of these is retired in between, all parts are sent again, once. Raises ApiError; it is Unavailable if that
    happens again.
    """
    for _ in range(2):
        try:
            return (yield from _pinned_to_first(server, bulk, options))
        except _VersionGone as gone:
            reason = str(gone)
    raise Unavailable(
        "transient", f"Versions are published and retired more often than {bulk.size:,} keys can follow. {reason}"
    )


def _pinned_to_first(server: Server, bulk: Bulk[P], options: LookupOptions) -> Call[list[P]]:
    parts = []
    wanted = options
    for start, body in _bodies(bulk):
        response = yield from attempts(bulk.request(body, wanted), server)
        try:
            parts.append(bulk.read(response))
        except Invalid as error:
            if start and error.code == "not_found" and options.version is None:
                raise _VersionGone(error.message) from error
            raise _with_position(error, start) from error
        wanted = pinned(response, options)
    return parts


def _bodies(bulk: Bulk[P]) -> Iterator[tuple[int, bytes]]:
    """Yield bodies, each with the position of its first key. Without keys there is one, which requests nothing."""
    for start in range(0, bulk.size or 1, MAX_KEYS):
        yield from _bodies_between(bulk, start, min(start + MAX_KEYS, bulk.size))


def _bodies_between(bulk: Bulk[P], start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    body = bulk.serialize(start, stop)
    if len(body) <= MAX_BYTES or stop - start < 2:
        yield start, body
        return
    middle = (start + stop) // 2
    yield from _bodies_between(bulk, start, middle)
    yield from _bodies_between(bulk, middle, stop)


def _with_position(error: Invalid, start: int) -> Invalid:
    """Return the same error with the key's position among all keys; the server counts those of one request."""
    message = error.message
    match = re.match(r"(keys|rows)\[([0-9]+)\]", message)
    if match:
        position = start + int(match[2])
        message = f"{match[1]}[{position}]{message[match.end() :]}"
    return Invalid(error.code, message, error.status, error.retry_after)
