"""Changes by hand to the tables of a version, which nothing changes once it is complete."""

from __future__ import annotations

from psycopg import sql

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.queries import query


def may_be_edited(catalog: Catalog, version: Version, *, count_rows: bool = False) -> bool:
    """Return whether a table of a version was changed by hand since it was complete, or may have been.

    By the server's statistics, which count changes that were rolled back, too. They are late by seconds, and lost in a
    crash or a failover. The rows are counted if they do not add up, or with `count_rows`, in any case. That finds
    inserts and deletes, also recent ones, but no update that the statistics do not have yet, or have lost.
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
        if count_rows_of(catalog, table["name"]) != table["rows"]:
            return True
    return False


def warnings(catalog: Catalog, version: Version) -> tuple[str, ...]:
    """Return a sentence if a version that is served may not have the rows that it was made with; nothing is refused."""
    if not may_be_edited(catalog, version):
        return ()
    model, number = version["model"], version["version"]
    sentence = (
        f"a table of version {number} was changed by hand, or an update of it was rolled back, so that it may not "
        f"serve what the model predicted. `prescore verify {model} {number}` shows what differs."
    )
    return (sentence,)


def count_rows_of(catalog: Catalog, table: str) -> int:
    """Return the number of rows of a table of a version."""
    statement = query("deltas_count", table=sql.Identifier(table))
    (row,) = catalog.connection.execute(statement).fetchall()
    return int(row["rows"])
