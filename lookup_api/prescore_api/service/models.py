"""Models as the catalog describes them: read every second, and at once when a row shows that a version changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from prescore.catalog import version_row
from prescore.catalog.queries import query
from prescore.errors import DatabaseUnavailable, NotFound
from prescore_api.service.answers import Age
from prescore_api.service.clock import Clock
from prescore_api.service.memory import InMemoryVersions
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.version import TableVersion

# New versions and their outputs are followed at once. Only a model that was created again with another key needs this.
TRUSTED_SECONDS = 2.0
_CACHED_VERSIONS = 1000
# How long a request that needs nothing else from the database waits for it.
_PATIENCE_SECONDS = 0.5

_log = logging.getLogger("prescore_api")


Description = dict[str, Any]
_Key = tuple[Any, ...]
_Read = Callable[..., Awaitable[TableVersion]]


class _Reading(NamedTuple):
    """A version and when, by the monotonic clock, the catalog was read."""

    version: TableVersion
    read_at: float

    def is_trusted(self) -> bool:
        return time.monotonic() - self.read_at < TRUSTED_SECONDS


class Models:
    """The published models; the last reading of each version is cached."""

    def __init__(self, reader: ReaderPool, in_memory: InMemoryVersions, clock: Clock) -> None:
        self._reader = reader
        self._in_memory = in_memory
        self._clock = clock
        self._published: dict[str, _Reading] = {}
        self._numbered: dict[tuple[str, int], _Reading] = {}
        self._queries: dict[_Key, asyncio.Future[TableVersion]] = {}
        self._features: WeakKeyDictionary[TableVersion, frozenset[str] | None] = WeakKeyDictionary()

    async def refresh(self) -> None:
        """Read all published models; raises DatabaseUnavailable or DatabaseRefused."""
        queried_at = time.monotonic()
        rows: list[Any] = await self._reader.rows(query("lookup_version"), {"model": None, "version": None})
        readings = {}
        for row in rows:
            self._clock.set(row["now"], queried_at)
            try:
                readings[row["model"]] = self._reading(row)
            # A model that this release cannot read must not hide the others.
            except Exception:
                _log.exception("%s cannot be served", row["model"])
        self._published = readings

    def latest(self) -> list[TableVersion]:
        """Return the published version of every model, as of the last reading."""
        return [reading.version for reading in self._published.values()]

    def last_reading(self, model: str) -> TableVersion | None:
        """Return a model's published version as of the last reading, None if it was not read or is not published."""
        reading = self._published.get(model)
        return None if reading is None else reading.version

    async def published(self, model: str) -> TableVersion:
        """Return a model's published version, as of at most TRUSTED_SECONDS ago; raises NotFound."""
        reading = self._published.get(model)
        if reading is not None and reading.is_trusted():
            return reading.version
        return await self._read_published(model)

    async def last_known(self, model: str) -> TableVersion:
        """Return a model's published version; while the database is unavailable, the one that was read last."""
        reading = self._published.get(model)
        if reading is None:
            return await self.published(model)
        if reading.is_trusted():
            return reading.version
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self.published(model)
        except (DatabaseUnavailable, TimeoutError):
            return reading.version

    async def current(self, model: str) -> TableVersion:
        """Read a model's published version and return it; raises NotFound."""
        return await self._read_published(model)

    async def follow(self, outdated: TableVersion) -> TableVersion:
        """Return the version that replaced this one, or the same one read again; raises NotFound."""
        reading = self._published.get(outdated.model)
        if reading is not None:
            latest = reading.version
            # A concurrent request may have read the new version already.
            if latest.id != outdated.id:
                return latest
        return await self._read_published(outdated.model)

    async def numbered(self, model: str, number: int) -> TableVersion:
        """Return a version by number, as of at most TRUSTED_SECONDS ago; raises NotFound."""
        reading = self._numbered.get((model, number))
        if reading is not None and reading.is_trusted():
            return reading.version
        return await self._shared((model, number), self._query_numbered)

    async def reread(self, version: TableVersion) -> TableVersion:
        """Read a version by number again; raises NotFound once it is retired."""
        self._numbered.pop((version.model, version.version), None)
        return await self.numbered(version.model, version.version)

    def all_in_memory(self) -> bool:
        """Return whether lookups in every published model are answered from memory; those in a canary are not."""
        versions = self.latest()
        if any(version.row["canary_share"] for version in versions):
            return False
        return bool(versions) and all(self._in_memory.get(version.model) for version in versions)

    async def list_models(self) -> list[Description]:
        """Return every published model and its age, ordered by name."""
        await self.refresh()
        return [self._summary(version) for version in self.latest()]

    async def describe(self, model: str) -> Description:
        """Return a published model with its age, columns and retained versions; raises NotFound."""
        version = await self._read_published(model)
        versions = await self._rows("lookup_versions", model)
        return {
            **self._summary(version),
            **version.describe_columns(),
            "live": await self._describe_live(version),
            "versions": versions,
        }

    async def features(self, version: TableVersion) -> frozenset[str] | None:
        """Return the names of the features that live answers take; None if the version does not allow live answers."""
        if version not in self._features:
            described = await self._describe_live(version)
            names = None if described is None else frozenset(feature["name"] for feature in described["features"])
            self._features[version] = names
        return self._features[version]

    async def _describe_live(self, version: TableVersion) -> Description | None:
        """Return the features that live answers take; None if the version does not allow live answers."""
        if not version.row["live"]:
            return None
        rows = await self._rows("lookup_signature", version.model, version=version.version, id=version.id)
        if not rows or rows[0]["signature"] is None:
            return None
        signature, runtime = rows[0]["signature"], rows[0]["runtime"]
        features = [
            {"name": name, "dtype": node["dtype"], "nullable": name in signature["nullable"]}
            for node in signature["inputs"]
            for name in node["features"]
        ]
        return {"features": features, "cache_seconds": version.row["live_cache_seconds"], "runtime": runtime}

    def gauges(self) -> list[Description]:
        """Return every model as of the last reading with its age now; needs no database."""
        gauges = []
        for version in self.latest():
            published_seconds = self._seconds_since(version.row["published_at"])
            canary = {name: version.row[name] for name in ("canary_version", "canary_share")}
            gauges.append({**self._summary(version), "published_seconds": published_seconds, **canary})
        return gauges

    def _summary(self, version: TableVersion) -> Description:
        age = Age.at(version, self._clock.now())
        row = version.row
        return {
            "model": version.model,
            "description": row["description"],
            "version": version.version,
            "rows": row["rows"],
            "data_as_of": row["data_as_of"],
            "published_at": row["published_at"],
            "age_seconds": round(age.seconds, 3),
            "max_age_seconds": version.max_age,
            "stale": age.stale,
            "held": row["held"],
            "canary": _canary(row),
            "in_memory": self._in_memory.status(version.model),
        }

    async def _read_published(self, model: str) -> TableVersion:
        return await self._shared((model,), self._query_published)

    async def _query_published(self, model: str) -> TableVersion:
        queried_at = time.monotonic()
        rows = await self._rows("lookup_version", model, version=None)
        if not rows:
            self._published.pop(model, None)
            raise NotFound(
                f"No model {model!r} is published. The server lists those that are at /v1/models, over HTTP."
            )
        self._clock.set(rows[0]["now"], queried_at)
        reading = self._reading(rows[0])
        self._published[model] = reading
        return reading.version

    async def _query_numbered(self, model: str, number: int) -> TableVersion:
        queried_at = time.monotonic()
        rows = await self._rows("lookup_version", model, version=number)
        if not rows:
            self._numbered.pop((model, number), None)
            # Raises NotFound with a better message if the model is unknown.
            await self.published(model)
            raise NotFound(
                f"{model} has no version {number} that can be looked up. "
                f"The server lists its retained versions at /v1/models/{model}, over HTTP."
            )
        if len(self._numbered) >= _CACHED_VERSIONS:
            self._numbered.clear()
        self._clock.set(rows[0]["now"], queried_at)
        before = self._numbered.get((model, number))
        if before is not None and before.version.matches(rows[0]):
            version = before.version
        else:
            version = TableVersion.from_row(rows[0], by_number=True)
        self._numbered[model, number] = _Reading(version, time.monotonic())
        return version

    def _reading(self, row: version_row.VersionRow) -> _Reading:
        """Reuse the version of the last reading if the row has not changed: batches and memory are kept by version."""
        before = self._published.get(row["model"])
        now = time.monotonic()
        if before is not None and before.version.matches(row):
            return _Reading(before.version, now)
        return _Reading(TableVersion.from_row(row), now)

    async def _shared(self, key: _Key, read: _Read) -> TableVersion:
        """Share one query among all concurrent requests that need the same version."""
        task = self._queries.get(key)
        if task is None:
            task = asyncio.ensure_future(read(*key))
            task.add_done_callback(lambda _: self._queries.pop(key, None))
            self._queries[key] = task
        return await asyncio.shield(task)

    async def _rows(self, name: str, model: str, **parameters: Any) -> list[Any]:
        # Names of models are ASCII. Postgres would refuse NUL, and what its encoding does not have.
        if "\x00" in model or not model.isascii():
            return []
        return await self._reader.rows(query(name), {"model": model, **parameters})

    def _seconds_since(self, when: datetime | None) -> float | None:
        if when is None:
            return None
        return self._clock.now() - when.timestamp()


def _canary(row: version_row.VersionRow) -> dict[str, Any] | None:
    if row["canary_version"] is None:
        return None
    return {"version": row["canary_version"], "share": row["canary_share"]}
