"""The versions kept in memory. Each is swapped in whole as soon as the published table has been read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from prescore.catalog.database import Database
from prescore.errors import DatabaseRefused, PrescoreError
from prescore_api.tables.in_memory import InMemoryVersion
from prescore_api.tables.in_memory_delta import InMemoryDelta
from prescore_api.tables.loader_process import LoaderProcess
from prescore_api.tables.loading import DoesNotFit
from prescore_api.tables.version import TableVersion

InMemory = InMemoryVersion | InMemoryDelta

_log = logging.getLogger("prescore_api")


class Refusal(NamedTuple):
    """A version that exceeds the limit or cannot be read as a whole, and why."""

    version: TableVersion
    reason: str


class InMemoryVersions:
    """The versions whose specs set `lookup.in_memory`, within a limit in bytes that covers the one being read, too."""

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self.limit = limit
        self._loaded: dict[str, InMemory] = {}
        self.refused: dict[str, Refusal] = {}
        self._loader = LoaderProcess()

    def get(self, model: str) -> InMemory | None:
        """Return the version of a model that is in memory."""
        return self._loaded.get(model)

    def loaded(self) -> Iterable[InMemory]:
        """Return all versions in memory."""
        return self._loaded.values()

    def status(self, model: str) -> dict[str, Any] | None:
        """Return what is in memory of a model or why nothing is; None for a model that is not meant to be."""
        loaded = self._loaded.get(model)
        if loaded is not None:
            return {"version": loaded.table_version.version, "bytes": loaded.nbytes, "refused": None}
        refusal = self.refused.get(model)
        if refusal is None:
            return None
        return {"version": None, "bytes": 0, "refused": refusal.reason}

    def stop(self) -> None:
        """Stop reading tables, for good."""
        self._loader.stop()

    async def follow(self, published: Iterable[TableVersion]) -> None:
        """Load the published versions that belong in memory, and drop those that no longer do."""
        wanted = {version.model: version for version in published if version.row["in_memory"]}
        self._drop_unwanted(wanted)
        for version in wanted.values():
            if not self._is_current(version):
                try:
                    await self._replace(version)
                # A bug of ours must not end the loading of others. Lookups are answered from the database instead.
                except Exception:
                    _log.exception("%s could not be read into memory", version.model)

    def _drop_unwanted(self, wanted: Mapping[str, TableVersion]) -> None:
        for model in list(self._loaded):
            if model not in wanted:
                del self._loaded[model]
                # A version that was refused may fit now.
                self.refused.clear()
        for model, refusal in list(self.refused.items()):
            # Another version may be smaller.
            if wanted.get(model) is not refusal.version:
                del self.refused[model]

    def _is_current(self, version: TableVersion) -> bool:
        """Return whether the version is in memory or was refused, so that nothing is left to do."""
        if version.model in self.refused:
            return True
        loaded = self._loaded.get(version.model)
        return loaded is not None and loaded.table_version is version

    async def _replace(self, version: TableVersion) -> None:
        before = self._loaded.get(version.model)
        # Only the catalog row has changed, its max age, for example: the rows can stay.
        if before is not None and before.table_version.has_same_rows(version):
            self._loaded[version.model] = before.with_table_version(version)
            return
        name = f"{version.model} version {version.version}"
        try:
            loaded = await self._load(version)
        except DoesNotFit as error:
            self.refused[version.model] = Refusal(version, str(error))
            _log.warning("%s is not in memory and is read from the database: %s", name, error)
        except DatabaseRefused as error:
            # Not all of its rows can be read. The version before must not stand in for it for good.
            self._loaded.pop(version.model, None)
            self.refused[version.model] = Refusal(version, "its rows cannot be read; see the server's log")
            _log.error("%s is not in memory and is read from the database: %s", name, error)
        except PrescoreError as error:
            # The version in memory keeps serving, and the next round tries again.
            _log.warning("%s was not read into memory: %s", name, error)
        else:
            self._loaded[version.model] = loaded
            _log.info("%s is in memory", name)

    async def _load(self, version: TableVersion) -> InMemory:
        """Read a version while the one before it serves on; if both do not fit, drop that one first."""
        try:
            return await asyncio.to_thread(self._read, version)
        except DoesNotFit:
            if self._loaded.pop(version.model, None) is None:
                raise
        return await asyncio.to_thread(self._read, version)

    def _read(self, version: TableVersion) -> InMemory:
        """Read a version: a delta without its base, if that is in memory already."""
        available = self.limit
        for other in self._loaded.values():
            available -= other.nbytes
        base = self._base(version)
        table = self._loader.load(self._database, version, available, delta_alone=base is not None)
        loaded: InMemory
        if base is None:
            loaded = InMemoryVersion.build(version, table)
            added = loaded.nbytes
        else:
            loaded = InMemoryDelta.build(version, base, table)
            added = loaded.own_bytes
        if added > available:
            raise DoesNotFit(f"it takes {added:,} bytes, and {available:,} bytes of --memory-limit are left")
        return loaded

    def _base(self, version: TableVersion) -> InMemoryVersion | None:
        """Return the base of a delta, if the version in memory is it or has the same."""
        loaded = self._loaded.get(version.model)
        base = loaded.base if isinstance(loaded, InMemoryDelta) else loaded
        if base is None or not version.is_delta or not version.has_base(base.table_version):
            return None
        return base
