"""Rows for keys, wherever they are: in memory, in what is published, or in a version asked for by its number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import psycopg

from prescore.catalog import lookup
from prescore.errors import DatabaseRefused, Transient
from prescore_api.service.answers import Age, Answers, FetchedOutputs
from prescore_api.service.clock import Clock
from prescore_api.service.memory import InMemoryVersions
from prescore_api.service.models import Models
from prescore_api.service.options import LookupOptions
from prescore_api.tables.batching import BatchedLookup, Key
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.in_memory import InMemoryOutputs, InMemoryVersion
from prescore_api.tables.version import TableVersion

MAX_KEYS = 10_000
_ATTEMPTS = 10
_WORTH_TWO = 500

Parsed = list[list[Any]]
Parse = Callable[[TableVersion], Parsed]


class Lookup:
    """Looks keys up; everything that one call gives is from one version."""

    def __init__(self, reader: ReaderPool, models: Models, in_memory: InMemoryVersions, clock: Clock) -> None:
        self._reader, self._models, self._in_memory, self._clock = reader, models, in_memory, clock
        self._merged: WeakKeyDictionary[TableVersion, BatchedLookup] = WeakKeyDictionary()

    async def one(self, model: str, parse: Parse, terms: LookupOptions) -> tuple[TableVersion, Age, Parsed, lookup.Row]:
        """A key's row; raises NotFound, KeyInvalid, TooOld, DatabaseUnavailable, Transient."""
        resident = self._held(model, terms)
        if resident is not None:
            described = resident.table_version
            parsed = parse(described)
            age = self._aged(described, terms)
            return described, age, parsed, resident.row([column[0] for column in parsed])
        return await self._settled(model, parse, terms, self._row)

    async def many(self, model: str, parse: Parse, terms: LookupOptions) -> Answers:
        """The answers to keys in their order; raises as `one` does."""
        resident = self._held(model, terms)
        if resident is not None:
            described = resident.table_version
            parsed, age = parse(described), self._aged(described, terms)
            places, there = resident.find(parsed)
            taken = InMemoryOutputs(resident, places, there)
            return Answers(described, age, parsed, there.tolist(), taken, described.select_outputs(terms.outputs))
        described, age, parsed, rows = await self._settled(model, parse, terms, self._rows)
        _, found, *outputs = zip(*rows, strict=True) if rows else ((), (), *(() for _ in described.outputs))
        return Answers(described, age, parsed, found, FetchedOutputs(outputs), described.select_outputs(terms.outputs))

    def _held(self, model: str, terms: LookupOptions) -> InMemoryVersion | None:
        """The version in memory, if it is the one that is asked for."""
        resident = self._in_memory.get(model)
        if resident is None or terms.version not in (None, resident.table_version.version):
            return None
        return resident

    async def _settled(
        self, model: str, parse: Parse, terms: LookupOptions, fetch: Callable[[TableVersion, Parsed], Any]
    ) -> tuple[TableVersion, Age, Parsed, Any]:
        """What `fetch` gives of the version that is published at that moment, or of the one that is asked for."""
        described = await self._described(model, terms)
        for _ in range(_ATTEMPTS):
            parsed = parse(described)
            try:
                got = await fetch(described, parsed)
            except (DatabaseRefused, psycopg.Error):
                was, described = described, await self._again(described, terms)
                if described.version == was.version:
                    raise
                continue
            if got is not None:
                return described, self._aged(described, terms), parsed, got
            described = await self._again(described, terms)
        raise Transient(f"{model} is published faster than it can be read.")

    async def _described(self, model: str, terms: LookupOptions) -> TableVersion:
        if terms.version is None:
            return await self._models.described(model)
        return await self._models.numbered(model, terms.version)

    async def _again(self, described: TableVersion, terms: LookupOptions) -> TableVersion:
        if terms.version is None:
            return await self._models.follow(described)
        return await self._models.renumbered(described)

    def _aged(self, described: TableVersion, terms: LookupOptions) -> Age:
        age = Age.at(described, self._clock.now())
        age.require(described, terms)
        return age

    async def _row(self, described: TableVersion, parsed: Parsed) -> lookup.Row | None:
        """A key's row, together with those of others who ask at the moment; None if another version is published."""
        merged = self._merged.get(described)
        if merged is None:
            merged = self._merged[described] = BatchedLookup(_Fetch(self._reader, described), self._reader.patience)
        row = await merged.submit(tuple([column[0] for column in parsed]))
        return row if row[0] == described.version else None

    async def _rows(self, described: TableVersion, parsed: Parsed) -> list[lookup.Row] | None:
        """The rows of many keys, of a large request in two halves at once; None if another version is published."""
        asked = [self._reader.tuples(described.statement, lookup.parameters(part)) for part in _parts(parsed)]
        rows = list(chain.from_iterable(await asyncio.gather(*asked)))
        return rows if {row[0] for row in rows} <= {described.version} else None


def _parts(parsed: Parsed) -> list[Parsed]:
    """One, or two that Postgres can work on at the same time."""
    keys = len(parsed[0])
    size = (keys + 1) // 2 if keys >= _WORTH_TWO else keys
    return [[column[start : start + size] for column in parsed] for start in range(0, keys, size or 1)]


class _Fetch:
    def __init__(self, reader: ReaderPool, described: TableVersion) -> None:
        self._reader, self._statement = reader, described.statement

    async def __call__(self, keys: Sequence[Key]) -> list[lookup.Row]:
        return await self._reader.tuples(self._statement, lookup.parameters(zip(*keys, strict=True)))
