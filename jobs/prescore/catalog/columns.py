"""Columns as SQL: the one place where names and types of the catalog become DDL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from psycopg import sql

from prescore.catalog.catalog import Column
from prescore.catalog.types import TYPES


def identifiers(columns: Iterable[str], table: str | None = None) -> sql.Composed:
    """Identifiers with commas between them, qualified if asked."""
    return sql.SQL(", ").join(sql.Identifier(*((table,) if table else ()), column) for column in columns)


def column_definition(column: Column, *, not_null: bool = False) -> sql.Composed:
    """One column of a CREATE or ALTER TABLE."""
    end = sql.SQL(" not null") if not_null else sql.SQL("")
    return sql.SQL("{} {}{}").format(sql.Identifier(column["name"]), TYPES[column["type"]].sql, end)


def column_definitions(columns: Sequence[Column], not_null: Collection[str] = ()) -> sql.Composed:
    """The columns of a CREATE TABLE."""
    return sql.SQL(",\n  ").join(column_definition(column, not_null=column["name"] in not_null) for column in columns)
