"""More keys than one request takes: asked for in parts, and answered by one version all the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from prescore_api.client.asking import MAX_KEYS
from prescore_api.client.attempts import Talk
from prescore_api.client.errors import Invalid

P = TypeVar("P")
Ask = Callable[[int, int | None], Talk[P]]
"""Asks for the part that begins at a position, of a version."""


class _Gone(Invalid):
    """The version of the first part was retired before the last one was asked for."""


def in_parts(size: int, version: int | None, ask: Ask[P], version_of: Callable[[P], int]) -> Talk[list[P]]:
    """The parts in their order, all of one version, the one that the first part is of if none is given.

    When that version goes in between, all parts are asked for anew, once. Raises what `ask` raises.
    """
    try:
        return (yield from _of_one_version(size, version, ask, version_of))
    except _Gone:
        return (yield from _of_one_version(size, version, ask, version_of))


def _of_one_version(size: int, version: int | None, ask: Ask[P], version_of: Callable[[P], int]) -> Talk[list[P]]:
    parts = [(yield from ask(0, version))]
    for start in range(MAX_KEYS, size, MAX_KEYS):
        try:
            parts.append((yield from ask(start, version_of(parts[0]))))
        except Invalid as error:
            gone = error.code == "not_found" and version is None
            raise _at(start, error, _Gone if gone else Invalid) from error
    return parts


def _at(start: int, error: Invalid, kind: type[Invalid]) -> Invalid:
    """The same error, with a key's position among all of them: the server counts those of one request."""
    message = re.sub(r"^keys\[([0-9]+)\]", lambda found: f"keys[{start + int(found[1])}]", error.message)
    return kind(error.code, message, error.status, error.retry_after)
