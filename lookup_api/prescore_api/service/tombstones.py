"""Tombstones: the last version that had a key which a version does not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prescore.catalog.queries import query
from prescore.errors import DatabaseRefused, DatabaseUnavailable, NotFound
from prescore_api.service.answers import Answers, MixedAnswers, Tombstone
from prescore_api.service.lookup import KeyColumns, Lookup
from prescore_api.service.models import Models
from prescore_api.service.options import LookupOptions
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.version import TableVersion


class Tombstones:
    """Finds the last versions that had keys, among the retained versions that were served before."""

    def __init__(self, reader: ReaderPool, models: Models, lookup: Lookup) -> None:
        self._reader = reader
        self._models = models
        self._lookup = lookup

    async def add_to(self, answers: Answers | MixedAnswers) -> Answers | MixedAnswers:
        """Return answers with the tombstones of the keys that were not found; raises as `find`."""
        if isinstance(answers, Answers):
            return await self._add_to(answers)
        published, canary = await self._add_to(answers.published), await self._add_to(answers.canary)
        return replace(answers, published=published, canary=canary)

    async def _add_to(self, answers: Answers) -> Answers:
        version = answers.table_version
        if not version.row["tombstones"] or all(answers.found):
            return answers
        missing = [position for position, is_found in enumerate(answers.found) if not is_found]
        return replace(answers, tombstones=await self.find(version, answers.keys, missing))

    async def find(
        self, version: TableVersion, keys: Sequence[Sequence[Any]], missing: Sequence[int]
    ) -> dict[int, Tombstone]:
        """Return the tombstones of the keys at these positions, which a version does not have, by position.

        It looks up all keys together, version by version. A key that no earlier version has is left out. Raises
        DatabaseUnavailable or Transient. A version in memory, which answers without the database, has no tombstones
        then.
        """
        found: dict[int, Tombstone] = {}
        try:
            for number in await self._earlier(version):
                rest = [position for position in missing if position not in found]
                if not rest:
                    break
                found |= await self._find_in(number, version, keys, rest)
        except DatabaseUnavailable:
            if not self._lookup.is_in_memory(version):
                raise
        return found

    async def _earlier(self, version: TableVersion) -> list[int]:
        names = {"model": version.model, "version": version.version}
        rows = await self._reader.rows(query("lookup_earlier"), names)
        return [row["version"] for row in rows]

    async def _find_in(
        self, number: int, version: TableVersion, keys: Sequence[Sequence[Any]], positions: Sequence[int]
    ) -> dict[int, Tombstone]:
        """Return tombstones for the keys that an earlier version has; none if it has another key or is gone."""
        chosen: KeyColumns = [[column[position] for position in positions] for column in keys]
        try:
            earlier = await self._models.numbered(version.model, number)
            if _key_types(earlier) != _key_types(version):
                return {}
            answers = await self._lookup.many(version.model, lambda _: chosen, LookupOptions(number))
        # It has been retired meanwhile, or rows were deleted by hand.
        except (NotFound, DatabaseRefused):
            return {}
        tombstone = Tombstone(number, answers.table_version.data_as_of)
        found = {position: tombstone for position, has in zip(positions, answers.found, strict=True) if has}
        for place, age in answers.kept_ages.items():
            data_as_of = age.data_as_of(answers.table_version)
            found[positions[place]] = Tombstone(number, data_as_of.timestamp())
        return found


def _key_types(version: TableVersion) -> list[tuple[str, str]]:
    return [(column["name"], column["type"]) for column in version.key]
