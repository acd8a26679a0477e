"""Lookups by key as the command line makes them: the answer to one key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from psycopg import Cursor, DataError, ProgrammingError, RawCursor, sql
from psycopg.errors import UntranslatableCharacter
from psycopg.rows import tuple_row

from prescore import errors
from prescore.catalog import keys, lookup_statements, version_row
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.catalog.datetimes import is_out_of_range, load_out_of_range_as_text
from prescore.catalog.version_row import Row, VersionRow
from prescore.wording import did_you_mean


class UnspellableKey(DataError):
    """A key has a character that the database's encoding does not have, so no row has it."""


def look_up(catalog: Catalog, model: str, values: Sequence[str]) -> dict[str, Any]:
    """Return the answer to one key, given as text in key order; raise NotFound or KeyInvalid."""
    failed_version: int | None = None
    while True:
        published = _published(catalog, model)
        key = _parse_key(published, values)
        try:
            rows = _rows(catalog.connection, published, key)
        except (ProgrammingError, DataError):
            # A publication may have removed columns from the view since the version was read. Try again with the new
            # version; a second failure on the same version has another cause.
            if failed_version == published["version"]:
                raise
            failed_version = published["version"]
            continue
        if version_row.is_from(published, rows):
            _require_stored(catalog.connection, published, rows)
            tombstone = None
            if published["tombstones"] and not rows[0][1]:
                tombstone = _tombstone(catalog, published, key)
            return _answer(published, key, rows[0], tombstone)


def _published(catalog: Catalog, model: str) -> VersionRow:
    """Return the published version of a model; raise NotFound, and DatabaseRefused if its rows were lost."""
    published: VersionRow | None = catalog.one("lookup_version", model=model, version=None)
    if published is None:
        known = [row["model"] for row in catalog.all("models_names")]
        raise errors.NotFound(
            f"Model {model!r} is not published here.{did_you_mean(model, known)} `prescore status` lists published "
            "models."
        )
    # The view would show the other rows of a delta.
    if not published["is_attached"]:
        raise version_row.lost_rows(published)
    return published


def _rows(connection: Connection, published: VersionRow, key: Mapping[str, Any]) -> list[Row]:
    """Return the rows that the model's view has for a key; they may be those of a later version."""
    statement = lookup_statements.shown_statement(published)
    try:
        return _fetch(connection, statement, key)
    except UnspellableKey:
        return [version_row.missing(published)]


def _require_stored(connection: Connection, published: VersionRow, rows: Sequence[Row]) -> None:
    """Raise DatabaseRefused if a key may be wrongly missing from the rows of a version."""
    if version_row.is_doubtful(published, rows):
        count = connection.execute(lookup_statements.count_statement(published)).fetchone()
        version_row.require_stored(published, count["rows"] if count else 0)


def raise_unspellable(error: DataError) -> None:
    """Raise UnspellableKey for an error that is due to a key, and not to a value that cannot be read in UTF8."""
    # Postgres names the encoding first that it converts from.
    if isinstance(error, UntranslatableCharacter) and re.search('"UTF8".*"', str(error)):
        raise UnspellableKey(str(error)) from error


def _parse_key(published: VersionRow, values: Sequence[str]) -> dict[str, Any]:
    names = [column["name"] for column in published["key_columns"]]
    if len(values) != len(names):
        raise errors.KeyInvalid(
            f"The key of {published['model']} is {' '.join(names)}: one value for each column, in this order. "
            f"Given: {' '.join(values) or 'no value'}."
        )
    return keys.parse(published["key_columns"], dict(zip(names, values, strict=True)))


def _fetch(connection: Connection, statement: sql.Composed, key: Mapping[str, Any]) -> list[Row]:
    values = lookup_statements.parameters([[value] for value in key.values()])
    cursor: Cursor[Row] = RawCursor(connection, row_factory=tuple_row)
    try:
        return cursor.execute(statement, values).fetchall()
    except DataError as error:
        raise_unspellable(error)
        if not is_out_of_range(error):
            raise
    load_out_of_range_as_text(cursor.adapters)
    return cursor.execute(statement, values).fetchall()


def _tombstone(catalog: Catalog, published: VersionRow, key: Mapping[str, Any]) -> tuple[int, datetime] | None:
    """Return the last retained version before the published one that has a key, and the time of its inputs."""
    model = published["model"]
    for row in catalog.all("lookup_earlier", model=model, version=published["version"]):
        earlier: VersionRow | None = catalog.one("lookup_version", model=model, version=row["version"])
        if earlier is None or _key_types(earlier) != _key_types(published):
            continue
        statement = lookup_statements.version_statement(earlier)
        with suppress(UnspellableKey):
            (found,) = _fetch(catalog.connection, statement, key)
            if found[1]:
                return earlier["version"], version_row.kept_data_as_of(earlier, found) or earlier["data_as_of"]
    return None


def _key_types(version: VersionRow) -> list[tuple[str, str]]:
    return [(column["name"], column["type"]) for column in version["key_columns"]]


def _answer(
    published: VersionRow, key: Mapping[str, Any], row: Row, tombstone: tuple[int, datetime] | None
) -> dict[str, Any]:
    _, found, *outputs = row
    names = [column["name"] for column in published["output_columns"]]
    data_as_of = version_row.kept_data_as_of(published, row) or published["data_as_of"]
    age = version_row.age_seconds(published, data_as_of)
    last_version, last_data_as_of = tombstone or (None, None)
    return {
        "model": published["model"],
        "version": published["version"],
        "key": dict(key),
        "found": bool(found),
        "prediction": dict(zip(names, outputs, strict=True)) if found else None,
        "data_as_of": data_as_of,
        "published_at": published["published_at"],
        "age_seconds": age,
        "stale": version_row.is_stale(age, published["max_age_seconds"]),
        "last_version": last_version,
        "last_data_as_of": last_data_as_of,
    }
