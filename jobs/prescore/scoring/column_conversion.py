"""Convert one column of the domain to the type that the snapshot keeps it in, and find the rows that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pat

from prescore.errors import DomainInvalid
from prescore.scoring import column_types, conversion
from prescore.sources.source import SourceType

Types = dict[str, pa.DataType]
"""Column name → Arrow type."""


@dataclass(frozen=True)
class ColumnConverter:
    """Converts the values of one column of the domain.

    A column that Postgres will store (`is_stored`) must have no NUL in its texts.
    """

    name: str
    target: pa.DataType
    allow_precision_loss: bool = False
    is_stored: bool = False

    def check_type(self, source: pa.DataType, hidden: SourceType | None = None) -> None:
        """Raise DomainInvalid unless a column of type `source` can be converted, judged by the types alone.

        `hidden` is its type in the source, where Arrow does not show it.
        """
        if hidden is not None:
            self._check_hidden(hidden)
        column_types.check_type(
            self.name,
            source,
            self.target,
            allow_precision_loss=self.allow_precision_loss,
            is_stored=self.is_stored,
        )

    def _check_hidden(self, hidden: SourceType) -> None:
        target = self.target.value_type if pat.is_list(self.target) else self.target
        if target not in hidden.becomes:
            wanted = column_types.type_name(self.target)
            raise DomainInvalid(
                f"Column {self.name} is {hidden.name} in the domain, but must be {wanted}. {hidden.advice}"
            )

    def convert(self, values: pa.Array) -> pa.Array:
        """Return values as the target type; raise DomainInvalid for one that cannot be converted exactly."""
        converted = conversion.convert(
            self.name,
            values,
            self.target,
            allow_precision_loss=self.allow_precision_loss,
            is_stored=self.is_stored,
        )
        if self.is_stored:
            conversion.refuse_nul(self.name, converted)
        return converted


def misfits(
    column: ColumnConverter,
    values: pa.Array,
    first_row: int = 0,
) -> Iterator[tuple[int, str]]:
    """Yield the numbers of the rows whose value cannot be converted, each with the reason, by bisection."""
    try:
        column.convert(values)
    except DomainInvalid as error:
        if len(values) == 1:
            yield first_row, str(error)
            return
        middle = len(values) // 2
        yield from misfits(column, values[:middle], first_row)
        yield from misfits(column, values[middle:], first_row + middle)
