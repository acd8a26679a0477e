"""Lookups of more keys than a request may hold: sent in parts, and answered by what answers the first."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from prescore_api.client.attempts import Call
from prescore_api.client.errors import Invalid
from prescore_api.client.requests import MAX_KEYS, LookupOptions

P = TypeVar("P")
LookupPart = Callable[[int, LookupOptions], Call[tuple[P, LookupOptions]]]
"""Looks up the part that starts at a position; returns it, and the options that pin what has answered it."""


class _VersionGone(Invalid):
    """A version that answered the first part was retired before the last part was looked up."""


def in_parts(size: int, options: LookupOptions, lookup: LookupPart[P]) -> Call[list[P]]:
    """Return the parts in order, all answered by what answers the first part: a version, or it and its canary.

    If one of these is retired in between, all parts are looked up again, once. Raises what `lookup` raises.
    """
    try:
        return (yield from _pinned_to_first(size, options, lookup))
    except _VersionGone:
        return (yield from _pinned_to_first(size, options, lookup))


def _pinned_to_first(size: int, options: LookupOptions, lookup: LookupPart[P]) -> Call[list[P]]:
    first, pinned = yield from lookup(0, options)
    parts = [first]
    for start in range(MAX_KEYS, size, MAX_KEYS):
        try:
            part, _ = yield from lookup(start, pinned)
        except Invalid as error:
            gone = error.code == "not_found" and options.version is None
            raise _with_position(error, start, _VersionGone if gone else Invalid) from error
        parts.append(part)
    return parts


def _with_position(error: Invalid, start: int, kind: type[Invalid]) -> Invalid:
    """Return the same error with the key's position among all keys; the server counts those of one request."""
    message = error.message
    match = re.match(r"(keys|rows)\[([0-9]+)\]", message)
    if match:
        position = start + int(match[2])
        message = f"{match[1]}[{position}]{message[match.end() :]}"
    return kind(error.code, message, error.status, error.retry_after)
