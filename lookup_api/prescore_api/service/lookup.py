"""Look up rows by key: in memory, in the published version, or in a version selected by number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
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
# How many publications in a row a single lookup follows before it gives up.
_ATTEMPTS = 10
# From this many keys on, Postgres answers two halves at once faster than the whole.
_SPLIT_KEYS = 500

KeyColumns = list[list[Any]]
ParseKeys = Callable[[TableVersion], KeyColumns]
"""Parses the keys of a request as the key of a version, by column; raises KeyInvalid."""


class Lookup:
    """Looks up keys; everything that one call returns is from one version."""

    def __init__(self, reader: ReaderPool, models: Models, in_memory: InMemoryVersions, clock: Clock) -> None:
        self._reader, self._models, self._in_memory, self._clock = reader, models, in_memory, clock
        self._batched: WeakKeyDictionary[TableVersion, BatchedLookup] = WeakKeyDictionary()

    async def one(
        self, model: str, parse: ParseKeys, options: LookupOptions
    ) -> tuple[TableVersion, Age, KeyColumns, lookup.Row]:
        """Look up one key; return its version, that version's age, the parsed key, and the row.

        Raises NotFound, KeyInvalid, TooOld, DatabaseUnavailable or Transient.
        """
        loaded = self._loaded(model, options)
        if loaded is not None:
            version = loaded.table_version
            key = parse(version)
            return version, self._age(version, options), key, loaded.row([column[0] for column in key])
        return await self._consistent(model, parse, options, self._row)

    async def many(self, model: str, parse: ParseKeys, options: LookupOptions) -> Answers:
        """Look up keys and return their answers in the same order; raises like `one`."""
        loaded = self._loaded(model, options)
        if loaded is not None:
            version = loaded.table_version
            keys, age = parse(version), self._age(version, options)
            places, is_found = loaded.find(keys)
            outputs = InMemoryOutputs(loaded, places, is_found)
            return Answers(version, age, keys, is_found.tolist(), outputs, version.select_outputs(options.outputs))
        version, age, keys, rows = await self._consistent(model, parse, options, self._rows)
        found, columns = _columns(rows, len(version.outputs))
        return Answers(version, age, keys, found, FetchedOutputs(columns), version.select_outputs(options.outputs))

    def _loaded(self, model: str, options: LookupOptions) -> InMemoryVersion | None:
        """Return the model's version in memory if it is the one that the request wants."""
        loaded = self._in_memory.get(model)
        if loaded is None or options.version not in (None, loaded.table_version.version):
            return None
        return loaded

    async def _consistent(
        self,
        model: str,
        parse: ParseKeys,
        options: LookupOptions,
        fetch: Callable[[TableVersion, KeyColumns], Awaitable[Any]],
    ) -> tuple[TableVersion, Age, KeyColumns, Any]:
        """Fetch from one version; start over when another one turns out to be published by now."""
        version = await self._version(model, options)
        for _ in range(_ATTEMPTS):
            keys = parse(version)
            try:
                fetched = await fetch(version, keys)
            except (DatabaseRefused, psycopg.Error):
                failed, version = version, await self._newer(version, options)
                if version.version == failed.version:
                    raise
                continue
            if fetched is not None:
                return version, self._age(version, options), keys, fetched
            version = await self._newer(version, options)
        raise Transient(f"{model} is published more often than a lookup can follow. Try again.")

    async def _version(self, model: str, options: LookupOptions) -> TableVersion:
        if options.version is None:
            return await self._models.published(model)
        return await self._models.numbered(model, options.version)

    async def _newer(self, version: TableVersion, options: LookupOptions) -> TableVersion:
        if options.version is None:
            return await self._models.follow(version)
        return await self._models.reread(version)

    def _age(self, version: TableVersion, options: LookupOptions) -> Age:
        age = Age.at(version, self._clock.now())
        age.require(version, options)
        return age

    async def _row(self, version: TableVersion, key: KeyColumns) -> lookup.Row | None:
        """Fetch a key's row, batched with concurrent lookups; return None if another version is published."""
        batched = self._batched.get(version)
        if batched is None:
            batched = self._batched[version] = BatchedLookup(_Fetch(self._reader, version), self._reader.patience)
        row = await batched.submit(tuple([column[0] for column in key]))
        return row if row[0] == version.version else None

    async def _rows(self, version: TableVersion, keys: KeyColumns) -> list[lookup.Row] | None:
        """Fetch the rows of many keys; return None if any of them is from another version."""
        statements = [self._reader.tuples(version.statement, lookup.parameters(part)) for part in _parts(keys)]
        rows = list(chain.from_iterable(await asyncio.gather(*statements)))
        return rows if {row[0] for row in rows} <= {version.version} else None


def _columns(rows: list[lookup.Row], outputs: int) -> tuple[Sequence[bool | None], Sequence[Sequence[Any]]]:
    """Transpose rows: return whether each key was found, and one column for each output."""
    if not rows:
        return (), [()] * outputs
    _, found, *columns = zip(*rows, strict=True)
    return found, columns


def _parts(keys: KeyColumns) -> list[KeyColumns]:
    """Split many keys into two parts for Postgres to work on at the same time."""
    count = len(keys[0])
    size = (count + 1) // 2 if count >= _SPLIT_KEYS else count
    return [[column[start : start + size] for column in keys] for start in range(0, count, size or 1)]


class _Fetch:
    """Fetches the rows of keys of one version, for a batch."""

    def __init__(self, reader: ReaderPool, version: TableVersion) -> None:
        # Not the version itself: the batched lookups are kept for as long as their version is.
        self._reader, self._statement = reader, version.statement

    async def __call__(self, keys: Sequence[Key]) -> list[lookup.Row]:
        return await self._reader.tuples(self._statement, lookup.parameters(zip(*keys, strict=True)))
