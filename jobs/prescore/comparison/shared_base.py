"""The full version that two versions share their rows with: each is the base itself, or a delta over it."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.catalog.edits import may_be_edited
from prescore.catalog.queries import query
from prescore.catalog.version_row import missing_rows
from prescore.comparison import profile
from prescore.comparison.relation import VERSIONS


@dataclass(frozen=True)
class SharedBase:
    """Two versions, and the full version whose rows both show where a delta has none of the same key."""

    base: Version
    a: Version
    b: Version

    @property
    def deltas(self) -> list[sql.Identifier]:
        """The tables of the deltas, without those of versions that are equal to the base."""
        found = [delta(version) for version in (self.a, self.b)]
        return [table for table in found if table is not None]

    @property
    def largest_delta(self) -> int:
        """The number of rows of the larger delta, which most often has the keys of the other one, too."""
        return max((version["rows_stored"] or 0 if delta(version) else 0) for version in (self.a, self.b))


def delta(version: Version) -> sql.Identifier | None:
    """Return the table with the rows in which a version differs from its base, None if it has none."""
    return None if version["base_version"] is None else sql.Identifier(VERSIONS, version["rows_table"])


def find(connection: Connection, a: Version, b: Version) -> SharedBase | None:
    """Return the base of two versions, None if they have none in common that is worth a profile.

    It has more rows than a histogram that gives each value a bin of its own, and the tables are as they were. Raises
    DatabaseRefused for a delta that lost rows.
    """
    if _base_number(a) != _base_number(b):
        return None
    catalog = Catalog(connection)
    base = catalog.version(a["model"], _base_number(a))
    if not profile.is_large(base) or not _has_columns_of(base, a, b):
        return None
    if not catalog.one("comparison_rights")["granted"]:
        return None
    for version in (a, b):
        if version["rows_stored"] is None:
            return None
        _require_delta(connection, version)
        if may_be_edited(catalog, version):
            return None
    return SharedBase(base, a, b)


def _base_number(version: Version) -> int:
    return version["base_version"] or version["rows_version"]


def _has_columns_of(base: Version, a: Version, b: Version) -> bool:
    return all(
        [(column["name"], column["type"]) for column in version[part]]
        == [(column["name"], column["type"]) for column in base[part]]
        for version in (a, b)
        for part in ("key_columns", "output_columns")
    )


def _require_delta(connection: Connection, version: Version) -> None:
    """Raise DatabaseRefused unless a delta has as many rows as the catalog says."""
    table = delta(version)
    if table is None:
        return
    (row,) = connection.execute(query("comparison_count", relation=table)).fetchall()
    if row["rows"] != version["rows_stored"]:
        raise missing_rows(version, None)
