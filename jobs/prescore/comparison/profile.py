"""The profile of a full version: a histogram of each number and the count of each label, kept in the catalog.

What a delta over the version shows follows from the profile and the rows in which the two differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
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
    rows = Catalog(connection).all("profiles_get", model=version["model"], version=version["version"])
    return {row["column_name"]: _from_row(row) for row in rows}


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
    edges = set(profile.edges or ())
    for relation in changed:
        edges.update(read_sample(connection, relation, [column], _CHANGED_STEPS).edges[column.name])
    whole = Relation.from_version(version, VERSIONS, version["rows"] or 0)
    (counted,) = read_bins(connection, [whole.name], column, sorted(edges))
    return replace(profile, edges=sorted(edges), bins=counted)


def save(connection: Connection, version: Version, profile: Profile) -> None:
    """Keep profiles of columns of a full version in the catalog, unless another session is doing so.

    Call it after what takes time: other sessions that compare the version do not wait for this one.
    """
    if not profile:
        return
    catalog = Catalog(connection)
    key = {"model": version["model"], "version": version["version"]}
    with connection.transaction():
        if not catalog.one("profiles_lock", **key)["locked"]:
            return
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
    statement = query("comparison_labels", column=column.identifier, relation=relation)
    return Counter({row["value"]: row["rows"] for row in connection.execute(statement)})


def _lacks(profile: ColumnProfile | None, column: SharedColumn) -> bool:
    if profile is None:
        return column.is_number or column.may_be_label
    return column.is_number and profile.edges is None


def _read(connection: Connection, version: Version, columns: Sequence[SharedColumn]) -> dict[str, ColumnProfile]:
    relation = Relation.from_version(version, VERSIONS, version["rows"] or 0)
    sample = read_sample(connection, relation, columns)
    found = {}
    for column in columns:
        edges = None
        counted: list[Bin] = []
        if column.is_number:
            edges = _read_edges(connection, relation, column, sample.edges[column.name])
            (counted,) = read_bins(connection, [relation.name], column, edges)
        has_labels = column.may_be_label and sample.labels[column.name] <= MAX_LABEL_PAIRS
        labels = read_labels(connection, relation.name, column) if has_labels else None
        found[column.name] = ColumnProfile(edges, counted, labels)
    return found


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
    arrays = (row["buckets"], row["rows"], row["means"], row["deviations"], row["lows"], row["highs"])
    return ColumnProfile(
        edges=row["edges"],
        bins=[Bin(*values) for values in zip(*arrays, strict=True)],
        labels=None if row["labels"] is None else Counter(dict(row["labels"])),
    )


def _to_row(profile: ColumnProfile) -> dict[str, Any]:
    names = ("buckets", "rows", "means", "deviations", "lows", "highs")
    arrays = [list(values) for values in zip(*map(astuple, profile.bins), strict=True)] or [[] for _ in names]
    return {
        "edges": profile.edges,
        **dict(zip(names, arrays, strict=True)),
        "labels": None if profile.labels is None else Jsonb(list(profile.labels.items())),
    }
