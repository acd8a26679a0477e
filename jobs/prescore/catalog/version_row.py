"""A version as readers need it: its columns, its times, its tables, and whether all of its rows can be read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict

from prescore import errors
from prescore.catalog.catalog import Column, Serving, Version
from prescore.catalog.naming import KEPT_CLOCK

Row = tuple[Any, ...]
"""A row of a lookup: the id of the version that answered, whether the key exists, then the outputs.

Whether the key exists is None if the statement could not read a single row of the version.
"""


class StoredTable(TypedDict):
    """A table with rows of a version, how many it should have, and the id of the version whose own table it is."""

    name: str
    rows: int
    id: str


class VersionRow(Serving):
    """A row of `lookup_version`: a version as readers need it, at the time `now`.

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
    kept: int
    key_columns: list[Column]
    output_columns: list[Column]
    data_as_of: datetime
    published_at: datetime | None
    model_fingerprint: str | None
    tombstones: bool
    canary_version: int | None
    canary_share: float | None
    stored: list[StoredTable]
    changes: int
    is_attached: bool
    is_readable: bool


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


def missing_rows(version: VersionRow | Version, rows: int | None = 0) -> errors.DatabaseRefused:
    """Return the error for a version of which only `rows` rows could be read; None: some are missing."""
    readable = "not all of them" if rows is None else f"{rows:,}"
    return errors.DatabaseRefused(
        f"{version['model']} version {version['version']} has {version['rows']:,} rows according to the catalog, and "
        f"{readable} can be read from prescore_versions.{version['table_name']}. Was the table truncated, detached or "
        f"changed by hand? {_advice(version)}"
    )


def _advice(version: VersionRow | Version) -> str:
    """Return what to do about a version that has lost rows, by its state; without one, it is served."""
    state = version.get("state", "published")
    if state != "published":
        return f"The version is {state}: do not publish it, and do not roll back to it."
    model = version["model"]
    again = f"`prescore run {model} --full` makes a new version"
    return f"{again}, and `prescore rollback {model}` goes back to an earlier one."


def lost_rows(version: VersionRow) -> errors.DatabaseRefused:
    """Return the error for a version of which a table was lost: all rows, or some of a delta's."""
    return missing_rows(version, None if is_delta(version) else 0)


def kept_position(version: VersionRow) -> int | None:
    """Return which output has the times of rows that are kept although their keys have vanished; None without any."""
    if not version["kept"]:
        return None
    return [column["name"] for column in version["output_columns"]].index(KEPT_CLOCK)


def kept_data_as_of(version: VersionRow, row: Row) -> datetime | None:
    """Return the time of a row's own inputs if its key has vanished and the version keeps it, otherwise None."""
    position = kept_position(version)
    if position is None or not row[1]:
        return None
    time: datetime | None = row[2 + position]
    return time


def age_seconds(published: VersionRow, data_as_of: datetime) -> float:
    """Return the age in seconds of inputs of a time, at the time the version's row was read."""
    return (published["now"] - data_as_of).total_seconds()


def is_stale(age: float, max_age: float | None) -> bool:
    """Return whether an age exceeds the max age, both in seconds; never without a max age."""
    return max_age is not None and age > max_age
