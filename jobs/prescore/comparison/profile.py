"""The profile of a full version: a histogram of each number and the count of each label, kept in the catalog.

What a delta over the version shows follows from the profile and the rows in which the two differ.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.catalog.driver_errors import first_line, is_of_server
from prescore.catalog.queries import query
from prescore.comparison import bins, distribution
from prescore.comparison.bins import Bin
from prescore.comparison.columns import SharedColumn, shared_columns
from prescore.comparison.distribution import read_bins, read_sample
from prescore.comparison.movement import MAX_LABEL_PAIRS
from prescore.comparison.relation import VERSIONS, Relation

_TAIL = 64
"""How many of the smallest and of the largest numbers have bins of their own."""
_CHANGED_STEPS = 256
"""The number of equally frequent steps of the rows that changed, if they need edges of their own."""

_log = logging.getLogger("prescore")

Labels = Counter[Any]
"""How many rows have a value, by value."""


@dataclass(frozen=True)
class ColumnProfile:
    """The bins of a column's values between `edges`, None if they are not numbers, and how many rows have each label.

    `labels` is None if there are too many for a confusion table.
    """

    edges: Sequence[float] | None
    bins: Sequence[Bin]
    labels: Labels | None


Profile = Mapping[str, ColumnProfile]
"""The profile of each number, and of each column whose values may be labels, by its name."""


def get(connection: Connection, version: Version) -> Profile:
    """Return the profile of a full version as far as the catalog has it."""
    catalog = Catalog(connection)
    found = {}
    for row in catalog.all("profiles_get", **_key(version)):
        name = row["column_name"]
        found[name] = _from_row(row)
    return found


def complete(
    connection: Connection,
    version: Version,
    profile: Profile,
    columns: Sequence[SharedColumn],
) -> Profile:
    """Return what a profile lacks of these columns of a full version, read from the version's table."""
    missing = [column for column in columns if _lacks(profile.get(column.name), column)]
    return _read(connection, version, missing) if missing else {}


def refine(
    connection: Connection,
    version: Version,
    column: SharedColumn,
    profile: ColumnProfile,
    changed: Sequence[Relation],
) -> ColumnProfile:
    """Return the profile of a number with more edges, which come from relations with rows that changed."""
    distinct = set(profile.edges or ())
    for relation in changed:
        sample = read_sample(connection, relation, [column], _CHANGED_STEPS)
        distinct.update(sample.edges[column.name])
    edges = sorted(distinct)
    whole = _relation(version)
    (counted,) = read_bins(connection, [whole.name], column, edges)
    return replace(profile, edges=edges, bins=counted)


def save(connection: Connection, version: Version, profile: Profile) -> None:
    """Keep profiles of columns of a full version in the catalog, unless another session is doing so.

    Call it after what takes time: other sessions that compare the version do not wait for this one. If the server
    cannot store them, or refuses to, they are not kept, and what was computed from them is not lost.
    """
    if not profile:
        return
    try:
        # In a transaction of the caller, a savepoint.
        with connection.transaction():
            _save(Catalog(connection), version, profile)
    except psycopg.Error as error:
        if connection.closed or not is_of_server(error):
            raise
        _log.warning(
            "The next comparison with %s version %s reads all of its rows, because its profile could not be kept: %s",
            version["model"],
            version["version"],
            first_line(error),
        )


def _save(catalog: Catalog, version: Version, profile: Profile) -> None:
    key = _key(version)
    if catalog.one("profiles_lock", **key)["locked"]:
        for name, column in profile.items():
            catalog.execute("profiles_remove", **key, column_name=name)
            catalog.execute("profiles_add", **key, column_name=name, **_to_row(column))


def make(connection: Connection, version: Version) -> None:
    """Make the profile of a full version that deltas may be based on, unless it has one or is small."""
    if version["base_version"] is not None or version["trial_rows"] is not None or not is_large(version):
        return
    catalog = Catalog(connection)
    if not catalog.one("comparison_rights")["granted"]:
        return
    owner = catalog.version(version["model"], version["rows_version"])
    columns = shared_columns(version, version, {})
    save(connection, owner, complete(connection, owner, get(connection, owner), columns))


def is_large(version: Version) -> bool:
    """Return whether a version has more rows than a histogram that gives each value a bin of its own."""
    return (version["rows"] or 0) > distribution.EXACT_ROWS


def read_labels(connection: Connection, relation: sql.Identifier, column: SharedColumn) -> Labels:
    """Return how many rows of a relation have each value of a column."""
    statement = query(
        "comparison_labels",
        column=column.identifier,
        relation=relation,
    )
    labels: Labels = Counter()
    for row in connection.execute(statement):
        labels[row["value"]] = row["rows"]
    return labels


def _key(version: Version) -> dict[str, Any]:
    return {"model": version["model"], "version": version["version"]}


def _lacks(profile: ColumnProfile | None, column: SharedColumn) -> bool:
    if profile is None:
        return column.is_number or column.may_be_label
    return column.is_number and profile.edges is None


def _read(connection: Connection, version: Version, columns: Sequence[SharedColumn]) -> dict[str, ColumnProfile]:
    relation = _relation(version)
    sample = read_sample(connection, relation, columns)
    found = {}
    for column in columns:
        name = column.name
        edges = labels = None
        counted: list[Bin] = []
        if column.is_number:
            edges = _read_edges(connection, relation, column, sample.edges[name])
            (counted,) = read_bins(connection, [relation.name], column, edges)
        if column.may_be_label and sample.labels[name] <= MAX_LABEL_PAIRS:
            labels = read_labels(connection, relation.name, column)
        found[name] = ColumnProfile(edges, counted, labels)
    return found


def _relation(version: Version) -> Relation:
    return Relation.from_version(version, VERSIONS, version["rows"] or 0)


def _read_edges(
    connection: Connection, relation: Relation, column: SharedColumn, sampled: Sequence[float]
) -> list[float]:
    """Return the edges of a sample, and others that give the smallest and the largest numbers bins of their own.

    When some of these numbers are removed, it is known which are the smallest and the largest then.
    """
    if not sampled:
        return []
    # Few values are beyond these edges, unless they are frequent.
    inner = len(sampled) // 100
    statement = query(
        "comparison_tails",
        value=column.value(),
        relation=relation.name,
        low=sql.Literal(sampled[inner]),
        high=sql.Literal(sampled[-1 - inner]),
        count=sql.Literal(_TAIL),
    )
    tails = bins.edges(row["value"] for row in connection.execute(statement))
    return sorted({*sampled, *tails})


def _from_row(row: dict[str, Any]) -> ColumnProfile:
    labels = None
    if row["labels"] is not None:
        labels = Counter(dict(row["labels"]))
    values = zip(
        row["buckets"],
        row["rows"],
        row["means"],
        row["deviations"],
        row["lows"],
        row["highs"],
        strict=True,
    )
    return ColumnProfile(
        edges=row["edges"],
        bins=[Bin(*each) for each in values],
        labels=labels,
    )


def _to_row(profile: ColumnProfile) -> dict[str, Any]:
    labels = None
    if profile.labels is not None:
        labels = Jsonb(list(profile.labels.items()))
    return {
        "edges": profile.edges,
        "buckets": [each.bucket for each in profile.bins],
        "rows": [each.rows for each in profile.bins],
        "means": [each.mean for each in profile.bins],
        "deviations": [each.deviation for each in profile.bins],
        "lows": [each.low for each in profile.bins],
        "highs": [each.high for each in profile.bins],
        "labels": labels,
    }
