"""Compare two versions of a model inside Postgres: their keys, and the columns that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from prescore.catalog import version_row
from prescore.catalog.catalog import Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.catalog.types import TYPES
from prescore.comparison.columns import SharedColumn, not_compared, shared_columns
from prescore.comparison.differences import ColumnDifference, Comparison, ElementShift, KeyCounts, Mover, Shift, psi
from prescore.comparison.distribution import Distributions, read_distributions, read_sample
from prescore.comparison.movement import Measured, Movement, Movements, read_movements, read_movers
from prescore.comparison.relation import Pair, Relation
from prescore.errors import NotAllowed

VERSIONS = "prescore_versions"
"""The schema of the versions' tables and views."""
WITHOUT_TABLE = ("building", "failed", "retired")
_TOLERANCE = 0.1
"""How far a number may move without being counted by default, as a share of the standard deviation in version `a`."""


def compare(
    connection: Connection,
    a: Version,
    b: Version,
    tolerances: Mapping[str, float] | None = None,
    *,
    schema: str = VERSIONS,
    movers: bool = True,
) -> Comparison:
    """Compare version `b` with version `a`: keys, and every column that both have with the same type.

    `tolerances` are, by column, how far a number may move without being counted as moved, in its own unit. By default
    it is a tenth of the standard deviation in version `a`, and 0 for arrays. `schema` is that of version `b`'s table.
    Without `movers`, the rows that moved most are not read.

    Raises NotAllowed when one of them has no table or when their key columns differ, DatabaseRefused when not all of
    their rows can be read.
    """
    _require_comparable(a, b)
    columns = shared_columns(a, b, tolerances or {})
    with connection.transaction():
        connection.execute(query("comparison_memory"))
        pair = _read_pair(connection, a, b, schema)
        sample = read_sample(connection, pair.a, columns)
        distributions = {
            column.name: read_distributions(connection, pair, column, sample.edges[column.name])
            for column in columns
            if column.is_number
        }
        measured = [_measured(column, distributions.get(column.name), pair) for column in columns]
        movements = read_movements(connection, pair, measured, sample.labels)
        movers_by_column = _read_movers(connection, pair, measured, movements) if movers else {}
    keys = KeyCounts(
        added=pair.b.rows - movements.common,
        vanished=pair.a.rows - movements.common,
        common=movements.common,
        changed=movements.changed,
    )
    return Comparison(
        model=a["model"],
        a=a["version"],
        b=b["version"],
        keys=keys,
        columns=tuple(
            _difference(each, movements.columns[each.column.name], movers_by_column.get(each.column.name, ()))
            for each in measured
        ),
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


def _read_pair(connection: Connection, a: Version, b: Version, schema: str) -> Pair:
    """Count the rows of both versions; raise DatabaseRefused unless they are as many as the catalog says."""
    statement = query(
        "comparison_rows",
        a=sql.Identifier(VERSIONS, a["table_name"]),
        b=sql.Identifier(schema, b["table_name"]),
    )
    (rows,) = connection.execute(statement).fetchall()
    version_row.require_count(a, rows["a"])
    version_row.require_count(b, rows["b"])
    return Pair(
        Relation.from_version(a, VERSIONS, rows["a"]),
        Relation.from_version(b, schema, rows["b"]),
    )


def _measured(column: SharedColumn, distributions: Distributions | None, pair: Pair) -> Measured:
    if distributions is None:
        return Measured(column, None, tolerance=column.tolerance or 0.0, is_finite=False)
    tolerance = column.tolerance
    deviation = distributions.a.deviation
    if tolerance is None and deviation is not None:
        tolerance = _TOLERANCE * deviation
    is_finite = (distributions.a.count, distributions.b.count) == (pair.a.rows, pair.b.rows)
    return Measured(column, distributions, tolerance, is_finite)


def _read_movers(
    connection: Connection,
    pair: Pair,
    measured: Sequence[Measured],
    movements: Movements,
) -> dict[str, tuple[Mover, ...]]:
    """Return the rows in which each number moved most, of the numbers that moved."""
    return {
        each.column.name: read_movers(connection, pair, each)
        for each in measured
        if each.column.is_number and movements.columns[each.column.name].largest
    }


def _difference(each: Measured, movement: Movement, movers: Sequence[Mover]) -> ColumnDifference:
    """Return how a column differs, from what was measured."""
    column = each.column
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
