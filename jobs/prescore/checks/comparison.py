"""Compare two versions of a model, row by row inside Postgres."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, LiteralString

from psycopg import sql

from prescore.catalog import lookup
from prescore.catalog.catalog import Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.catalog.types import NUMBERS
from prescore.errors import NotAllowed

_WITHOUT_TABLE = ("building", "failed", "retired")


@dataclass(frozen=True)
class KeyCounts:
    """Numbers of keys: only in the second version, only in the first, in both, and in both with other values."""

    added: int
    vanished: int
    common: int
    changed: int


@dataclass(frozen=True)
class ColumnDifference:
    """How a number moved over the common keys, second version minus first; None where there is no value to compare."""

    column: str
    mean_difference: float | None
    largest_difference: float | None


@dataclass(frozen=True)
class Comparison:
    """What changed from version `a` of a model to version `b`."""

    model: str
    a: int
    b: int
    keys: KeyCounts
    columns: tuple[ColumnDifference, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as `prescore compare --json` prints it."""
        return asdict(self)


def compare(connection: Connection, a: Version, b: Version) -> Comparison:
    """Compare version `b` with version `a`: keys, and every numeric column that both have with the same type.

    Raises NotAllowed when one of them has no table or when their key columns differ, DatabaseRefused when not all of
    their rows can be read.
    """
    _require_comparable(a, b)
    types = _shared_columns(a, b)
    matches = _each_column(" and ", "a.{0} = b.{0}", _key(a))
    changed = _each_column(" or ", "a.{0} is distinct from b.{0}", list(types))
    tables = {
        "a": sql.Identifier(a["table_name"]),
        "b": sql.Identifier(b["table_name"]),
    }
    statement = query(
        "comparison_keys",
        matches=matches,
        changed=changed if types else sql.SQL("false"),
        **tables,
    )
    keys = KeyCounts(**_row(connection, statement))
    lookup.require_count(a, keys.vanished + keys.common)
    lookup.require_count(b, keys.added + keys.common)
    differences = []
    for column, type_name in types.items():
        if type_name not in NUMBERS:
            continue
        statement = query(
            "comparison_number",
            column=sql.Identifier(column),
            matches=matches,
            **tables,
        )
        row = _row(connection, statement)
        difference = ColumnDifference(column=column, **row)
        differences.append(difference)
    return Comparison(
        model=a["model"],
        a=a["version"],
        b=b["version"],
        keys=keys,
        columns=tuple(differences),
    )


def _require_comparable(a: Version, b: Version) -> None:
    model = a["model"]
    for version in (a, b):
        number = version["version"]
        state = version["state"]
        if state in _WITHOUT_TABLE:
            raise NotAllowed(f"{model} version {number} is {state}: it has no table to compare.")
    key_of_a = _key(a)
    key_of_b = _key(b)
    if key_of_a != key_of_b:
        listed_a = ", ".join(key_of_a)
        listed_b = ", ".join(key_of_b)
        raise NotAllowed(
            f"{model} versions {a['version']} and {b['version']} cannot be compared, because their key columns "
            f"differ: {listed_a} and {listed_b}."
        )


def _shared_columns(a: Version, b: Version) -> dict[str, str]:
    """Return name → type of the output columns that both versions have with the same type."""
    types_in_b = _output_types(b)
    shared = _output_types(a)
    for name in list(shared):
        if shared[name] != types_in_b.get(name):
            del shared[name]
    return shared


def _output_types(version: Version) -> dict[str, str]:
    types = {}
    for column in version["output_columns"]:
        types[column["name"]] = column["type"]
    return types


def _row(connection: Connection, statement: sql.Composed) -> dict[str, Any]:
    """Return the one row of an aggregate."""
    row = connection.execute(statement).fetchone()
    return row or {}


def _each_column(
    joiner: LiteralString,
    condition: LiteralString,
    columns: list[str],
) -> sql.Composed:
    template = sql.SQL(condition)
    conditions = [template.format(sql.Identifier(column)) for column in columns]
    return sql.SQL(joiner).join(conditions)


def _key(version: Version) -> list[str]:
    return [column["name"] for column in version["key_columns"]]
