"""Tombstones: the last version that had a key which the published version does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from prescore.catalog import lookup, lookup_statements
from prescore.catalog.queries import query
from prescore.errors import NotFound
from prescore_api.service.models import Models
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.version import TableVersion


class Tombstone(NamedTuple):
    """The last retained version with a key, and the time of its inputs in seconds since 1970."""

    version: int
    data_as_of: float


class Tombstones:
    """Finds the last version that had a key, among the retained versions that were served before."""

    def __init__(self, reader: ReaderPool, models: Models) -> None:
        self._reader = reader
        self._models = models

    async def find(self, version: TableVersion, key: Sequence[Sequence[Any]]) -> Tombstone | None:
        """Return the tombstone of a key, given by column, that a version does not have; None if it never had it.

        Raises DatabaseUnavailable or Transient.
        """
        names = {"model": version.model, "version": version.version}
        for row in await self._reader.rows(query("lookup_earlier"), names):
            try:
                earlier = await self._models.numbered(version.model, row["version"])
            except NotFound:
                # It has been retired meanwhile.
                continue
            if earlier.key == version.key and await self._has(earlier, key):
                return Tombstone(earlier.version, earlier.data_as_of)
        return None

    async def _has(self, version: TableVersion, key: Sequence[Sequence[Any]]) -> bool:
        try:
            ((_, found, *_),) = await self._reader.tuples(version.statement, lookup_statements.parameters(key))
        except lookup.UnspellableKey:
            return False
        return found is True
