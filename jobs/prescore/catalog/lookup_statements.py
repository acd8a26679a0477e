"""The statements that look keys up in a version and read its rows in order, for the command line and the lookup API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from psycopg import sql

from prescore.catalog.catalog import Column
from prescore.catalog.queries import query
from prescore.catalog.types import TYPES
from prescore.catalog.version_row import VersionRow, is_delta


def published_statement(row: VersionRow) -> sql.Composed:
    """Return the statement that looks up any number of keys in a version as long as it is published.

    It is for a raw cursor, takes `parameters` and returns `Row`s. Outputs are cast to their types in the catalog,
    because the result types of a prepared statement must not change when a table is replaced. It reads the version's
    own tables, which takes half of the time of the model's view, and for a delta much less: a join with the view reads
    all of the base. Only where a role may not read the tables, or policies apply to it, does it read the view.

    Callers must verify with `is_from` that the version is still the one that readers see. Otherwise, they must start
    over with the new version, which may have other columns. The statement fails if the tables were dropped meanwhile.
    """
    if not row["is_readable"]:
        return _full_statement(row, _visible(row), sql.Identifier("predictions", row["model"]), sql.SQL("false"))
    names = [sql.Identifier("prescore_versions", table["name"]).as_string() for table in row["stored"]]
    is_detached = query(
        "lookup_detached",
        tables=sql.SQL(", ").join([sql.SQL("{}::regclass").format(sql.Literal(name)) for name in names]),
        number=sql.Literal(len(names)),
    )
    return _keys_statement(row, _visible(row), is_detached)


def version_statement(row: VersionRow) -> sql.Composed:
    """Return the statement that looks keys up in one version, whether it is published or not."""
    return _keys_statement(row, _numbered(row), sql.SQL("false"))


def shown_statement(row: VersionRow) -> sql.Composed:
    """Return the statement that looks one key up in the model's view, where a role may have no other rights.

    Callers must verify with `is_from` that the row is from the version whose columns they used. Besides, Postgres plans
    a statement before it takes its snapshot, so a statement that overlaps a publication may find nothing: the new
    partition is missing from its plan.
    """
    key, outputs = row["key_columns"], row["output_columns"]
    aliases = _aliases("output", outputs)
    return query(
        "lookup_shown",
        version=_visible(row),
        model=sql.Identifier(row["model"]),
        key_matches=_join("{} = ({})[1]", _qualified(key), _key_arrays(key), separator=" and "),
        columns=_join("{}::{} as {}", _qualified(outputs), _types(outputs), aliases),
        outputs=_join("p.{}", aliases),
    )


def page_statement(row: VersionRow, *, has_start: bool) -> sql.Composed:
    """Return the statement that reads a version's rows in the order of the key, a limited number of them.

    It is for a raw cursor. With `has_start`, its first parameters are a key, as text, and it reads the rows after that
    key. The last parameter is the limit. It returns the version's id, the key columns and the outputs. The id is null
    if a delta or its base has lost all rows.
    """
    key, outputs = row["key_columns"], row["output_columns"]
    placeholders = [sql.SQL(f"${number}") for number in range(1, 1 + len(key))]
    start = _join("{}::{}", placeholders, _types(key))
    ordered = sql.SQL(", ").join(_qualified(key))
    names = _tables(row)
    parts = {
        "version": _numbered(row),
        "columns": _join("{}::{}", _qualified([*key, *outputs]), _types([*key, *outputs])),
        "start": sql.SQL("({}) > ({})").format(ordered, start) if has_start else sql.SQL("true"),
        "key": ordered,
        "limit": sql.SQL(f"${1 + len(key)}" if has_start else "$1"),
    }
    if not is_delta(row):
        return query("lookup_page", table=names[0], **parts)
    own = [sql.Identifier("d", column["name"]) for column in key]
    return query(
        "lookup_delta_page",
        delta=names[0],
        table=names[1],
        names=sql.SQL(", ").join(_qualified([*key, *outputs])),
        same_key=_join("{} = {}", own, _qualified(key), separator=" and "),
        **parts,
    )


def count_statement(version: VersionRow) -> sql.Composed:
    """Return the statement that counts the rows in a version's tables."""
    counts = [query("lookup_count_table", table=sql.Identifier(table["name"])) for table in version["stored"]]
    return query("lookup_count", counts=sql.SQL(" + ").join(counts))


def parameters(columns: Iterable[Sequence[Any]]) -> list[Any]:
    """Return the parameters of a lookup statement for parsed keys: an array of values for each column, in key order."""
    return [_array(values) for values in columns]


def _keys_statement(row: VersionRow, version: sql.Composed, is_detached: sql.Composable) -> sql.Composed:
    if not is_delta(row):
        relation = sql.Identifier("prescore_versions", row["stored"][0]["name"])
        return _full_statement(row, version, relation, is_detached)
    delta, base = _tables(row)
    aliases = _aliases("output", row["output_columns"])
    return query(
        "lookup_delta_keys",
        version=version,
        is_detached=is_detached,
        delta=delta,
        table=base,
        outputs=_join("case when d.version is null then b.{} else d.{} end", aliases, aliases),
        **_parts(row),
    )


def _full_statement(
    row: VersionRow, version: sql.Composed, relation: sql.Identifier, is_detached: sql.Composable
) -> sql.Composed:
    return query(
        "lookup_keys",
        version=version,
        is_detached=is_detached,
        relation=relation,
        outputs=_join("p.{}", _aliases("output", row["output_columns"])),
        **_parts(row),
    )


def _parts(row: VersionRow) -> dict[str, sql.Composed]:
    """Return the parts of a statement that depend only on the version's columns."""
    key, outputs = row["key_columns"], row["output_columns"]
    key_aliases = _aliases("key", key)
    return {
        "key_arrays": _join("{}", _key_arrays(key)),
        "key_names": _join("{}", key_aliases),
        "key_matches": _join("{} = k.{}", _qualified(key), key_aliases, separator=" and "),
        "columns": _join("{}::{} as {}", _qualified(outputs), _types(outputs), _aliases("output", outputs)),
    }


def _visible(row: VersionRow) -> sql.Composed:
    return query("lookup_visible", model=sql.Literal(row["model"]))


def _numbered(row: VersionRow) -> sql.Composed:
    return query("lookup_numbered", model=sql.Literal(row["model"]), version=sql.Literal(row["version"]))


def _tables(row: VersionRow) -> list[sql.Identifier]:
    return [sql.Identifier(table["name"]) for table in row["stored"]]


def _key_arrays(key: Sequence[Column]) -> list[sql.Composed]:
    """Return the parameters of a statement, $1, $2, …, with their types: an array for each key column."""
    arrays = [TYPES[column["type"]].array for column in key]
    return [sql.SQL(f"${number}::{{}}").format(array) for number, array in enumerate(arrays, 1)]


def _array(values: Sequence[Any]) -> Any:
    # Psycopg checks each value of a list for characters to quote. Integers have none, so writing the array literal here
    # is faster.
    if values and type(values[0]) is int:
        return f"{{{','.join(map(str, values))}}}"
    return list(values)


def _join(template: LiteralString, *parts: Iterable[sql.Composable], separator: LiteralString = ", ") -> sql.Composed:
    items = [sql.SQL(template).format(*row) for row in zip(*parts, strict=True)]
    return sql.SQL(separator).join(items)


def _aliases(prefix: str, columns: Sequence[Column]) -> list[sql.Identifier]:
    return [sql.Identifier(f"{prefix}{i}") for i in range(len(columns))]


def _types(columns: Sequence[Column]) -> list[sql.SQL]:
    return [TYPES[column["type"]].readable for column in columns]


def _qualified(columns: Sequence[Column]) -> list[sql.Identifier]:
    return [sql.Identifier("v", column["name"]) for column in columns]
