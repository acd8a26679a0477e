"""Lookups of more keys than a request may hold: sent in parts, and answered by a single version."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from prescore_api.client.attempts import Call
from prescore_api.client.errors import Invalid
from prescore_api.client.requests import MAX_KEYS

P = TypeVar("P")
LookupPart = Callable[[int, int | None], Call[P]]
"""Looks up the part that starts at a position, in a version (None: the published one)."""


class _VersionGone(Invalid):
    """The version of the first part was retired before the last part was looked up."""


def in_parts(
    size: int, version: int | None, lookup: LookupPart[P], version_of: Callable[[P], int | None]
) -> Call[list[P]]:
    """Return the parts in order, all from one version: the given one, or the one that answers the first part.

    If that version is retired in between, all parts are looked up again, once. `version_of` returns None for a part
    that a canary has answered as well; all parts are then looked up like the first one. Raises what `lookup` raises.
    """
    try:
        return (yield from _from_one_version(size, version, lookup, version_of))
    except _VersionGone:
        return (yield from _from_one_version(size, version, lookup, version_of))


def _from_one_version(
    size: int, version: int | None, lookup: LookupPart[P], version_of: Callable[[P], int | None]
) -> Call[list[P]]:
    first = yield from lookup(0, version)
    parts = [first]
    for start in range(MAX_KEYS, size, MAX_KEYS):
        try:
            part = yield from lookup(start, version_of(first))
        except Invalid as error:
            gone = error.code == "not_found" and version is None
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
