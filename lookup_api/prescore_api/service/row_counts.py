"""Count the rows of tables that may have been changed by hand, once for each change."""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakKeyDictionary

from prescore.catalog import lookup_statements, version_row
from prescore.errors import DatabaseRefused, DatabaseUnavailable
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.version import TableVersion

_log = logging.getLogger("prescore_api")


class RowCounts:
    """The numbers of rows in the tables of versions; a version whose table has changed is another instance."""

    def __init__(self, reader: ReaderPool) -> None:
        self._reader = reader
        self._counts: WeakKeyDictionary[TableVersion, asyncio.Future[int]] = WeakKeyDictionary()

    async def require_all(self, version: TableVersion) -> None:
        """Raise DatabaseRefused unless a version's tables have as many rows as the catalog says."""
        counting = self._counts.get(version)
        if counting is None:
            counting = asyncio.ensure_future(self._count(version))
            self._counts[version] = counting
        version_row.require_stored(version.row, await asyncio.shield(counting))

    async def _count(self, version: TableVersion) -> int:
        try:
            (row,) = await self._reader.rows(lookup_statements.count_statement(version.row), {})
        except DatabaseUnavailable as error:
            # A large table takes longer than a lookup may. Nothing is known to be wrong with it.
            _log.warning("the rows of %s version %d were not counted: %s", version.model, version.version, error)
            return sum(table["rows"] for table in version.row["stored"])
        except DatabaseRefused:
            self._counts.pop(version, None)
            raise
        return int(row["rows"])
