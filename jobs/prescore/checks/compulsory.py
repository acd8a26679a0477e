"""The checks of rows that every version must pass: `rows`, `finite`, and `lengths` where there are arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from psycopg import sql

from prescore.catalog.catalog import CheckResult, Column, Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.catalog.types import ARRAYS, FLOATS, TYPES
from prescore.wording import count, short


@dataclass(frozen=True)
class Measures:
    """What was measured of rows: their number, that of bad predictions, and the lengths of arrays by column.

    The lengths are the smallest and the largest; None without rows.
    """

    rows: int
    not_finite: int
    lengths: dict[str, tuple[int | None, int | None]]


def measure(connection: Connection, version: Version) -> Measures:
    """Read all rows of a version once."""
    return _measure(connection, version, sql.Identifier("prescore_versions", version["table_name"]))


def measure_delta(connection: Connection, version: Version, base: Version) -> Measures:
    """Read the rows of a delta that differ from its base once, and the length of arrays in one row of the base."""
    own_rows = query(
        "checks_own_rows",
        table=sql.Identifier(version["rows_table"]),
        version=sql.Literal(version["rows_version"]),
    )
    found = _measure(connection, version, own_rows)
    if not found.lengths:
        return found
    in_base = _measure(connection, base, query("checks_one_row", table=sql.Identifier(base["rows_table"]))).lengths
    lengths = {name: _span(*found.lengths[name], *in_base[name]) for name in found.lengths}
    return replace(found, lengths=lengths)


def _measure(connection: Connection, version: Version, rows: sql.Composable) -> Measures:
    arrays = [column for column in version["output_columns"] if column["type"] in ARRAYS]
    statement = query(
        "checks_measure",
        not_finite=_any_not_finite(version["output_columns"]),
        lengths=sql.SQL("array[{}]::integer[]").format(sql.SQL(", ").join(map(_length, arrays))),
        rows=rows,
    )
    row = connection.execute(statement).fetchone() or {}
    names = [column["name"] for column in arrays]
    lengths = {name: (shortest, longest) for name, (shortest, longest) in zip(names, row["lengths"], strict=True)}
    return Measures(row["rows"], row["not_finite"], lengths)


def _span(*lengths: int | None) -> tuple[int | None, int | None]:
    known = [length for length in lengths if length is not None]
    return min(known, default=None), max(known, default=None)


def results(measures: Measures, rows: int, expected_rows: int, differing: str | None = None) -> list[CheckResult]:
    """Return the results of the checks `rows`, `finite` and, if there are arrays, `lengths`.

    A version has `rows` rows. There must be exactly `expected_rows`, or at least one if that is 0. `differing` says
    which rows were measured, None if all were.
    """
    found = [_rows_result(rows, expected_rows), _finite_result(measures.not_finite, differing)]
    return [*found, _lengths_result(measures.lengths)] if measures.lengths else found


def _rows_result(rows: int, expected: int) -> CheckResult:
    return {
        "name": "rows",
        "passed": rows == expected if expected else rows > 0,
        "observed": rows,
        "expected": f"exactly {short(expected)}" if expected else "at least 1",
    }


def _finite_result(not_finite: int, differing: str | None) -> CheckResult:
    observed = f"{count(not_finite, 'row')} with a null, NaN or infinite prediction"
    return {
        "name": "finite",
        "passed": not not_finite,
        "observed": observed if differing is None else f"{observed} {differing}",
        "expected": "no row with a null, NaN or infinite prediction",
    }


def _lengths_result(lengths: dict[str, tuple[int | None, int | None]]) -> CheckResult:
    return {
        "name": "lengths",
        "passed": all(shortest == longest for shortest, longest in lengths.values()),
        "observed": "; ".join(_describe_lengths(name, *found) for name, found in lengths.items()),
        "expected": "arrays of one length in each column",
    }


def _describe_lengths(name: str, shortest: int | None, longest: int | None) -> str:
    if shortest == longest:
        return f"{name} has {count(longest or 0, 'element')}"
    return f"{name} has {shortest:,} to {count(longest or 0, 'element')}"


def _length(column: Column) -> sql.Composed:
    return query("checks_length", column=sql.Identifier(column["name"]), type=TYPES[column["type"]].readable)


def _any_not_finite(columns: Iterable[Column]) -> sql.Composed:
    """Return a condition that is true for a null, NaN or infinite prediction. Passed-through columns may be null."""
    outputs = [column for column in columns if column["role"] == "output"]
    return sql.SQL(" or ").join(_not_finite(column["name"], column["type"]) for column in outputs)


def _not_finite(name: str, type_name: str) -> sql.Composed:
    column_type = TYPES[type_name]
    if type_name in FLOATS:
        condition = sql.SQL("{0} is null or {0} in ('NaN', 'Infinity', '-Infinity')")
    elif column_type.element in FLOATS:
        # Two arrays overlap when they have an element in common.
        condition = sql.SQL(
            "{0} is null or array_position({0}::{1}, null) is not null"
            " or {0}::{1} && array['NaN', 'Infinity', '-Infinity']::{1}"
        )
    elif column_type.is_array:
        condition = sql.SQL("{0} is null or array_position({0}, null) is not null")
    else:
        condition = sql.SQL("{0} is null")
    return condition.format(sql.Identifier(name), column_type.readable)
