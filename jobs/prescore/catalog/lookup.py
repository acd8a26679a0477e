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


class StoredTable(TypedDict):
    """A table with rows of a version, how many it should have, and the id of the version whose own table it is."""

    name: str
    rows: int
    id: str


class VersionRow(TypedDict):
    """A row of `lookup_published` or `lookup_version`: a version as readers need it, at the time `now`.

    `stored` are the tables with its rows: one, or that of a delta and then that of its base.
    """

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
    tombstones: bool
    canary_version: int | None
    canary_share: float | None
    stored: list[StoredTable]
    changes: int
    is_attached: bool
    is_readable: bool


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
        # The view would show the other rows of a delta.
        if not published["is_attached"]:
            raise lost_rows(published)
        key = _parse_key(published, values)
        statement = shown_statement(published)
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
                require_stored(published, count["rows"] if count else 0)
            tombstone = None
            if published["tombstones"] and not rows[0][1]:
                tombstone = _tombstone(catalog, published, key)
            return _answer(published, key, rows[0], tombstone)


def is_from(version: VersionRow, rows: Sequence[Row]) -> bool:
    """Return whether rows are from a version, and not from another one that has been published by now.

    Raises DatabaseRefused if rows of the version could not be read, although it has some: a key that is missing from
    the answer may exist.
    """
    for version_id, found in {row[:2] for row in rows}:
        if version_id != version["id"]:
            return False
        if found is None and version["rows"]:
            raise lost_rows(version)
    return True


def is_doubtful(version: VersionRow, rows: Sequence[Row]) -> bool:
    """Return whether a key may be wrongly missing from rows of a version, as a table may have been changed by hand.

    Without rows of a delta, keys that it changes are found in its base. Callers must then count the tables' rows.
    """
    return bool(version["changes"]) and (is_delta(version) or not all(row[1] for row in rows))


def is_delta(version: VersionRow) -> bool:
    """Return whether a version's rows are in two tables."""
    return len(version["stored"]) > 1


def count_statement(version: VersionRow) -> sql.Composed:
    """Return the statement that counts the rows in a version's tables."""
    counts = [query("lookup_count_table", table=sql.Identifier(table["name"])) for table in version["stored"]]
    return query("lookup_count", counts=sql.SQL(" + ").join(counts))


def require_stored(version: VersionRow, rows: int) -> None:
    """Raise DatabaseRefused unless a version's tables have as many rows as the catalog says."""
    if rows != sum(table["rows"] for table in version["stored"]):
        raise missing_rows(version, None if is_delta(version) else rows)


def require_count(version: VersionRow | Version, rows: int) -> None:
    """Raise DatabaseRefused unless as many rows of a version were read as the catalog says, if it does."""
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


def missing_rows(version: VersionRow | Version, rows: int | None = 0) -> errors.DatabaseRefused:
    """Return the error for a version of which only `rows` rows could be read; None: some are missing."""
    readable = "not all of them" if rows is None else f"{rows:,}"
    return errors.DatabaseRefused(
        f"{version['model']} version {version['version']} has {version['rows']:,} rows according to the catalog, and "
        f"{readable} can be read from prescore_versions.{version['table_name']}. Was the table truncated, detached or "
        f"changed by hand? `prescore run {version['model']} --full` makes a new version, and `prescore rollback "
        f"{version['model']}` goes back to an earlier one."
    )


def lost_rows(version: VersionRow) -> errors.DatabaseRefused:
    """Return the error for a version of which a table was lost: all rows, or some of a delta's."""
    return missing_rows(version, None if is_delta(version) else 0)


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
