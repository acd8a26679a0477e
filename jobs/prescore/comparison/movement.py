"""How the common rows of two versions differ, measured in one pass over their join."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from psycopg import sql

from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.comparison.columns import SharedColumn
from prescore.comparison.differences import LabelPair, Mover
from prescore.comparison.distribution import Distributions
from prescore.comparison.relation import Pair

MOVERS = 10
"""How many of the rows that moved most are returned."""
MAX_LABEL_PAIRS = 100
"""The number of values, and of pairs of values, above which a column has no confusion table."""
_MAX_GROUPS = 4096
"""The number of combinations of labels up to which several columns with labels are counted in one pass."""
_COMMA = sql.SQL(", ")

Row = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """A column as it is compared, with the distributions of a number, and how far it may move without being counted.

    Numbers that differ by no more than the `allowance` have not changed; without one, only equal numbers have not.
    `is_finite` says whether all numbers of both versions are finite.
    """

    column: SharedColumn
    distributions: Distributions | None
    tolerance: float | None
    is_finite: bool
    allowance: float | None = None

    def difference(self) -> sql.Composed:
        """Return how far a number moved in a common row."""
        value_a = self.column.value("a", finite=self.is_finite)
        value_b = self.column.value("b", finite=self.is_finite)
        return sql.SQL("({} - {})").format(value_b, value_a)


@dataclass
class Movement:
    """How a column differs between the common rows.

    `compared` are the rows with a number in both versions, and `total` the sum of their differences. `pairs` counts
    the pairs of values of a column with labels.
    """

    changed: int = 0
    compared: int = 0
    total: float = 0.0
    largest: float | None = None
    moved: int = 0
    pairs: Counter[tuple[Any, Any]] | None = None

    @property
    def mean(self) -> float | None:
        """The mean difference; None without a number to compare."""
        return self.total / self.compared if self.compared else None

    def add_equal(self, rows: int, labels: Mapping[Any, int]) -> None:
        """Add rows whose numbers or arrays are equal in both versions, and the rows of labels that are."""
        self.compared += rows
        if rows:
            self.largest = self.largest or 0.0
        if self.pairs is not None:
            for value, count in labels.items():
                self.pairs[value, value] += count

    def labels(self) -> tuple[LabelPair, ...] | None:
        """Return the pairs of values, most frequent first; None if there are too many, or if they are not labels."""
        if self.pairs is None or len(self.pairs) > MAX_LABEL_PAIRS:
            return None
        ordered = sorted(self.pairs.items(), key=_order)
        return tuple(LabelPair(a, b, rows) for (a, b), rows in ordered)


def _order(item: tuple[tuple[Any, Any], int]) -> tuple[Any, ...]:
    """Order pairs by their rows, then by their values, NULL last."""
    (a, b), rows = item
    return -rows, a is None, a, b is None, b


@dataclass
class Movements:
    """The common rows, those that differ in any column, and the movement of each column by its name."""

    common: int
    changed: int
    columns: dict[str, Movement]


def read_movements(
    connection: Connection,
    pair: Pair,
    columns: Sequence[Measured],
    labels: dict[str, int],
) -> Movements:
    """Return how the common rows differ. `labels` are the numbers of values of columns whose values may be labels."""
    with_labels = [each.column for each in columns if labels.get(each.column.name, inf) <= MAX_LABEL_PAIRS]
    found = Movements(0, 0, {each.column.name: Movement() for each in columns})
    for column in with_labels:
        found.columns[column.name].pairs = Counter()
    first, *others = _passes(with_labels, labels)
    for row in connection.execute(_statement(pair, columns, first)):
        found.common += row["rows"]
        found.changed += row["changed"]
        for each in columns:
            _add(found.columns[each.column.name], each.column, row)
        _count_labels(found, first, row)
    for grouped in others:
        for row in connection.execute(_statement(pair, (), grouped)):
            _count_labels(found, grouped, row)
    return found


def _passes(columns: Iterable[SharedColumn], labels: dict[str, int]) -> list[list[SharedColumn]]:
    """Divide columns with labels among passes with few combinations of labels each; the first one may be empty."""
    passes: list[list[SharedColumn]] = [[]]
    groups = 1
    for column in columns:
        # In either version, with NULL.
        pairs = (labels[column.name] + 1) ** 2
        if groups > 1 and groups * pairs > _MAX_GROUPS:
            passes.append([])
            groups = 1
        passes[-1].append(column)
        groups *= pairs
    return passes


def _statement(pair: Pair, columns: Sequence[Measured], labels: Sequence[SharedColumn]) -> sql.Composed:
    changed = sql.SQL(" or ").join(_changed(each) for each in columns)
    rows = query("comparison_movement_rows", changed=changed if columns else sql.SQL("false"))
    measures = [rows, *_selected_labels(labels)]
    for each in columns:
        measures += _measures(each)
    return query(
        "comparison_movement",
        measures=_COMMA.join(measures),
        a=pair.a.name,
        b=pair.b.name,
        matches=pair.matches(),
        elements=sql.SQL(" ").join(_elements(each) for each in columns if each.column.has_elements),
        labels=_COMMA.join(_grouped_labels(labels)) if labels else sql.SQL("()"),
    )


def _selected_labels(labels: Iterable[SharedColumn]) -> Iterator[sql.Composed]:
    for column in labels:
        for side in ("a", "b"):
            name = sql.Identifier(column.measure(side))
            yield sql.SQL("{} as {}").format(sql.Identifier(side, column.name), name)


def _grouped_labels(labels: Iterable[SharedColumn]) -> Iterator[sql.Identifier]:
    for column in labels:
        for side in ("a", "b"):
            yield sql.Identifier(side, column.name)


def _changed(each: Measured) -> sql.Composed:
    changed = query("comparison_changed", column=each.column.identifier)
    if each.allowance is None:
        return changed
    if each.column.has_elements:
        beyond: sql.Composable = sql.Identifier(each.column.measure("elements"), "beyond")
    else:
        beyond = _beyond(each, each.difference())
    return query("comparison_changed_beyond", changed=changed, beyond=beyond)


def _beyond(each: Measured, difference: sql.Composable) -> sql.Composed:
    return query("comparison_beyond", difference=difference, allowance=sql.Literal(each.allowance))


def _measures(each: Measured) -> Iterator[sql.Composed]:
    column = each.column
    name = sql.Identifier(column.measure("changed"))
    yield query("comparison_changed_rows", changed=_changed(each), changed_name=name)
    if column.is_number:
        yield query(
            "comparison_number_movement",
            difference=each.difference(),
            tolerance=sql.Literal(each.tolerance),
            compared_name=sql.Identifier(column.measure("compared")),
            total_name=sql.Identifier(column.measure("total")),
            largest_name=sql.Identifier(column.measure("largest")),
            moved_name=sql.Identifier(column.measure("moved")),
        )
    elif column.has_elements:
        yield query(
            "comparison_element_movement",
            distance=sql.Identifier(column.measure("elements"), "distance"),
            tolerance=sql.Literal(each.tolerance),
            largest_name=sql.Identifier(column.measure("largest")),
            moved_name=sql.Identifier(column.measure("moved")),
        )


def _elements(each: Measured) -> sql.Composed:
    column = each.column
    value_a = query("comparison_finite", value=sql.Identifier("element", "a"))
    value_b = query("comparison_finite", value=sql.Identifier("element", "b"))
    difference = sql.SQL("({} - {})").format(value_b, value_a)
    beyond: sql.Composable = sql.SQL("")
    if each.allowance is not None:
        beyond = query("comparison_elements_beyond", beyond=_beyond(each, difference))
    return query(
        "comparison_elements",
        column=column.identifier,
        type=column.kind.readable,
        difference=difference,
        beyond=beyond,
        changed=query("comparison_changed", column=column.identifier),
        name=sql.Identifier(column.measure("elements")),
    )


def _add(movement: Movement, column: SharedColumn, row: Row) -> None:
    """Add what a row of the pass says of a column, which is about the rows of one combination of labels."""
    changed = row[column.measure("changed")]
    movement.changed += changed
    if not column.is_number and not column.has_elements:
        return
    largest = row[column.measure("largest")]
    if column.is_number:
        movement.compared += row[column.measure("compared")]
        movement.total += row[column.measure("total")] or 0.0
    elif largest is None and row["rows"] > changed:
        # Arrays that are equal are not taken apart.
        largest = 0.0
    if largest is not None:
        movement.largest = max(largest, movement.largest or 0.0)
    movement.moved += row[column.measure("moved")]


def _count_labels(found: Movements, labels: Iterable[SharedColumn], row: Row) -> None:
    for column in labels:
        values = row[column.measure("a")], row[column.measure("b")]
        pairs = found.columns[column.name].pairs
        if pairs is not None:
            pairs[values] += row["rows"]


def read_movers(connection: Connection, pair: Pair, each: Measured) -> tuple[Mover, ...]:
    """Return the common rows in which a number moved most."""
    statement = query(
        "comparison_movers",
        keys=pair.keys(),
        column=each.column.identifier,
        a=pair.a.name,
        b=pair.b.name,
        matches=pair.matches(),
        difference=each.difference(),
        allowance=sql.Literal(each.allowance or 0.0),
        limit=sql.Literal(MOVERS),
    )
    return tuple(Mover(**row) for row in connection.execute(statement))
