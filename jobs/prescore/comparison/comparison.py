"""Compare two versions of a model inside Postgres: their keys, and the columns that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prescore.catalog.catalog import Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.catalog.types import TYPES
from prescore.comparison import derived, profile, shared_base, whole
from prescore.comparison.columns import not_compared, shared_columns
from prescore.comparison.differences import ColumnDifference, Comparison, ElementShift, KeyCounts, Mover, Shift, psi
from prescore.comparison.distribution import Distributions
from prescore.comparison.measurement import Measurement
from prescore.comparison.movement import Measured, Movement
from prescore.comparison.relation import VERSIONS
from prescore.errors import NotAllowed

WITHOUT_TABLE = ("building", "failed", "retired")


def compare(
    connection: Connection,
    a: Version,
    b: Version,
    tolerances: Mapping[str, float] | None = None,
    *,
    schemas: tuple[str, str] = (VERSIONS, VERSIONS),
    precision: float | None = None,
    movers: bool = True,
) -> Comparison:
    """Compare version `b` with version `a`: keys, and every column that both have with the same type.

    `tolerances` are, by column, how far a number may move without being counted as moved, in its own unit. By default
    it is a tenth of the standard deviation in version `a`, and 0 for arrays. `schemas` are those of the tables. With a
    `precision`, floating-point numbers have not changed if they differ by no more than `allowance` returns for it.
    Without `movers`, the rows that moved most are not read.

    Raises NotAllowed when one of them has no table or when their key columns differ, DatabaseRefused when not all of
    their rows can be read.
    """
    _require_comparable(a, b)
    columns = shared_columns(a, b, tolerances or {})
    with connection.transaction():
        connection.execute(query("comparison_memory"))
        shared = shared_base.find(connection, a, b) if schemas == (VERSIONS, VERSIONS) else None
        if shared is None:
            measurement = whole.measure(connection, a, b, columns, schemas=schemas, precision=precision, movers=movers)
        else:
            measurement, lacking = derived.measure(connection, shared, columns, movers=movers)
    if shared is not None:
        profile.save(connection, shared.base, lacking)
    movements = measurement.movements
    keys = KeyCounts(
        added=measurement.rows_b - movements.common,
        vanished=measurement.rows_a - movements.common,
        common=movements.common,
        changed=movements.changed,
    )
    return Comparison(
        model=a["model"],
        a=a["version"],
        b=b["version"],
        keys=keys,
        columns=tuple(_difference(each, measurement) for each in measurement.columns),
        not_compared=not_compared(a, b),
    )


def _require_comparable(a: Version, b: Version) -> None:
    model = a["model"]
    for version in (a, b):
        number = version["version"]
        state = version["state"]
        if state in WITHOUT_TABLE:
            raise NotAllowed(f"{model} version {number} is {state}: it has no table to compare.")
    if _key_kinds(a) != _key_kinds(b):
        listed_a = _listed_key(a)
        listed_b = _listed_key(b)
        raise NotAllowed(
            f"{model} versions {a['version']} and {b['version']} cannot be compared, because their key columns "
            f"differ: {listed_a} and {listed_b}."
        )


def _difference(each: Measured, measurement: Measurement) -> ColumnDifference:
    """Return how a column differs, from what was measured."""
    column = each.column
    movement = measurement.movements.columns[column.name]
    movers = measurement.movers.get(column.name, ())
    shift = elements = None
    if each.distributions is not None:
        shift = _shift(each.distributions, each.tolerance, movement, movers)
    elif column.has_elements:
        elements = ElementShift(movement.largest, each.tolerance or 0.0, movement.moved)
    return ColumnDifference(
        column=column.name,
        type=column.type,
        changed=movement.changed,
        shift=shift,
        elements=elements,
        labels=movement.labels(),
    )


def _shift(
    distributions: Distributions,
    tolerance: float | None,
    movement: Movement,
    movers: Sequence[Mover],
) -> Shift:
    buckets = distributions.histogram.deciles()
    return Shift(
        a=distributions.a,
        b=distributions.b,
        psi=psi(buckets),
        ks=distributions.histogram.ks(),
        mean_difference=movement.mean,
        largest_difference=movement.largest,
        tolerance=tolerance,
        moved=movement.moved,
        buckets=buckets,
        movers=movers,
    )


def _key_kinds(version: Version) -> list[tuple[str, str]]:
    """Return name and category of each key column, by name: their order means nothing to a comparison.

    Postgres compares integers of any size, but not text and a UUID.
    """
    return sorted((column["name"], TYPES[column["type"]].category) for column in version["key_columns"])


def _listed_key(version: Version) -> str:
    return ", ".join(f"{column['name']} {column['type']}" for column in version["key_columns"])
