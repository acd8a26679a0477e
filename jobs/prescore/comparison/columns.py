"""The columns that two versions share, and those that cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from prescore.catalog.catalog import Version
from prescore.catalog.queries import query
from prescore.catalog.types import NUMBERS, TYPES, ColumnType

_LABELS = ("boolean", "text", *(name for name, kind in TYPES.items() if kind.category == "integer"))


@dataclass(frozen=True)
class SharedColumn:
    """An output column that both versions have with the same type.

    `number` distinguishes its measures in a statement. `tolerance` is how far a number may move without being counted.
    With `is_class`, its values are classes that a model chose: integers are then labels, and not numbers.
    """

    number: int
    name: str
    type: str
    tolerance: float | None
    is_class: bool = False

    @property
    def identifier(self) -> sql.Identifier:
        """The name of the column in a statement."""
        return sql.Identifier(self.name)

    @property
    def kind(self) -> ColumnType:
        """The type of the column."""
        return TYPES[self.type]

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.type in NUMBERS and not self.is_class

    @property
    def has_elements(self) -> bool:
        """Whether its values are arrays of numbers."""
        return self.kind.element in NUMBERS

    @property
    def may_be_label(self) -> bool:
        """Whether its values can be labels, if they are few."""
        return self.type in _LABELS

    def measure(self, name: str) -> str:
        """Return the name of a measure of this column in the row that a statement returns."""
        return f"{name}{self.number}"

    def value(self, relation: str | None = None, *, finite: bool = False) -> sql.Composed:
        """Return the number in a row of a relation; NULL if it is not finite, unless all are `finite`."""
        identifier = self.identifier if relation is None else sql.Identifier(relation, self.name)
        return query("comparison_number" if finite else "comparison_finite", value=identifier)


def shared_columns(a: Version, b: Version, tolerances: Mapping[str, float]) -> list[SharedColumn]:
    """Return the output columns that both versions have with the same type."""
    types_in_b = _output_types(b)
    classes = _classes(a) | _classes(b)
    return [
        SharedColumn(number, name, type_name, tolerances.get(name), name in classes)
        for number, (name, type_name) in enumerate(_output_types(a).items())
        if types_in_b.get(name) == type_name
    ]


def not_compared(a: Version, b: Version) -> dict[str, str]:
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


def _classes(version: Version) -> set[str]:
    """Return the output columns that hold the class that a model chose."""
    signature = version.get("signature") or {"outputs": ()}
    return {output["name"] for output in signature["outputs"] if output["is_label"]}
