"""The versions held in memory: each swapped in whole, as soon as what is published has been read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from prescore.catalog.database import Database
from prescore.errors import PrescoreError
from prescore_api.tables.in_memory import InMemoryVersion
from prescore_api.tables.loader_process import LoaderProcess
from prescore_api.tables.loading import DoesNotFit
from prescore_api.tables.version import TableVersion

_log = logging.getLogger("prescore_api")


class InMemoryVersions:
    """At most `most` bytes of versions whose specs ask for it, the one that is being read included."""

    def __init__(self, database: Database, most: int) -> None:
        self._database, self.most = database, most
        self._held: dict[str, InMemoryVersion] = {}
        self.refused: dict[str, tuple[TableVersion, str]] = {}
        self._loader = LoaderProcess()

    def get(self, model: str) -> InMemoryVersion | None:
        """The version of a model that is held."""
        return self._held.get(model)

    def held(self) -> Iterable[InMemoryVersion]:
        """All of them."""
        return self._held.values()

    def status(self, model: str) -> dict[str, Any] | None:
        """What is held of a model, or why nothing is; None for one that is not to be held."""
        held, refused = self._held.get(model), self.refused.get(model)
        if held is not None:
            return {"version": held.table_version.version, "bytes": held.nbytes, "refused": None}
        return None if refused is None else {"version": None, "bytes": 0, "refused": refused[1]}

    def stop(self) -> None:
        """Read no more, for good."""
        self._loader.stop()

    async def follow(self, published: Iterable[TableVersion]) -> None:
        """Hold what is published and asks for it, and let go of what no longer is or does."""
        wanted = {described.model: described for described in published if described.row["in_memory"]}
        for model in set(self._held) - set(wanted):
            del self._held[model]
            # There may be room now.
            self.refused.clear()
        self.refused = {model: told for model, told in self.refused.items() if wanted.get(model) is told[0]}
        for described in wanted.values():
            held = self._held.get(described.model)
            if (held is None or held.table_version is not described) and described.model not in self.refused:
                try:
                    await self._replace(described, held)
                except Exception:  # a fault of ours: the database goes on answering
                    _log.exception("%s could not be read into memory", described.model)

    async def _replace(self, described: TableVersion, held: InMemoryVersion | None) -> None:
        # Only its promise or its clocks are others.
        if held is not None and held.table_version.has_same_rows(described):
            self._held[described.model] = held.with_table_version(described)
            return
        try:
            resident = await self._loaded(described)
        except DoesNotFit as error:
            self.refused[described.model] = (described, str(error))
            _log.warning(
                "%s version %d is not held in memory, and read from the database: %s of --memory-limit",
                described.model,
                described.version,
                error,
            )
        except PrescoreError as error:  # the version from before goes on answering; the next round tries again
            _log.warning("%s version %d was not read into memory: %s", described.model, described.version, error)
        else:
            self._held[described.model] = resident
            _log.info("%s version %d is held in memory", described.model, described.version)

    async def _loaded(self, described: TableVersion) -> InMemoryVersion:
        """Read beside the version from before; or in its place, if there is no room for both."""
        try:
            return await asyncio.to_thread(self._read, described)
        except DoesNotFit:
            if self._held.pop(described.model, None) is None:
                raise
        return await asyncio.to_thread(self._read, described)

    def _read(self, described: TableVersion) -> InMemoryVersion:
        left = self.most - sum(resident.nbytes for resident in self._held.values())
        resident = InMemoryVersion.build(described, self._loader.load(self._database, described, left))
        if resident.nbytes > left:
            raise DoesNotFit(f"it takes {resident.nbytes:,} bytes, and {left:,} are left")
        return resident
