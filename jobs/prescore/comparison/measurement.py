"""What is measured of two versions, for all of their rows or for those that may differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from prescore.catalog.database import Connection
from prescore.catalog.types import FLOATS
from prescore.comparison.columns import SharedColumn
from prescore.comparison.differences import Mover
from prescore.comparison.distribution import Distributions
from prescore.comparison.movement import Measured, Movements, read_movers
from prescore.comparison.precision import allowance
from prescore.comparison.relation import Pair

_TOLERANCE = 0.1
"""How far a number may move without being counted by default, as a share of the standard deviation in version `a`."""


@dataclass(frozen=True)
class Measurement:
    """The numbers of rows of two versions, what was measured of each column, and how their common rows differ.

    `movers` are the rows that moved most, by the names of numbers.
    """

    rows_a: int
    rows_b: int
    columns: Sequence[Measured]
    movements: Movements
    movers: Mapping[str, Sequence[Mover]] = field(default_factory=dict)


def measured(column: SharedColumn, distributions: Distributions | None, rows_a: int, rows_b: int) -> Measured:
    """Return a column as it is compared in versions with these numbers of rows."""
    if distributions is None:
        return Measured(column, None, tolerance=column.tolerance or 0.0, is_finite=False)
    tolerance = column.tolerance
    deviation = distributions.a.deviation
    if tolerance is None and deviation is not None:
        tolerance = _TOLERANCE * deviation
    is_finite = (distributions.a.count, distributions.b.count) == (rows_a, rows_b)
    return Measured(column, distributions, tolerance, is_finite)


def with_allowance(each: Measured, precision: float) -> Measured:
    """Return a column whose floating-point numbers count as equal if they differ by no more than a precision allows."""
    if (each.column.kind.element or each.column.type) not in FLOATS:
        return each
    quantiles = None if each.distributions is None else each.distributions.a.quantiles
    return replace(each, allowance=allowance(quantiles, precision))


def read_movers_by_column(
    connection: Connection, pair: Pair, columns: Sequence[Measured], movements: Movements
) -> dict[str, Sequence[Mover]]:
    """Return the rows in which each number moved most, of the numbers that moved."""
    return {
        each.column.name: read_movers(connection, pair, each)
        for each in columns
        if each.column.is_number and movements.columns[each.column.name].largest
    }
