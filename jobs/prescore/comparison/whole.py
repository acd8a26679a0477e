"""The measurement of two versions from all of their rows."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from prescore.catalog import version_row
from prescore.catalog.catalog import Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.comparison.columns import SharedColumn
from prescore.comparison.distribution import read_distributions, read_sample
from prescore.comparison.measurement import Measurement, measured, read_movers_by_column, with_allowance
from prescore.comparison.movement import read_movements
from prescore.comparison.relation import VERSIONS, Pair, Relation


def measure(
    connection: Connection,
    a: Version,
    b: Version,
    columns: Sequence[SharedColumn],
    *,
    schemas: tuple[str, str] = (VERSIONS, VERSIONS),
    precision: float | None = None,
    movers: bool = True,
) -> Measurement:
    """Measure two versions from all of their rows. `schemas` and `precision` are as in `compare`.

    Raises DatabaseRefused unless they have as many rows as the catalog says.
    """
    pair = _read_pair(connection, a, b, schemas)
    sample = read_sample(connection, pair.a, columns)
    distributions = {
        column.name: read_distributions(connection, pair, column, sample.edges[column.name])
        for column in columns
        if column.is_number
    }
    found = [measured(column, distributions.get(column.name), pair.a.rows, pair.b.rows) for column in columns]
    if precision is not None:
        found = [with_allowance(each, precision) for each in found]
    movements = read_movements(connection, pair, found, sample.labels)
    return Measurement(
        rows_a=pair.a.rows,
        rows_b=pair.b.rows,
        columns=found,
        movements=movements,
        movers=read_movers_by_column(connection, pair, found, movements) if movers else {},
    )


def _read_pair(connection: Connection, a: Version, b: Version, schemas: tuple[str, str]) -> Pair:
    """Count the rows of both versions; raise DatabaseRefused unless they are as many as the catalog says."""
    statement = query(
        "comparison_rows",
        a=sql.Identifier(schemas[0], a["table_name"]),
        b=sql.Identifier(schemas[1], b["table_name"]),
    )
    (rows,) = connection.execute(statement).fetchall()
    version_row.require_count(a, rows["a"])
    version_row.require_count(b, rows["b"])
    return Pair(
        Relation.from_version(a, schemas[0], rows["a"]),
        Relation.from_version(b, schemas[1], rows["b"]),
    )
