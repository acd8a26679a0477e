"""The table of a version's own rows: created empty, given its key and indexes when complete, never changed then."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from prescore.catalog.catalog import Catalog, Column, Version
from prescore.catalog.columns import column_definitions, identifiers
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.errors import Mistake


def require_types(connection: Connection, columns: Sequence[Column]) -> None:
    """Raise Mistake for a column whose type this database does not have: `vector`, without the extension pgvector."""
    vectors = [column["name"] for column in columns if column["type"] == "vector"]
    if not vectors:
        return
    row = Catalog(connection).one("tables_vector")
    if row["usable"]:
        return
    subject = f"outputs.{vectors[0]} has the type vector, which the database does not have:"
    if row["schema"] is not None:
        raise Mistake(
            f"{subject} pgvector is installed in the schema {row['schema']}, where this role does not look for types. "
            f"Add {row['schema']} to the role's search_path, or store real[] instead."
        )
    if row["available"]:
        raise Mistake(
            f"{subject} the extension pgvector is not installed in it. Run `create extension vector` in this database "
            "as a superuser, or store real[] instead."
        )
    raise Mistake(
        f"{subject} its server does not have the extension pgvector. Install pgvector on the server, and run `create "
        "extension vector` in this database, or store real[] instead."
    )


def create(connection: Connection, version: Version) -> None:
    """Create the version's empty table."""
    definitions = column_definitions(columns(version), not_null=key_names(version))
    statement = query(
        "tables_create",
        table=identifier(version),
        columns=definitions,
        version=sql.Literal(version["version"]),
    )
    connection.execute(statement)


def index(connection: Connection, version: Version, indexes: Sequence[Sequence[str]]) -> None:
    """Create the primary key and the indexes, all or none.

    A run that resumes after a crash takes the key as proof of the rest. Raises psycopg's UniqueViolation for
    duplicate keys, LockNotAvailable when another session holds a lock, ProgramLimitExceeded for too long a value.
    """
    table = identifier(version)
    key = identifiers(key_names(version))
    with connection.transaction():
        connection.execute(query("tables_memory"))
        connection.execute(query("tables_key", table=table, keys=key))
        for names in indexes:
            statement = query("tables_index", table=table, columns=identifiers(names))
            connection.execute(statement)


def has_key(connection: Connection, version: Version) -> bool:
    """Return whether the table has its primary key."""
    row = Catalog(connection).one("tables_has_key", table=version["rows_table"])
    return bool(row["has_key"])


def drop(connection: Connection, version: Version) -> None:
    """Drop the version's table and view, if they are there. Rows that belong to an earlier version stay."""
    if is_view(version):
        connection.execute(query("deltas_drop_view", view=whole(version)))
    if owns_rows(version):
        connection.execute(query("tables_drop", table=identifier(version)))


def identifier(version: Version) -> sql.Identifier:
    """Return the name of the table with the version's own rows for `prescore_versions.{table}` in a statement."""
    return sql.Identifier(version["rows_table"])


def whole(version: Version) -> sql.Identifier:
    """Return the name of the whole version, a table or a view, for `prescore_versions.{table}` in a statement."""
    return sql.Identifier(version["table_name"])


def is_view(version: Version) -> bool:
    """Return whether the whole version is a view: of a delta and its base, or of an earlier version."""
    return version["rows_table"] != version["table_name"]


def owns_rows(version: Version) -> bool:
    """Return whether the rows belong to the version itself, and not to an earlier one that had the same."""
    return version["rows_version"] == version["version"]


def columns(version: Version) -> list[Column]:
    """Return the table's columns but for `version`: those of the key, then the others."""
    return [*version["key_columns"], *version["output_columns"]]


def key_names(version: Version) -> list[str]:
    """Return the names of the key's columns."""
    return [column["name"] for column in version["key_columns"]]


def column_names(version: Version) -> list[str]:
    """Return the names of the table's columns but for `version`, in order."""
    return [column["name"] for column in columns(version)]
