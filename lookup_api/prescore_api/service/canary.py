"""Look up each key in the version that is for it: the published one, or the canary, for the keys that it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prescore.catalog import canary
from prescore.catalog.catalog import Column
from prescore.errors import NotFound
from prescore_api.service.answers import Answer, Answers, MixedAnswers
from prescore_api.service.lookup import KeyColumns, Lookup, ParseKeys
from prescore_api.service.memory import InMemoryVersions
from prescore_api.service.models import Models
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import TableVersion


@dataclass(frozen=True)
class Canary:
    """A version that is served to a share of the keys, and the published version beside it, whose key it has."""

    published: TableVersion
    version: int
    share: float

    def takes(self, keys: KeyColumns) -> list[bool]:
        """Return for each key whether the canary answers it."""
        return canary.takes(self.published.model, self.share, keys)

    def options(self, options: LookupOptions) -> LookupOptions:
        """Return the same options for a lookup in the canary."""
        return replace(options, version=self.version, canary=True)


class CanaryLookup:
    """Looks up keys as `Lookup` does, but those that a canary takes in the canary; a version that is given is used."""

    def __init__(self, lookup: Lookup, models: Models, in_memory: InMemoryVersions) -> None:
        self._lookup = lookup
        self._models = models
        self._in_memory = in_memory

    async def one(self, model: str, parse: ParseKeys, options: LookupOptions) -> tuple[Answer, bool]:
        """Look up one key; return its answer, and whether that is the canary's. Raises as `Lookup.one`."""
        found = self._canary(model, options)
        if found is not None and found.takes(parse(found.published))[0]:
            try:
                return await self._lookup.one(model, parse, found.options(options)), True
            except NotFound:
                # The canary has ended, and its version was retired.
                pass
        return await self._lookup.one(model, parse, options), False

    async def many(self, model: str, parse: ParseKeys, options: LookupOptions) -> Answers | MixedAnswers:
        """Look up keys; raises as `Lookup.many`."""
        found = self._canary(model, options)
        if found is not None:
            try:
                return await self._mixed(found, parse, options)
            except NotFound:
                pass
        return await self._lookup.many(model, parse, options)

    async def _mixed(self, found: Canary, parse: ParseKeys, options: LookupOptions) -> Answers | MixedAnswers:
        is_canary = found.takes(parse(found.published))
        others = [not taken for taken in is_canary]
        model = found.published.model
        published, tried = await asyncio.gather(
            self._lookup.many(model, _selecting(parse, others), options),
            self._lookup.many(model, _selecting(parse, is_canary), found.options(options)),
        )
        if _fits(published.table_version, tried.table_version):
            return MixedAnswers(published, tried, is_canary)
        # A version with columns that the canary does not have was published since the last reading, and ended it.
        return await self._lookup.many(model, parse, options)

    def _canary(self, model: str, options: LookupOptions) -> Canary | None:
        """Return the model's canary, as of the last reading, unless the caller wants a certain version."""
        published = self._models.last_reading(model)
        if published is None or options.version is not None:
            return None
        loaded = self._in_memory.get(model)
        answering = published if loaded is None else loaded.table_version
        version, share = answering.row["canary_version"], answering.row["canary_share"]
        # While a new version is being loaded, memory has the one before. A canary that was promoted keeps its keys
        # meanwhile, and one that was dropped does not.
        is_current = version in (published.row["canary_version"], published.version)
        return Canary(answering, version, share) if version and share and is_current else None


def _fits(published: TableVersion, tried: TableVersion) -> bool:
    """Return whether a canary has the key and all outputs of the published version."""
    return _types(published.key) == _types(tried.key) and _types(published.outputs) <= _types(tried.outputs)


def _types(columns: Sequence[Column]) -> set[tuple[str, str]]:
    return {(column["name"], column["type"]) for column in columns}


def _selecting(parse: ParseKeys, selected: Sequence[bool]) -> ParseKeys:
    """Return what parses only the selected keys."""

    def parse_selected(version: TableVersion) -> KeyColumns:
        return [[value for value, wanted in zip(column, selected, strict=True) if wanted] for column in parse(version)]

    return parse_selected
