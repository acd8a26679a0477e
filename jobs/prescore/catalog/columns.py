"""Columns as SQL: the one place where names and types of the catalog become DDL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from psycopg import sql

from prescore.catalog.catalog import Column

# Fixed spellings, so that a type enters a statement as a literal of ours, never as text from a spec or a table.
TYPES = {
    "smallint": sql.SQL("smallint"),
    "integer": sql.SQL("integer"),
    "bigint": sql.SQL("bigint"),
    "real": sql.SQL("real"),
    "double precision": sql.SQL("double precision"),
    "boolean": sql.SQL("boolean"),
    "text": sql.SQL("text"),
    "uuid": sql.SQL("uuid"),
    "date": sql.SQL("date"),
    "timestamp": sql.SQL("timestamp"),
    "timestamptz": sql.SQL("timestamptz"),
}


def names(columns: Iterable[str], table: str | None = None) -> sql.Composed:
    """Identifiers with commas between them, qualified if asked."""
    return sql.SQL(", ").join(sql.Identifier(*((table,) if table else ()), column) for column in columns)


def definition(column: Column, *, not_null: bool = False) -> sql.Composed:
    """One column of a CREATE or ALTER TABLE."""
    end = sql.SQL(" not null") if not_null else sql.SQL("")
    return sql.SQL("{} {}{}").format(sql.Identifier(column["name"]), TYPES[column["type"]], end)


def definitions(columns: Sequence[Column], not_null: Collection[str] = ()) -> sql.Composed:
    """The columns of a CREATE TABLE."""
    return sql.SQL(",\n  ").join(definition(column, not_null=column["name"] in not_null) for column in columns)
