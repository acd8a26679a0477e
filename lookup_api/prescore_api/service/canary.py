"""Look up each key in the version that is for it: the published one, or the canary, for the keys that it takes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from prescore.catalog import canary
from prescore.catalog.catalog import Column
from prescore.errors import NotFound, RequestInvalid
from prescore_api.service.answers import Answer, Answers, MixedAnswers
from prescore_api.service.lookup import KeyColumns, Lookup, ParseKeys
from prescore_api.service.memory import InMemoryVersions
from prescore_api.service.models import Models
from prescore_api.service.options import LookupOptions
from prescore_api.tables.version import TableVersion

_SHARE = r"0(\.[0-9]{1,20})?|1(\.0)?|[1-9](\.[0-9]{1,20})?e-(0[1-9]|[1-9][0-9]{1,2})"
PIN = rf"([1-9][0-9]{{0,8}}):({_SHARE})"
"""How a pin is written, as a regular expression; its share is that of `str`, from 0 to 1."""


@dataclass(frozen=True)
class Pin:
    """A canary and its share, which a caller names so that several requests are answered alike."""

    version: int
    share: float

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what `str` gives; return None for another text."""
        match = re.fullmatch(PIN, text)
        return None if match is None else cls(int(match[1]), float(match[2]))

    def __str__(self) -> str:
        return f"{self.version}:{self.share}"


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
        """Return the same options for a lookup in the canary, whose version the key selects."""
        return options.in_version(self.version)


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

    async def many(
        self, model: str, parse: ParseKeys, options: LookupOptions, pin: Pin | None = None
    ) -> Answers | MixedAnswers:
        """Look up keys; raises as `Lookup.many`. With a pin, its canary answers its share of them, published or not."""
        if pin is not None and options.version is not None:
            return await self._pinned(model, options.version, parse, options, pin)
        found = self._canary(model, options)
        mixed = None
        if found is not None:
            # The canary may have ended, and its version may have been retired.
            with suppress(NotFound):
                mixed = await self._mixed(found, parse, options)
        # Or a version with columns that the canary does not have was published since the last reading, and ended it.
        return mixed or await self._lookup.many(model, parse, options)

    async def _pinned(
        self, model: str, version: int, parse: ParseKeys, options: LookupOptions, pin: Pin
    ) -> MixedAnswers:
        published = await self._models.numbered(model, version)
        mixed = await self._mixed(Canary(published, pin.version, pin.share), parse, options)
        if mixed is None:
            raise RequestInvalid(
                f"{model} version {pin.version} was no canary beside version {version}: it does not have the same key "
                "and all of its outputs."
            )
        return mixed

    async def _mixed(self, found: Canary, parse: ParseKeys, options: LookupOptions) -> MixedAnswers | None:
        """Look up each key in its version; return None if the canary does not have the columns of the other one."""
        is_canary = found.takes(parse(found.published))
        others = [not taken for taken in is_canary]
        model = found.published.model
        published, tried = await asyncio.gather(
            self._lookup.many(model, _selecting(parse, others), options),
            self._lookup.many(model, _selecting(parse, is_canary), found.options(options)),
        )
        if not _fits(published.table_version, tried.table_version):
            return None
        return MixedAnswers(published, tried, found.share, is_canary)

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
