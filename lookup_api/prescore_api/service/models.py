"""What the catalog says of models: read every second, and at once when an answer is from another version."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from prescore.catalog import lookup
from prescore.catalog.queries import query
from prescore.errors import NotFound
from prescore_api.service.answers import Age
from prescore_api.service.clock import Clock
from prescore_api.service.memory import InMemoryVersions
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.version import TableVersion

# A model that comes to mean other keys is followed after so long; new versions and their outputs are followed at once.
TRUSTED_SECONDS = 2.0
_TOLD = ("model", "description", "version", "rows", "data_as_of", "published_at")
_MOST_VERSIONS = 1000

_log = logging.getLogger("prescore_api")


class Models:
    """Models as the catalog has them; the version last seen of each is remembered."""

    def __init__(self, reader: ReaderPool, in_memory: InMemoryVersions, clock: Clock) -> None:
        self._reader, self._in_memory, self._clock = reader, in_memory, clock
        self.seen: dict[str, TableVersion] = {}
        self._numbered: dict[tuple[str, int], TableVersion] = {}
        self._asking: dict[tuple[Any, ...], asyncio.Future[TableVersion]] = {}

    async def refresh(self) -> None:
        """Read the catalog; raises DatabaseUnavailable or DatabaseRefused."""
        asked_at = time.monotonic()
        rows: list[Any] = await self._reader.rows(query("lookup_published"), {"model": None})
        seen = {}
        for row in rows:
            self._clock.set(row["now"], asked_at)
            try:
                seen[row["model"]] = self._described(row)
            except Exception:  # one that this release cannot read must not hide the others
                _log.exception("%s cannot be served", row["model"])
        self.seen = seen

    async def described(self, model: str) -> TableVersion:
        """The columns of the version last seen of a model, at most 2 s ago; raises NotFound."""
        seen = self.seen.get(model)
        if seen is not None and time.monotonic() - seen.read_at < TRUSTED_SECONDS:
            return seen
        return await self._see(model)

    async def follow(self, columns: TableVersion) -> TableVersion:
        """The columns that a model has moved on to from these, or the same read anew; raises NotFound."""
        seen = self.seen.get(columns.model)
        # Another request was first.
        if seen is not None and seen is not columns and seen.version != columns.version:
            return seen
        return await self._see(columns.model)

    async def numbered(self, model: str, version: int) -> TableVersion:
        """The columns of a version that is asked for by its number; raises NotFound."""
        seen = self._numbered.get((model, version))
        if seen is not None and time.monotonic() - seen.read_at < TRUSTED_SECONDS:
            return seen
        return await self._shared((model, version), self._see_version)

    async def _see_version(self, model: str, version: int) -> TableVersion:
        asked_at = time.monotonic()
        rows: list[Any] = await self._named("lookup_version", model, version=version)
        if not rows:
            self._numbered.pop((model, version), None)
            # The model may be the unknown one.
            await self.described(model)
            raise NotFound(
                f"{model} has no version {version} to be asked for. GET /v1/models/{model} lists those that it has."
            )
        if len(self._numbered) >= _MOST_VERSIONS:
            self._numbered.clear()
        self._clock.set(rows[0]["now"], asked_at)
        described = self._numbered[model, version] = TableVersion.from_row(rows[0], by_number=True)
        return described

    async def _shared(self, of: tuple[Any, ...], ask: Callable[..., Awaitable[TableVersion]]) -> TableVersion:
        """One question for all who have it at the moment."""
        task = self._asking.get(of)
        if task is None:
            task = self._asking[of] = asyncio.ensure_future(ask(*of))
            task.add_done_callback(lambda _: self._asking.pop(of, None))
        return await asyncio.shield(task)

    async def renumbered(self, described: TableVersion) -> TableVersion:
        """The columns of a version whose table did not take those, read anew; raises NotFound when it is retired."""
        self._numbered.pop((described.model, described.version), None)
        return await self.numbered(described.model, described.version)

    def all_in_memory(self) -> bool:
        """Whether every model that was published when the catalog was last read is held in memory."""
        return bool(self.seen) and all(self._in_memory.get(model) for model in self.seen)

    async def every(self) -> list[dict[str, Any]]:
        """Every published model with its clocks, by name."""
        await self.refresh()
        return [self.describe(described) for described in self.seen.values()]

    async def one(self, model: str) -> dict[str, Any]:
        """A published model with its clocks, its columns and its versions; raises NotFound."""
        described = await self._see(model)
        versions = await self._named("lookup_versions", model)
        return self.describe(described) | described.describe_columns() | {"versions": versions}

    def describe(self, described: TableVersion) -> dict[str, Any]:
        """A model with its clocks, as they are now."""
        age = Age.at(described, self._clock.now())
        told = {name: described.row[name] for name in _TOLD}  # type: ignore[literal-required]
        clocks = {"age_seconds": round(age.seconds, 3), "max_age_seconds": described.max_age, "stale": age.stale}
        resident = self._in_memory.status(described.model)
        return told | clocks | {"held": described.row["held"], "in_memory": resident}

    def gauges(self) -> list[dict[str, Any]]:
        """Models with their clocks, as they are now, also while the database is away."""
        now, every = self._clock.now(), self.seen.values()
        return [self.describe(d) | {"published_seconds": _since(d.row["published_at"], now)} for d in every]

    async def _see(self, model: str) -> TableVersion:
        return await self._shared((model,), self._see_published)

    async def _see_published(self, model: str) -> TableVersion:
        asked_at = time.monotonic()
        rows: list[Any] = await self._named("lookup_published", model)
        if not rows:
            self.seen.pop(model, None)
            raise unknown(model)
        self._clock.set(rows[0]["now"], asked_at)
        described = self.seen[model] = self._described(rows[0])
        return described

    def _described(self, row: lookup.VersionRow) -> TableVersion:
        seen = self.seen.get(row["model"])
        if seen is not None and seen.matches(row):
            seen.confirm()
            return seen
        return TableVersion.from_row(row)

    async def _named(self, name: str, model: str, **values: Any) -> list[Any]:
        # Postgres takes no NUL, not even to say that there is no such name.
        if "\x00" in model:
            return []
        return await self._reader.rows(query(name), {"model": model, **values})


def _since(when: datetime | None, now: float) -> float | None:
    return None if when is None else now - when.timestamp()


def unknown(model: str) -> NotFound:
    """There is no such model."""
    return NotFound(f"No model {model!r} is published here. GET /v1/models lists those that are.")
