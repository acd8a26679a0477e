"""Compare two versions of a model inside Postgres, in one statement that reads both tables once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from prescore.catalog import lookup
from prescore.catalog.catalog import Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.catalog.types import NUMBERS, TYPES
from prescore.comparison.differences import (
    POINTS,
    Bucket,
    ColumnDifference,
    Comparison,
    Distribution,
    ElementShift,
    KeyCounts,
    LabelPair,
    Mover,
    Shift,
    psi,
)
from prescore.errors import NotAllowed

VERSIONS = "prescore_versions"
"""The schema of the versions' tables."""
MOVERS = 10
"""How many of the rows that moved most are returned."""
MAX_LABEL_PAIRS = 100
"""The number of pairs of values above which a column has no confusion table."""
WITHOUT_TABLE = ("building", "failed", "retired")
_LABELS = ("boolean", "text", *(name for name, kind in TYPES.items() if kind.category == "integer"))
_COMMA = sql.SQL(", ")
_UNION = sql.SQL("\nunion all\n")


@dataclass(frozen=True)
class _Column:
    """A column that both versions have, and its names in the statement."""

    number: int
    name: str
    type: str
    tolerance: float | None

    @property
    def a(self) -> sql.Identifier:
        return sql.Identifier(f"a{self.number}")

    @property
    def b(self) -> sql.Identifier:
        return sql.Identifier(f"b{self.number}")


Parts = dict[tuple[str, int], list[Any]]
"""What the statement measured: the contents of each part of each column."""


def compare(
    connection: Connection,
    a: Version,
    b: Version,
    tolerances: Mapping[str, float] | None = None,
    *,
    schema: str = VERSIONS,
) -> Comparison:
    """Compare version `b` with version `a`: keys, and every column that both have with the same type.

    `tolerances` are, by column, how far a number may move without being counted as moved, in its own unit. By default
    it is a tenth of the standard deviation in version `a`, and 0 for arrays. `schema` is that of version `b`'s table.

    Raises NotAllowed when one of them has no table or when their key columns differ, DatabaseRefused when not all of
    their rows can be read.
    """
    _require_comparable(a, b)
    columns = _shared_columns(a, b, tolerances or {})
    parts: Parts = defaultdict(list)
    for row in connection.execute(_statement(a, b, columns, schema)):
        parts[row["part"], row["number"]].append(row["content"])
    counts = parts["keys", 0][0]
    changed = counts.pop("columns")
    keys = KeyCounts(**counts)
    lookup.require_count(a, keys.rows_a)
    lookup.require_count(b, keys.rows_b)
    differences = [_difference(column, changed[column.number - 1], parts) for column in columns]
    return Comparison(
        model=a["model"],
        a=a["version"],
        b=b["version"],
        keys=keys,
        columns=tuple(differences),
        not_compared=_not_compared(a, b),
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


def _shared_columns(a: Version, b: Version, tolerances: Mapping[str, float]) -> list[_Column]:
    """Return the output columns that both versions have with the same type."""
    types_in_b = _output_types(b)
    columns: list[_Column] = []
    for name, type_name in _output_types(a).items():
        if types_in_b.get(name) == type_name:
            columns.append(_Column(len(columns) + 1, name, type_name, tolerances.get(name)))
    return columns


def _not_compared(a: Version, b: Version) -> dict[str, str]:
    """Return why columns are not compared: column → reason."""
    types_in_a, types_in_b = _output_types(a), _output_types(b)
    reasons = {}
    for name in {**types_in_a, **types_in_b}:
        before, after = types_in_a.get(name), types_in_b.get(name)
        if before is None:
            reasons[name] = f"only in version {b['version']}"
        elif after is None:
            reasons[name] = f"only in version {a['version']}"
        elif before != after:
            reasons[name] = f"{before} in version {a['version']}, {after} in version {b['version']}"
    return reasons


def _output_types(version: Version) -> dict[str, str]:
    return {column["name"]: column["type"] for column in version["output_columns"]}


def _statement(a: Version, b: Version, columns: list[_Column], schema: str) -> sql.Composed:
    """Return the statement of a comparison, whose rows are `part`, `number` of the column, and `content`."""
    parts = [_keys_part(columns)]
    for column in columns:
        parts += _column_parts(column, len(_key(a)))
    return query(
        "comparison",
        a=sql.Identifier(VERSIONS, a["table_name"]),
        b=sql.Identifier(schema, b["table_name"]),
        keys=_COMMA.join(_named_keys(a)),
        values=_values(columns),
        matches=_matches(a),
        parts=_UNION.join(parts),
    )


def _named_keys(version: Version) -> list[sql.Composed]:
    template = sql.SQL("coalesce(a.{0}, b.{0}) as {1}")
    return [
        template.format(sql.Identifier(name), sql.Identifier(f"key{number}"))
        for number, name in enumerate(_key(version), 1)
    ]


def _matches(version: Version) -> sql.Composed:
    template = sql.SQL("a.{0} = b.{0}")
    conditions = [template.format(sql.Identifier(name)) for name in _key(version)]
    return sql.SQL(" and ").join(conditions)


def _values(columns: list[_Column]) -> sql.Composed:
    """Return the values of both versions. Without a column in common there is one that says nothing."""
    if not columns:
        return sql.SQL("null as nothing").format()
    template = sql.SQL("a.{0} as {1}, b.{0} as {2}")
    values = [template.format(sql.Identifier(column.name), column.a, column.b) for column in columns]
    return _COMMA.join(values)


def _keys_part(columns: list[_Column]) -> sql.Composed:
    differs = sql.SQL("{} is distinct from {}")
    any_changed = sql.SQL(" or ").join([differs.format(column.a, column.b) for column in columns])
    counts = [query("comparison_changed", a=column.a, b=column.b) for column in columns]
    return query(
        "comparison_keys",
        changed=any_changed if columns else sql.SQL("false"),
        columns=_COMMA.join(counts),
    )


def _column_parts(column: _Column, keys: int) -> list[sql.Composed]:
    """Return what is measured of a column, as its type allows."""
    kind = TYPES[column.type]
    parts = []
    if column.type in NUMBERS:
        parts += _number_parts(column, keys)
    elif kind.element in NUMBERS:
        parts.append(_elements_part(column))
    if column.type in _LABELS:
        part = query(
            "comparison_labels",
            number=sql.Literal(column.number),
            a=column.a,
            b=column.b,
            limit=sql.Literal(MAX_LABEL_PAIRS + 1),
        )
        parts.append(part)
    return parts


def _number_parts(column: _Column, keys: int) -> list[sql.Composed]:
    number = sql.Literal(column.number)
    value_a = query("comparison_finite", value=column.a)
    value_b = query("comparison_finite", value=column.b)
    shift = query(
        "comparison_shift",
        number=number,
        value_a=value_a,
        value_b=value_b,
        points=sql.Literal(list(POINTS)),
        tolerance=sql.Literal(column.tolerance),
    )
    distribution = query(
        "comparison_distribution",
        number=number,
        value_a=value_a,
        value_b=value_b,
    )
    movers = query(
        "comparison_movers",
        number=number,
        keys=_COMMA.join([sql.Identifier(f"key{place}") for place in range(1, keys + 1)]),
        a=column.a,
        b=column.b,
        value_a=value_a,
        value_b=value_b,
        limit=sql.Literal(MOVERS),
    )
    return [shift, distribution, movers]


def _elements_part(column: _Column) -> sql.Composed:
    return query(
        "comparison_elements",
        number=sql.Literal(column.number),
        a=column.a,
        b=column.b,
        type=TYPES[column.type].readable,
        value_a=query("comparison_finite", value=sql.Identifier("element", "a")),
        value_b=query("comparison_finite", value=sql.Identifier("element", "b")),
        tolerance=sql.Literal(column.tolerance or 0.0),
    )


def _difference(column: _Column, changed: int, parts: Parts) -> ColumnDifference:
    """Return how a column differs, from what the statement measured."""
    number = column.number
    shift = elements = labels = None
    if column.type in NUMBERS:
        shift = _shift(
            parts["shift", number][0],
            parts["distribution", number][0],
            parts["mover", number],
        )
    for content in parts["elements", number]:
        elements = ElementShift(tolerance=column.tolerance or 0.0, **content)
    pairs = parts["labels", number]
    if column.type in _LABELS and len(pairs) <= MAX_LABEL_PAIRS:
        labels = tuple(LabelPair(**pair) for pair in pairs)
    return ColumnDifference(
        column=column.name,
        type=column.type,
        changed=changed,
        shift=shift,
        elements=elements,
        labels=labels,
    )


def _shift(measured: dict[str, Any], distribution: dict[str, Any], movers: list[dict[str, Any]]) -> Shift:
    buckets = tuple(Bucket(**bucket) for bucket in distribution["buckets"] or ())
    return Shift(
        a=_distribution(measured, "a"),
        b=_distribution(measured, "b"),
        psi=psi(buckets),
        ks=distribution["ks"],
        mean_difference=measured["mean_difference"],
        largest_difference=measured["largest_difference"],
        tolerance=measured["tolerance"],
        moved=measured["moved"],
        buckets=buckets,
        movers=tuple(Mover(**mover) for mover in movers),
    )


def _distribution(measured: dict[str, Any], side: str) -> Distribution:
    return Distribution(
        count=measured[f"count_{side}"],
        mean=measured[f"mean_{side}"],
        deviation=measured[f"deviation_{side}"],
        quantiles=measured[f"quantiles_{side}"],
    )


def _key_kinds(version: Version) -> list[tuple[str, str]]:
    """Return name and category of each key column: Postgres compares integers of any size, but not text and a UUID."""
    return [(column["name"], TYPES[column["type"]].category) for column in version["key_columns"]]


def _listed_key(version: Version) -> str:
    return ", ".join(f"{column['name']} {column['type']}" for column in version["key_columns"])


def _key(version: Version) -> list[str]:
    return [column["name"] for column in version["key_columns"]]
