"""Answers by key: the one statement that gives them, and the shape in which every edge gives them on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

from psycopg import DataError, ProgrammingError, sql
from psycopg.rows import DictRow

from prescore.contract import errors, keys
from prescore.contract.catalog import Catalog, Column
from prescore.contract.database import Connection
from prescore.contract.moments import beyond_python, pass_as_text
from prescore.contract.queries import query
from prescore.contract.tables import TYPES

# Fixed spellings, so that a column's type enters the statement as a literal of ours.
_ARRAYS = {
    "smallint": sql.SQL("smallint[]"),
    "integer": sql.SQL("integer[]"),
    "bigint": sql.SQL("bigint[]"),
    "text": sql.SQL("text[]"),
    "uuid": sql.SQL("uuid[]"),
    "date": sql.SQL("date[]"),
    "timestamp": sql.SQL("timestamp[]"),
    "timestamptz": sql.SQL("timestamptz[]"),
}


def one(catalog: Catalog, model: str, values: Sequence[str]) -> dict[str, Any]:
    """The answer to one key, given as text in key order; raises Unknown or KeyInvalid."""
    while True:
        described = catalog.one("lookup_described", model=model)
        if described is None:
            raise errors.Unknown(f"No model {model!r} is published here. `prescore status` lists those that are.")
        key, outputs = described["key_columns"], described["output_columns"]
        parsed = [_in_order(model, key, values)]
        try:
            rows = _rows(catalog.connection, statement(model, key, outputs), parameters(model, key, parsed))
        except (ProgrammingError, DataError):  # what is asked for columns that the view has no more
            now = catalog.one("lookup_columns", model=model, version=None)
            if now is None or now["version"] == described["version"]:
                raise
            continue
        if settled(rows, described["version"]):
            return answers(model, outputs, parsed, rows)[0]


def _rows(connection: Connection, asked: sql.Composed, values: Mapping[str, Any]) -> list[DictRow]:
    cursor = connection.cursor()
    try:
        return cursor.execute(asked, values).fetchall()
    except DataError as error:
        if not beyond_python(error):
            raise
    pass_as_text(cursor.adapters)
    return cursor.execute(asked, values).fetchall()


def settled(rows: Sequence[Mapping[str, Any]], version: int) -> bool:
    """Whether the rows are of the version that was known when they were asked for; if not, ask again with its columns.

    It may have other columns; and Postgres plans a statement before it takes its snapshot, so that one which meets a
    publication half-way can point at a version whose partition is not in its plan, and find nothing.
    """
    return bool(rows) and rows[0]["version"] == version


def _in_order(model: str, key: Sequence[Column], values: Sequence[str]) -> dict[str, Any]:
    names = [column["name"] for column in key]
    if len(values) != len(names):
        raise errors.KeyInvalid(f"The key of {model} is {' '.join(names)}; given: {' '.join(values)}.")
    return keys.parse(key, dict(zip(names, values, strict=True)))


def statement(model: str, key: Sequence[Column], outputs: Sequence[Column]) -> sql.Composed:
    """The lookup of any number of keys: parameters are `model` and one array a key column, named `key0`, `key1`, ….

    Rows come in the order of the keys; `position` is null when no key was asked for. Outputs are cast to the types that
    they are said to have: a prepared statement must not change its types when those of the view change.
    """
    asked, given = _numbered("key", key), _numbered("output", outputs)
    return query(
        "lookup_keys",
        model=sql.Identifier(model),
        key_arrays=_listed("{}::{}", [sql.Placeholder(f"key{i}") for i in range(len(key))], _arrays(key)),
        key_names=_listed("{}", asked),
        key_matches=_listed("{} = k.{}", _columns(key), asked, between=" and "),
        columns=_listed("{}::{} as {}", _columns(outputs), [TYPES[column["type"]] for column in outputs], given),
        outputs=_listed("p.{}", given),
    )


def parameters(model: str, key: Sequence[Column], parsed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What `statement` takes, from parsed keys."""
    return {"model": model} | {f"key{i}": [one[c["name"]] for one in parsed] for i, c in enumerate(key)}


def answers(
    model: str, outputs: Sequence[Column], parsed: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One answer a key, in the keys' order, each with the clocks of the one version that all of them are from."""
    return [_answer(model, outputs, parsed[row["position"] - 1], row) for row in rows if row["position"] is not None]


def _answer(model: str, outputs: Sequence[Column], key: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    prediction = {column["name"]: row[f"output{i}"] for i, column in enumerate(outputs)} if row["found"] else None
    return {
        "model": model,
        "version": row["version"],
        "key": dict(key),
        "found": bool(row["found"]),
        "prediction": prediction,
        "data_as_of": row["data_as_of"],
        "published_at": row["published_at"],
        "age_seconds": row["age_seconds"],
        "stale": row["stale"],
    }


def _listed(template: LiteralString, *parts: Iterable[sql.Composable], between: LiteralString = ", ") -> sql.Composed:
    return sql.SQL(between).join(sql.SQL(template).format(*row) for row in zip(*parts, strict=True))


def _numbered(word: str, columns: Sequence[Column]) -> list[sql.Composable]:
    return [sql.Identifier(f"{word}{i}") for i in range(len(columns))]


def _arrays(columns: Sequence[Column]) -> list[sql.Composable]:
    return [_ARRAYS[column["type"]] for column in columns]


def _columns(columns: Sequence[Column]) -> list[sql.Composable]:
    """Columns of the view. psycopg reads a percent sign in a statement with parameters as the mark of one."""
    return [sql.Identifier("v", column["name"].replace("%", "%%")) for column in columns]
