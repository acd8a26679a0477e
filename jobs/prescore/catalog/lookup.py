"""Answers by key: the one statement that gives them, and the shape in which every edge gives them on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString, TypedDict

from psycopg import Cursor, DataError, ProgrammingError, RawCursor, sql
from psycopg.rows import tuple_row

from prescore import errors
from prescore.catalog import keys
from prescore.catalog.catalog import Catalog, Column
from prescore.catalog.database import Connection
from prescore.catalog.datetimes import is_out_of_range, load_out_of_range_as_text
from prescore.catalog.queries import query
from prescore.catalog.types import TYPES

Row = tuple[Any, ...]
"""Of a statement: the version that it is from, true or null for whether the key is there, and the outputs."""


class VersionRow(TypedDict):
    """What `lookup_published` and `lookup_version` tell of a version, by the database's clock `now`."""

    now: datetime
    model: str
    description: str
    held: bool
    version: int
    state: str
    table_name: str
    rows: int
    key_columns: list[Column]
    output_columns: list[Column]
    data_as_of: datetime
    published_at: datetime | None
    max_age_seconds: float | None
    refuse_stale: bool
    cache_seconds: float
    in_memory: bool


def look_up(catalog: Catalog, model: str, values: Sequence[str]) -> dict[str, Any]:
    """The answer to one key, given as text in key order; raises NotFound or KeyInvalid."""
    known: int | None = None
    while True:
        published: VersionRow | None = catalog.one("lookup_published", model=model)
        if published is None:
            raise errors.NotFound(f"No model {model!r} is published here. `prescore status` lists those that are.")
        key, outputs = published["key_columns"], published["output_columns"]
        parsed = _in_order(model, key, values)
        try:
            rows = _rows(
                catalog.connection, published_statement(model, key, outputs), parameters([[v] for v in parsed.values()])
            )
        except (ProgrammingError, DataError):  # what is asked for columns that the view has no more
            if known == published["version"]:
                raise
            known = published["version"]
            continue
        if rows[0][0] == published["version"]:
            return _answer(published, parsed, rows[0])


def _rows(connection: Connection, asked: sql.Composed, values: Sequence[Any]) -> list[Row]:
    cursor: Cursor[Row] = RawCursor(connection, row_factory=tuple_row)
    try:
        return cursor.execute(asked, values).fetchall()
    except DataError as error:
        if not is_out_of_range(error):
            raise
    load_out_of_range_as_text(cursor.adapters)
    return cursor.execute(asked, values).fetchall()


def _in_order(model: str, key: Sequence[Column], values: Sequence[str]) -> dict[str, Any]:
    names = [column["name"] for column in key]
    if len(values) != len(names):
        raise errors.KeyInvalid(f"The key of {model} is {' '.join(names)}; given: {' '.join(values)}.")
    return keys.parse(key, dict(zip(names, values, strict=True)))


def published_statement(model: str, key: Sequence[Column], outputs: Sequence[Column]) -> sql.Composed:
    """The lookup of any number of keys in what is published, for a raw cursor: see `parameters`.

    Whoever knew another version when asking must ask again with the columns of the one that the rows are from. It may
    have other columns; and Postgres plans a statement before it takes its snapshot, so that one which meets a
    publication half-way can point at a version whose partition is not in its plan, and find nothing. Outputs are cast
    to the types that they are said to have: a prepared statement must not change its types when those of the view do.
    """
    version = query("lookup_visible", model=sql.Literal(model))
    return _statement(version, sql.Identifier("predictions", model), key, outputs)


def version_statement(version: int, table: str, key: Sequence[Column], outputs: Sequence[Column]) -> sql.Composed:
    """The same in one version's own table, whether it is published or not."""
    return _statement(sql.Literal(version), sql.Identifier("prescore_versions", table), key, outputs)


def _statement(
    version: sql.Composable, relation: sql.Identifier, key: Sequence[Column], outputs: Sequence[Column]
) -> sql.Composed:
    asked, given = _numbered("key", key), _numbered("output", outputs)
    return query(
        "lookup_keys",
        version=version,
        relation=relation,
        key_arrays=_listed("{}::{}", [sql.SQL(f"${i + 1}") for i in range(len(key))], _arrays(key)),
        key_names=_listed("{}", asked),
        key_matches=_listed("{} = k.{}", _columns(key), asked, between=" and "),
        columns=_listed("{}::{} as {}", _columns(outputs), [TYPES[column["type"]].sql for column in outputs], given),
        outputs=_listed("p.{}", given),
    )


def parameters(columns: Iterable[Sequence[Any]]) -> list[Any]:
    """What a statement takes, from parsed keys: a column of values for each of the key's columns, in key order."""
    return [_array(values) for values in columns]


def _array(values: Sequence[Any]) -> Any:
    """As Postgres writes an array, where that is simple: psycopg looks at each value for what has to be quoted."""
    if values and type(values[0]) is int:
        return f"{{{','.join(map(str, values))}}}"
    return list(values)


def age_seconds(published: VersionRow) -> float:
    """How old the inputs were when the version was looked up."""
    return (published["now"] - published["data_as_of"]).total_seconds()


def is_stale(age: float, max_age: float | None) -> bool:
    """Whether an age, in seconds, is beyond what was promised."""
    return max_age is not None and age > max_age


def _answer(published: VersionRow, key: Mapping[str, Any], row: Row) -> dict[str, Any]:
    names, age = [column["name"] for column in published["output_columns"]], age_seconds(published)
    return {
        "model": published["model"],
        "version": published["version"],
        "key": dict(key),
        "found": bool(row[1]),
        "prediction": dict(zip(names, row[2:], strict=True)) if row[1] else None,
        "data_as_of": published["data_as_of"],
        "published_at": published["published_at"],
        "age_seconds": age,
        "stale": is_stale(age, published["max_age_seconds"]),
    }


def _listed(template: LiteralString, *parts: Iterable[sql.Composable], between: LiteralString = ", ") -> sql.Composed:
    return sql.SQL(between).join(sql.SQL(template).format(*row) for row in zip(*parts, strict=True))


def _numbered(word: str, columns: Sequence[Column]) -> list[sql.Composable]:
    return [sql.Identifier(f"{word}{i}") for i in range(len(columns))]


def _arrays(columns: Sequence[Column]) -> list[sql.Composable]:
    return [TYPES[column["type"]].array for column in columns]


def _columns(columns: Sequence[Column]) -> list[sql.Composable]:
    return [sql.Identifier("v", column["name"]) for column in columns]
