"""The table of one version: created empty, given its key and indexes when complete, never changed afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.columns import column_definitions, identifiers
from prescore.catalog.database import Connection
from prescore.catalog.queries import query


def create(connection: Connection, version: Version) -> None:
    """Create the version's empty table."""
    keys = [column["name"] for column in version["key_columns"]]
    columns = column_definitions([*version["key_columns"], *version["output_columns"]], not_null=keys)
    number = sql.Literal(version["version"])
    statement = query("tables_create", table=identifier(version), columns=columns, version=number)
    connection.execute(statement)


def index(connection: Connection, version: Version, indexes: Sequence[Sequence[str]]) -> None:
    """Create the primary key and the indexes, all or none.

    A run that resumes after a crash takes the key as proof of the rest. Raises psycopg's UniqueViolation for
    duplicate keys, LockNotAvailable when another session holds a lock, ProgramLimitExceeded for too long a value.
    """
    table = identifier(version)
    keys = [column["name"] for column in version["key_columns"]]
    with connection.transaction():
        connection.execute(query("tables_memory"))
        connection.execute(query("tables_key", table=table, keys=identifiers(keys)))
        for columns in indexes:
            connection.execute(query("tables_index", table=table, columns=identifiers(columns)))


def has_key(connection: Connection, version: Version) -> bool:
    """Return whether the table has its primary key."""
    return bool(Catalog(connection).one("tables_has_key", table=version["table_name"])["has_key"])


def identifier(version: Version) -> sql.Identifier:
    """Return the table's name for `prescore_versions.{table}` in a statement."""
    return sql.Identifier(version["table_name"])
