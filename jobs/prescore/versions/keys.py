"""The check of a version's keys: unique, and none is null."""

from __future__ import annotations

from psycopg import sql

from prescore.catalog.catalog import CheckResult, Version
from prescore.catalog.columns import identifiers
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.versions import table

_UNIQUE = "unique and not null"


def check(connection: Connection, version: Version) -> CheckResult:
    """Check that keys are unique and not null, which the primary key proves. Without one, show duplicates."""
    result: CheckResult = {
        "name": "keys",
        "passed": True,
        "observed": _UNIQUE,
        "expected": _UNIQUE,
    }
    if table.has_key(connection, version):
        return result
    examples = ", ".join(_duplicate_keys(connection, version))
    return {
        **result,
        "passed": False,
        "observed": f"duplicate keys: {examples}",
    }


def _duplicate_keys(connection: Connection, version: Version) -> list[str]:
    """Return a few duplicate keys, each with its number of rows."""
    keys = [column["name"] for column in version["key_columns"]]
    cast = sql.SQL("{}::text")
    as_text = [cast.format(sql.Identifier(key)) for key in keys]
    statement = query(
        "tables_duplicates",
        table=table.identifier(version),
        keys=identifiers(keys),
        texts=sql.SQL(", ").join(as_text),
    )
    examples = []
    for row in connection.execute(statement):
        key = ", ".join(row["key"])
        examples.append(f"({key}) {row['times']} times")
    return examples
