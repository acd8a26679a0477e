"""Look up rows by key: in memory, in the published version, or in a version selected by number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import psycopg

from prescore.catalog import lookup, lookup_statements, version_row
from prescore.errors import DatabaseRefused, Transient
from prescore_api.service import kept
from prescore_api.service.answers import Age, Answer, Answers, FetchedOutputs, Outputs
from prescore_api.service.clock import Clock
from prescore_api.service.memory import InMemory, InMemoryVersions
from prescore_api.service.models import Models
from prescore_api.service.options import LookupOptions
from prescore_api.service.row_counts import RowCounts
from prescore_api.tables.batching import BatchedLookup, Key
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.in_memory import InMemoryOutputs
from prescore_api.tables.version import TableVersion

MAX_KEYS = 10_000
# How many publications in a row a single lookup follows before it gives up.
_ATTEMPTS = 10
# From this many keys on, Postgres answers two halves at once faster than the whole.
_SPLIT_KEYS = 500

KeyColumns = list[list[Any]]
ParseKeys = Callable[[TableVersion], KeyColumns]
"""Parses the keys of a request as the key of a version, by column; raises KeyInvalid."""
Fetch = Callable[[TableVersion, KeyColumns], Awaitable[Any]]
"""Fetches from a version, or returns None if another version is published."""
Fetched = tuple[TableVersion, Age, KeyColumns, Any]
"""A version, its age, the keys that were parsed for it, and what was fetched from it."""


class Lookup:
    """Looks up keys; everything that one call returns is from one version."""

    def __init__(self, reader: ReaderPool, models: Models, in_memory: InMemoryVersions, clock: Clock) -> None:
        self._reader = reader
        self._models = models
        self._in_memory = in_memory
        self._clock = clock
        self._counts = RowCounts(reader)
        self._batched: WeakKeyDictionary[TableVersion, BatchedLookup] = WeakKeyDictionary()

    async def one(self, model: str, parse: ParseKeys, options: LookupOptions) -> Answer:
        """Look up one key; raises NotFound, KeyInvalid, TooOld, DatabaseUnavailable or Transient."""
        loaded = self._loaded(model, options)
        if loaded is not None:
            version = loaded.table_version
            key = parse(version)
            age = self._age(version, options)
            values = [column[0] for column in key]
            row = loaded.row(values)
        else:
            version, age, key, row = await self._consistent(model, parse, options, self._row)
        if version.kept_position is not None:
            age = kept.own_age(version, age, row)
            kept.require(version, {0: age}, key, options)
        return Answer(version, age, key, row)

    async def many(self, model: str, parse: ParseKeys, options: LookupOptions) -> Answers:
        """Look up keys and return their answers in the same order; raises like `one`."""
        answers = await self.find(model, parse, options)
        kept.require(answers.table_version, answers.kept_ages, answers.keys, options)
        return answers

    async def find(self, model: str, parse: ParseKeys, options: LookupOptions) -> Answers:
        """Look up keys as `many` does, but leave it to the caller what to do with kept rows that are too old."""
        loaded = self._loaded(model, options)
        if loaded is not None:
            return self._many_in_memory(loaded, parse, options)
        version, age, keys, rows = await self._consistent(model, parse, options, self._rows)
        found, columns = _columns(rows, len(version.outputs))
        return _answers(version, age, keys, found, FetchedOutputs(columns), options)

    async def version(self, model: str, options: LookupOptions) -> TableVersion:
        """Return the version that lookups are answered from, of any age; raises NotFound or DatabaseUnavailable."""
        loaded = self._loaded(model, options)
        return await self._version(model, options) if loaded is None else loaded.table_version

    def require_age(self, version: TableVersion, options: LookupOptions) -> None:
        """Raise TooOld if the version's age is beyond what the options or the model allow."""
        self._age(version, options)

    def is_in_memory(self, version: TableVersion) -> bool:
        """Return whether lookups in a version need no database."""
        loaded = self._in_memory.get(version.model)
        return loaded is not None and loaded.table_version is version

    def _many_in_memory(self, loaded: InMemory, parse: ParseKeys, options: LookupOptions) -> Answers:
        version = loaded.table_version
        keys = parse(version)
        age = self._age(version, options)
        places, is_found = loaded.find(keys)
        outputs = InMemoryOutputs(loaded.outputs, places)
        return _answers(version, age, keys, is_found.tolist(), outputs, options)

    def _loaded(self, model: str, options: LookupOptions) -> InMemory | None:
        """Return the model's version in memory if it is the one that the request wants."""
        loaded = self._in_memory.get(model)
        if loaded is None:
            return None
        if options.version is None or options.version == loaded.table_version.version:
            return loaded
        return None

    async def _consistent(self, model: str, parse: ParseKeys, options: LookupOptions, fetch: Fetch) -> Fetched:
        """Fetch from one version; start over when another one turns out to be published by now."""
        version = await self._version(model, options)
        for _ in range(_ATTEMPTS):
            keys = parse(version)
            try:
                fetched = await fetch(version, keys)
            except (DatabaseRefused, psycopg.Error):
                # The statement may have failed, or read no rows, because the version changed. If it did not, the error
                # stands.
                newer = await self._newer(version, options)
                if newer.id == version.id:
                    raise
                version = newer
                continue
            if fetched is not None:
                age = self._age(version, options)
                return version, age, keys, fetched
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

    async def _row(self, version: TableVersion, key: KeyColumns) -> version_row.Row | None:
        """Fetch a key's row, batched with concurrent lookups; return None if another version is published."""
        batched = self._batched.get(version)
        if batched is None:
            batched = BatchedLookup(_Fetch(self._reader, version), self._reader.patience)
            self._batched[version] = batched
        values = [column[0] for column in key]
        try:
            row = await batched.submit(tuple(values))
        except lookup.UnspellableKey:
            row = version_row.missing(version.row)
        return row if await self._is_usable(version, [row]) else None

    async def _rows(self, version: TableVersion, keys: KeyColumns) -> list[version_row.Row] | None:
        """Fetch the rows of many keys; return None if any of them is from another version."""
        parts = await asyncio.gather(*(self._part(version, part) for part in _parts(keys)))
        rows = list(chain.from_iterable(parts))
        return rows if await self._is_usable(version, rows) else None

    async def _is_usable(self, version: TableVersion, rows: list[version_row.Row]) -> bool:
        """Return whether rows are from a version; raise DatabaseRefused if the table has lost some."""
        if not version_row.is_from(version.row, rows):
            return False
        if version_row.is_doubtful(version.row, rows):
            await self._counts.require_all(version)
        return True

    async def _part(self, version: TableVersion, keys: KeyColumns) -> list[version_row.Row]:
        """Fetch the rows of keys; halve them until a key that no row can have is by itself."""
        try:
            return await self._reader.tuples(version.statement, lookup_statements.parameters(keys))
        except lookup.UnspellableKey:
            if len(keys[0]) == 1:
                return [version_row.missing(version.row)]
        halves = [await self._part(version, half) for half in _halves(keys)]
        return list(chain.from_iterable(halves))


def _answers(
    version: TableVersion,
    age: Age,
    keys: KeyColumns,
    found: Sequence[bool | None],
    outputs: Outputs,
    options: LookupOptions,
) -> Answers:
    return Answers(
        table_version=version,
        age=age,
        keys=keys,
        found=found,
        outputs=outputs,
        selection=version.select_outputs(options.outputs),
        kept_ages=kept.own_ages(version, age, found, outputs),
    )


def _columns(rows: list[version_row.Row], outputs: int) -> tuple[Sequence[bool | None], Sequence[Sequence[Any]]]:
    """Transpose rows: return whether each key was found, and one column for each output."""
    if not rows:
        return (), [()] * outputs
    _, found, *columns = zip(*rows, strict=True)
    return found, columns


def _parts(keys: KeyColumns) -> list[KeyColumns]:
    """Split many keys into two parts for Postgres to work on at the same time."""
    count = len(keys[0])
    if count == 0:
        return []
    if count < _SPLIT_KEYS:
        return [keys]
    return _halves(keys)


def _halves(keys: KeyColumns) -> list[KeyColumns]:
    middle = (len(keys[0]) + 1) // 2
    first = [column[:middle] for column in keys]
    second = [column[middle:] for column in keys]
    return [first, second]


class _Fetch:
    """Fetches the rows of keys of one version, for a batch."""

    def __init__(self, reader: ReaderPool, version: TableVersion) -> None:
        # Not the version itself: the batched lookups are kept for as long as their version is.
        self._reader = reader
        self._statement = version.statement

    async def __call__(self, keys: Sequence[Key]) -> list[version_row.Row]:
        parameters = lookup_statements.parameters(zip(*keys, strict=True))
        return await self._reader.tuples(self._statement, parameters)
