"""Changes by hand to the tables of a version, which nothing changes once it is complete."""

from __future__ import annotations

from psycopg import sql

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.queries import query


def may_be_edited(catalog: Catalog, version: Version, *, count_rows: bool = False) -> bool:
    """Return whether a table of a version was changed by hand since it was complete, or may have been.

    By the server's statistics, which count changes that were rolled back, too. They are late by seconds, and lost in a
    crash or a failover. The rows are counted if they do not add up, or with `count_rows`, in any case.
    """
    which = {"model": version["model"], "version": version["version"]}
    if catalog.one("versions_table_fault", **which)["fault"] is not None:
        return True
    for table in catalog.all("versions_edits", **which):
        if table["edited"]:
            return True
        # An interrupted run has inserted rows that were rolled back.
        if table["is_accounted"] and not count_rows:
            continue
        if _count(catalog, table["name"]) != table["rows"]:
            return True
    return False


def _count(catalog: Catalog, table: str) -> int:
    statement = query("deltas_count", table=sql.Identifier(table))
    (row,) = catalog.connection.execute(statement).fetchall()
    return int(row["rows"])
