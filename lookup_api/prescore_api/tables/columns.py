"""Columns of a version in memory: numbers without nulls as NumPy arrays, all else as Arrow arrays."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]


class Column(Protocol):
    """Values by position. Positions must exist, except that any position of an empty column is null."""

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the values take."""

    def value(self, position: int) -> Any:
        """Return one value as Python has it."""

    def to_list(self, positions: Integers) -> list[Any]:
        """Return the values at these positions as Python has them."""

    def to_array(self, positions: Integers) -> pa.Array:
        """Return the values at these positions as an Arrow array."""


class NumberColumn:
    """Numbers without nulls. NumPy is several times faster than Arrow in returning single values and lists."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self._values = values
        self.nbytes = int(values.nbytes)

    def value(self, position: int) -> Any:
        """Return one value as Python has it."""
        return self._values[position].item()

    def to_list(self, positions: Integers) -> list[Any]:
        """Return the values at these positions as Python has them."""
        if not len(self._values):
            return [None] * len(positions)
        values: list[Any] = self._values[positions].tolist()
        return values

    def to_array(self, positions: Integers) -> pa.Array:
        """Return the values at these positions as an Arrow array."""
        if not len(self._values):
            return pa.nulls(len(positions))
        values = self._values[positions]
        return pa.array(values)


class ArrowColumn:
    """Values of any type."""

    def __init__(self, values: pa.Array) -> None:
        self._values = values
        self.nbytes = int(values.nbytes)

    def value(self, position: int) -> Any:
        """Return one value as Python has it."""
        return self._values[position].as_py()

    def to_list(self, positions: Integers) -> list[Any]:
        """Return the values at these positions as Python has them."""
        array = self.to_array(positions)
        return array.to_pylist()  # type: ignore[no-any-return]

    def to_array(self, positions: Integers) -> pa.Array:
        """Return the values at these positions as an Arrow array."""
        if not len(self._values):
            return pa.nulls(len(positions))
        return self._values.take(pa.array(positions))


def build(values: pa.Array, order: Integers) -> Column:
    """Build a column with its values in this order of positions."""
    kind = values.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if is_number and not values.null_count:
        numbers = values.to_numpy(zero_copy_only=False)
        return NumberColumn(numbers[order])
    positions = pa.array(order)
    return ArrowColumn(values.take(positions))
