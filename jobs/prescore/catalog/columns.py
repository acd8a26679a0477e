"""Columns as SQL: lists of identifiers, and the column definitions of CREATE and ALTER TABLE."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from psycopg import sql

from prescore.catalog.catalog import Column
from prescore.catalog.types import TYPES


def identifiers(columns: Iterable[str], table: str | None = None) -> sql.Composed:
    """Return column names as a comma-separated list of identifiers, qualified with `table` when given."""
    qualifiers = () if table is None else (table,)
    return sql.SQL(", ").join(sql.Identifier(*qualifiers, column) for column in columns)


def copy_columns(columns: Iterable[Column]) -> sql.Composed:
    """Return the columns of a COPY in CSV. Arrays become JSON, which is easier to parse than Postgres' own text."""
    return sql.SQL(", ").join(map(_copy_column, columns))


def _copy_column(column: Column) -> sql.Composable:
    name = sql.Identifier(column["name"])
    column_type = TYPES[column["type"]]
    if not column_type.is_array:
        return name
    return sql.SQL("array_to_json({}::{})").format(name, column_type.readable)


def column_definition(column: Column, *, not_null: bool = False) -> sql.Composed:
    """Return the definition of one column for CREATE TABLE or ALTER TABLE."""
    constraint = sql.SQL(" not null") if not_null else sql.SQL("")
    name = sql.Identifier(column["name"])
    column_type = TYPES[column["type"]]
    return sql.SQL("{} {}{}").format(name, column_type.sql, constraint)


def column_definitions(columns: Sequence[Column], not_null: Collection[str] = ()) -> sql.Composed:
    """Return the column list of a CREATE TABLE; the columns named in `not_null` get that constraint."""
    definitions = [column_definition(column, not_null=column["name"] in not_null) for column in columns]
    return sql.SQL(",\n  ").join(definitions)
