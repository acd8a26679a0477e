"""Lookups by key: the statement that the command line and the lookup API share, and the shape of an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, LiteralString, TypedDict

from psycopg import Cursor, DataError, ProgrammingError, RawCursor, sql
from psycopg.errors import UntranslatableCharacter
from psycopg.rows import tuple_row

from prescore import errors
from prescore.catalog import keys
from prescore.catalog.catalog import Catalog, Column, Version
from prescore.catalog.database import Connection
from prescore.catalog.datetimes import is_out_of_range, load_out_of_range_as_text
from prescore.catalog.queries import query
from prescore.catalog.types import TYPES
from prescore.wording import did_you_mean

Row = tuple[Any, ...]
"""A row of a lookup: the id of the version that answered, whether the key exists, then the outputs.

Whether the key exists is None if the statement could not read a single row of the version.
"""


class UnspellableKey(DataError):
    """A key has a character that the database's encoding does not have, so no row has it."""


class VersionRow(TypedDict):
    """A row of `lookup_published` or `lookup_version`: a version as readers need it, at the time `now`."""

    now: datetime
    model: str
    description: str
    held: bool
    version: int
    id: str
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
    live: bool
    live_cache_seconds: float
    model_fingerprint: str | None
    rows_version: int
    rows_table: str
    base_version: int | None
    base_table: str | None
    tombstones: bool
    canary_version: int | None
    canary_share: float | None
    changes: int
    is_attached: bool


def look_up(catalog: Catalog, model: str, values: Sequence[str]) -> dict[str, Any]:
    """Return the answer to one key, given as text in key order; raise NotFound or KeyInvalid."""
    failed_version: int | None = None
    while True:
        published: VersionRow | None = catalog.one("lookup_published", model=model)
        if published is None:
            known = [row["model"] for row in catalog.all("models_names")]
            raise errors.NotFound(
                f"Model {model!r} is not published here.{did_you_mean(model, known)} `prescore status` lists published "
                "models."
            )
        key = _parse_key(published, values)
        statement = published_statement(model, published["key_columns"], published["output_columns"])
        try:
            rows = _fetch(catalog.connection, statement, parameters([[value] for value in key.values()]))
        except UnspellableKey:
            rows = [missing(published)]
        except (ProgrammingError, DataError):
            # A publication may have removed columns from the view since the version was read. Try again with the new
            # version; a second failure on the same version has another cause.
            if failed_version == published["version"]:
                raise
            failed_version = published["version"]
            continue
        if is_from(published, rows):
            if is_doubtful(published, rows):
                count = catalog.connection.execute(count_statement(published)).fetchone()
                require_count(published, count["rows"] if count else 0)
            tombstone = None
            if published["tombstones"] and not rows[0][1]:
                tombstone = _tombstone(catalog, published, key)
            return _answer(published, key, rows[0], tombstone)


def is_from(version: VersionRow, rows: Sequence[Row]) -> bool:
    """Return whether rows are from a version, and not from another one that has been published by now.

    Raises DatabaseRefused if no row of the version could be read, although it has some: a key that is missing from the
    answer may exist.
    """
    for version_id, found in {row[:2] for row in rows}:
        if version_id != version["id"]:
            return False
        if found is None and version["rows"]:
            raise missing_rows(version)
    return True


def is_doubtful(version: VersionRow, rows: Sequence[Row]) -> bool:
    """Return whether a key is missing from rows of a version whose table may have been changed by hand.

    Callers must then count the table's rows.
    """
    return bool(version["changes"]) and not all(row[1] for row in rows)


def count_statement(version: VersionRow) -> sql.Composed:
    """Return the statement that counts the rows of a version's own table."""
    return query("lookup_count", table=sql.Identifier(version["table_name"]))


def require_count(version: VersionRow | Version, rows: int) -> None:
    """Raise DatabaseRefused unless a version's table has as many rows as the catalog says, if it does."""
    if version["rows"] is not None and version["rows"] != rows:
        raise missing_rows(version, rows)


def missing(version: VersionRow) -> Row:
    """Return the row of a key that a version does not have."""
    return version["id"], False, *(None for _ in version["output_columns"])


def raise_unspellable(error: DataError) -> None:
    """Raise UnspellableKey for an error that is due to a key, and not to a value that cannot be read in UTF8."""
    # Postgres names the encoding first that it converts from.
    if isinstance(error, UntranslatableCharacter) and re.search('"UTF8".*"', str(error)):
        raise UnspellableKey(str(error)) from error


def missing_rows(version: VersionRow | Version, rows: int = 0) -> errors.DatabaseRefused:
    """Return the error for a version of which other than all `rows` rows could be read."""
    return errors.DatabaseRefused(
        f"{version['model']} version {version['version']} has {version['rows']:,} rows according to the catalog, and "
        f"{rows:,} can be read from prescore_versions.{version['table_name']}. Was the table truncated, detached or "
        f"changed by hand? `prescore run {version['model']} --full` makes a new version, and `prescore rollback "
        f"{version['model']}` goes back to an earlier one."
    )


def published_statement(model: str, key: Sequence[Column], outputs: Sequence[Column]) -> sql.Composed:
    """Return the statement that looks up any number of keys in the published version.

    It is for a raw cursor, takes `parameters` and returns `Row`s. Outputs are cast to their types in the catalog,
    because the result types of a prepared statement must not change when the view changes.

    Callers must verify with `is_from` that the rows are from the version whose columns they used. Otherwise, callers
    must start over with the columns of the new version. It may have other columns. Besides, Postgres plans a statement
    before it takes its snapshot, so a statement that overlaps a publication may find nothing: the new partition is
    missing from its plan.
    """
    version = query("lookup_visible", model=sql.Literal(model))
    return _statement(version, sql.Identifier("predictions", model), key, outputs)


def version_statement(row: VersionRow) -> sql.Composed:
    """Return the statement that looks keys up in one version's own table, whether it is published or not."""
    version = query("lookup_numbered", model=sql.Literal(row["model"]), version=sql.Literal(row["version"]))
    relation = sql.Identifier("prescore_versions", row["table_name"])
    return _statement(version, relation, row["key_columns"], row["output_columns"])


def page_statement(row: VersionRow, *, has_start: bool) -> sql.Composed:
    """Return the statement that reads a version's rows in the order of the key, a limited number of them.

    It is for a raw cursor. With `has_start`, its first parameters are a key, as text, and it reads the rows after that
    key. The last parameter is the limit. It returns the version's id, the key columns and the outputs.
    """
    key, outputs = row["key_columns"], row["output_columns"]
    placeholders = [sql.SQL(f"${number}") for number in range(1, 1 + len(key))]
    start = _join("{}::{}", placeholders, _types(key))
    ordered = sql.SQL(", ").join(_qualified(key))
    return query(
        "lookup_page",
        version=query("lookup_numbered", model=sql.Literal(row["model"]), version=sql.Literal(row["version"])),
        relation=sql.Identifier("prescore_versions", row["table_name"]),
        columns=_join("{}::{}", _qualified([*key, *outputs]), _types([*key, *outputs])),
        start=sql.SQL("({}) > ({})").format(ordered, start) if has_start else sql.SQL("true"),
        key=ordered,
        limit=sql.SQL(f"${1 + len(key)}" if has_start else "$1"),
    )


def parameters(columns: Iterable[Sequence[Any]]) -> list[Any]:
    """Return the parameters of a lookup statement for parsed keys: an array of values for each column, in key order."""
    return [_array(values) for values in columns]


def age_seconds(published: VersionRow) -> float:
    """Return the age of the inputs in seconds, at the time the row was read."""
    return (published["now"] - published["data_as_of"]).total_seconds()


def is_stale(age: float, max_age: float | None) -> bool:
    """Return whether an age exceeds the max age, both in seconds; never without a max age."""
    return max_age is not None and age > max_age


def _parse_key(published: VersionRow, values: Sequence[str]) -> dict[str, Any]:
    names = [column["name"] for column in published["key_columns"]]
    if len(values) != len(names):
        raise errors.KeyInvalid(
            f"The key of {published['model']} is {' '.join(names)}: one value for each column, in this order. "
            f"Given: {' '.join(values) or 'no value'}."
        )
    return keys.parse(published["key_columns"], dict(zip(names, values, strict=True)))


def _fetch(connection: Connection, statement: sql.Composed, values: Sequence[Any]) -> list[Row]:
    cursor: Cursor[Row] = RawCursor(connection, row_factory=tuple_row)
    try:
        return cursor.execute(statement, values).fetchall()
    except DataError as error:
        raise_unspellable(error)
        if not is_out_of_range(error):
            raise
    load_out_of_range_as_text(cursor.adapters)
    return cursor.execute(statement, values).fetchall()


def _tombstone(catalog: Catalog, published: VersionRow, key: Mapping[str, Any]) -> VersionRow | None:
    """Return the last retained version before the published one that has a key, None if there is none."""
    model = published["model"]
    for row in catalog.all("lookup_earlier", model=model, version=published["version"]):
        earlier: VersionRow | None = catalog.one("lookup_version", model=model, version=row["version"])
        if earlier is None or earlier["key_columns"] != published["key_columns"]:
            continue
        statement = version_statement(earlier)
        with suppress(UnspellableKey):
            ((_, found, *_),) = _fetch(catalog.connection, statement, parameters([[value] for value in key.values()]))
            if found:
                return earlier
    return None


def _answer(published: VersionRow, key: Mapping[str, Any], row: Row, tombstone: VersionRow | None) -> dict[str, Any]:
    _, found, *outputs = row
    names = [column["name"] for column in published["output_columns"]]
    age = age_seconds(published)
    return {
        "model": published["model"],
        "version": published["version"],
        "key": dict(key),
        "found": bool(found),
        "prediction": dict(zip(names, outputs, strict=True)) if found else None,
        "data_as_of": published["data_as_of"],
        "published_at": published["published_at"],
        "age_seconds": age,
        "stale": is_stale(age, published["max_age_seconds"]),
        "last_version": None if tombstone is None else tombstone["version"],
        "last_data_as_of": None if tombstone is None else tombstone["data_as_of"],
    }


def _statement(
    version: sql.Composable, relation: sql.Identifier, key: Sequence[Column], outputs: Sequence[Column]
) -> sql.Composed:
    key_aliases = _aliases("key", key)
    output_aliases = _aliases("output", outputs)
    placeholders = [sql.SQL(f"${number}") for number in range(1, len(key) + 1)]
    return query(
        "lookup_keys",
        version=version,
        relation=relation,
        key_arrays=_join("{}::{}", placeholders, [TYPES[column["type"]].array for column in key]),
        key_names=_join("{}", key_aliases),
        key_matches=_join("{} = k.{}", _qualified(key), key_aliases, separator=" and "),
        columns=_join("{}::{} as {}", _qualified(outputs), _types(outputs), output_aliases),
        outputs=_join("p.{}", output_aliases),
    )


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
