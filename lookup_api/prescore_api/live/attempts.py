"""Attempts to answer a request from the table and by scoring, both with the same version."""

from __future__ import annotations

from collections.abc import AsyncIterator

from prescore.errors import Transient
from prescore_api.service.models import Models
from prescore_api.service.options import LookupOptions

_ATTEMPTS = 10


async def attempts(models: Models, model: str, options: LookupOptions) -> AsyncIterator[LookupOptions]:
    """Yield the options with which an attempt looks keys up, a few times; raises NotFound.

    The first attempt may find another version than the one that scores: a publication came in between, or memory has
    the version before while the new one is being loaded. Later ones look up the published version by its number.
    """
    yield options
    for _ in range(_ATTEMPTS - 1):
        current = await models.current(model)
        yield options.in_version(current.version)


def no_attempt_left(model: str) -> Transient:
    """Return the error for a request whose attempts were all overtaken by publications."""
    return Transient(f"{model} is published more often than a request can follow. Try again.")
