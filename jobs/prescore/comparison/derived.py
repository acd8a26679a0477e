"""The measurement of two versions over one base, derived from the base's profile and the rows that may differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prescore.catalog import version_row
from prescore.catalog.database import Connection
from prescore.comparison import affected, bins, profile
from prescore.comparison.affected import AffectedRows
from prescore.comparison.bins import Bin
from prescore.comparison.columns import SharedColumn
from prescore.comparison.distribution import (
    Distributions,
    are_fine,
    estimate_distributions,
    read_bins,
    read_distributions,
    read_sample,
)
from prescore.comparison.measurement import Measurement, measured, read_movers_by_column
from prescore.comparison.movement import read_movements
from prescore.comparison.profile import ColumnProfile, Labels, Profile
from prescore.comparison.relation import VERSIONS, Pair, Relation
from prescore.comparison.shared_base import SharedBase


@dataclass(frozen=True)
class _Numbers:
    """What follows for the numbers or arrays of two versions.

    `equal` are the rows outside of the deltas that have one. `refined` is the profile if it needed more edges.
    """

    distributions: Distributions | None = None
    equal: int = 0
    refined: ColumnProfile | None = None


@dataclass(frozen=True)
class _Derived:
    """What follows for a column of two versions.

    `equal_labels` are the rows outside of the deltas with each label. `labels` is the number of labels in the first
    version.
    """

    numbers: _Numbers
    equal_labels: Labels | None = None
    labels: int = 0


def measure(
    connection: Connection,
    shared: SharedBase,
    columns: Sequence[SharedColumn],
    *,
    movers: bool = True,
) -> tuple[Measurement, Profile]:
    """Measure two versions without reading their base, unless it has no profile yet.

    Returns what the catalog lacks of the base's profile, too, to be saved. Raises DatabaseRefused if rows of a version
    are missing.
    """
    rows = affected.read(connection, shared, columns)
    equal = (shared.base["rows"] or 0) - rows.base.rows
    rows_a, rows_b = equal + rows.a.rows, equal + rows.b.rows
    version_row.require_count(shared.a, rows_a)
    version_row.require_count(shared.b, rows_b)
    known = profile.get(connection, shared.base)
    made = profile.complete(connection, shared.base, known, columns)
    profiles = {**known, **made}
    derived = {
        column.name: _derive(connection, shared, rows, column, profiles.get(column.name), equal) for column in columns
    }
    refined = {name: each.numbers.refined for name, each in derived.items() if each.numbers.refined is not None}
    found = [measured(column, derived[column.name].numbers.distributions, rows_a, rows_b) for column in columns]
    labels = {name: each.labels for name, each in derived.items() if each.equal_labels is not None}
    movements = read_movements(connection, rows.pair, found, labels)
    movements.common += equal
    for name, each in derived.items():
        movements.columns[name].add_equal(each.numbers.equal, each.equal_labels or {})
    measurement = Measurement(
        rows_a=rows_a,
        rows_b=rows_b,
        columns=found,
        movements=movements,
        movers=read_movers_by_column(connection, rows.pair, found, movements) if movers else {},
    )
    affected.discard(connection, rows)
    return measurement, {**made, **refined}


def _derive(
    connection: Connection,
    shared: SharedBase,
    rows: AffectedRows,
    column: SharedColumn,
    profiled: ColumnProfile | None,
    equal: int,
) -> _Derived:
    if profiled is None:
        return _Derived(_Numbers(equal=equal if column.has_elements else 0))
    numbers = _Numbers()
    if column.is_number:
        numbers = _derive_numbers(connection, shared, rows, column, profiled)
    if profiled.labels is None:
        return _Derived(numbers)
    equal_labels = profiled.labels - profile.read_labels(connection, rows.base.name, column)
    in_a = equal_labels + profile.read_labels(connection, rows.a.name, column)
    return _Derived(numbers, equal_labels, labels=len(in_a.keys() - {None}))


def _derive_numbers(
    connection: Connection,
    shared: SharedBase,
    rows: AffectedRows,
    column: SharedColumn,
    profiled: ColumnProfile,
) -> _Numbers:
    found = _derive_bins(connection, rows, column, profiled)
    refined = None
    if found.are_known and not found.are_fine:
        # Many of the rows that changed have values between two edges.
        refined = profile.refine(connection, shared.base, column, profiled, (rows.a, rows.b))
        found = _derive_bins(connection, rows, column, refined)
    if found.are_fine:
        distributions = estimate_distributions(found.a or (), found.b or ())
    else:
        distributions = _read_whole(connection, shared, column)
    return _Numbers(distributions, found.equal, refined)


@dataclass(frozen=True)
class _DerivedBins:
    """The bins of a number in both versions, and how many rows outside of the deltas have a number.

    They are None if the smallest or the largest value cannot be known.
    """

    a: Sequence[Bin] | None
    b: Sequence[Bin] | None
    equal: int

    @property
    def are_known(self) -> bool:
        """Whether the bins of both versions are known."""
        return self.a is not None and self.b is not None

    @property
    def are_fine(self) -> bool:
        """Whether the bins are known, and the measures that follow from them within their bounds."""
        return self.a is not None and self.b is not None and are_fine(self.a, self.b)


def _derive_bins(
    connection: Connection, rows: AffectedRows, column: SharedColumn, profiled: ColumnProfile
) -> _DerivedBins:
    removed, *added = read_bins(
        connection,
        [rows.base.name, rows.a.name, rows.b.name],
        column,
        profiled.edges or (),
    )
    bins_a, bins_b = (bins.replaced(profiled.bins, removed, each) for each in added)
    equal = bins.count(profiled.bins) - bins.count(removed)
    return _DerivedBins(bins_a, bins_b, equal)


def _read_whole(connection: Connection, shared: SharedBase, column: SharedColumn) -> Distributions:
    """Return the distributions of a number from all rows: its profile does not have what it takes."""
    relations = [Relation.from_version(version, VERSIONS, version["rows"] or 0) for version in (shared.a, shared.b)]
    pair = Pair(*relations)
    sample = read_sample(connection, pair.a, [column])
    return read_distributions(connection, pair, column, sample.edges[column.name])
