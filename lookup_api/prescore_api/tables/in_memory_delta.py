"""A delta in memory: its own rows, the keys that it hides, and the base that they change, which is shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from prescore.catalog.version_row import Row
from prescore_api.tables.columns import Column, Integers
from prescore_api.tables.in_memory import Flags, InMemoryVersion
from prescore_api.tables.version import TableVersion


@dataclass(frozen=True, eq=False)
class InMemoryDelta:
    """All rows of a delta: those in `own`, and those of `base` whose keys neither `own` nor `hidden` has.

    The positions of rows are those in the base, and after them those in `own`.
    """

    table_version: TableVersion
    own: InMemoryVersion
    hidden: InMemoryVersion
    base: InMemoryVersion

    @classmethod
    def build(cls, version: TableVersion, base: InMemoryVersion, table: pa.Table) -> InMemoryDelta:
        """Build it from a table with the key, the outputs and, last, whether the row only hides one of the base."""
        is_hidden = table.column(table.num_columns - 1)
        rows = table.select(range(table.num_columns - 1))
        keys = rows.select(range(len(version.key)))
        return cls(
            table_version=version,
            own=InMemoryVersion.build(version, rows.filter(pc.invert(is_hidden))),
            hidden=InMemoryVersion.build(version, keys.filter(is_hidden)),
            base=base,
        )

    def with_table_version(self, version: TableVersion) -> InMemoryDelta:
        """Return the same rows with another instance that describes them."""
        return replace(self, table_version=version)

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the rows take, with those of the base."""
        return self.own_bytes + self.base.nbytes

    @property
    def own_bytes(self) -> int:
        """The same without the base."""
        return self.own.nbytes + self.hidden.nbytes

    @property
    def outputs(self) -> list[Column]:
        """The outputs as columns, by the positions of rows."""
        pairs = zip(self.base.outputs, self.own.outputs, strict=True)
        return [_Overlaid(base, own, self.base.rows) for base, own in pairs]

    def row(self, key: Sequence[Any]) -> Row:
        """Return the row of a key, as a statement would return it."""
        version = self.table_version.id
        part, position = self.own, self.own.position(key)
        if position < 0 and self.hidden.position(key) < 0:
            part, position = self.base, self.base.position(key)
        if position < 0:
            return (version, False)
        return (version, True, *(column.value(position) for column in part.outputs))

    def find(self, keys: Sequence[Sequence[Any]]) -> tuple[Integers, Flags]:
        """Return the position of each key in columns of keys, and whether it exists, as `InMemoryVersion.find`."""
        own, is_own = self.own.find(keys)
        _, is_hidden = self.hidden.find(keys)
        base, is_base = self.base.find(keys)
        positions = np.where(is_own, own + self.base.rows, base)
        return positions, is_own | (is_base & ~is_hidden)


@dataclass(frozen=True)
class _Overlaid:
    """A column whose first `boundary` values are those of the base."""

    base: Column
    own: Column
    boundary: int

    @property
    def nbytes(self) -> int:
        return self.base.nbytes + self.own.nbytes

    def value(self, position: int) -> Any:
        if position < self.boundary:
            return self.base.value(position)
        return self.own.value(position - self.boundary)

    def to_list(self, positions: Integers) -> list[Any]:
        is_own = self._are_own(positions)
        if not is_own.any():
            return self.base.to_list(positions)
        values = np.empty(len(positions), np.object_)
        values[~is_own] = _objects(self.base.to_list(positions[~is_own]))
        values[is_own] = _objects(self.own.to_list(positions[is_own] - self.boundary))
        return values.tolist()

    def to_array(self, positions: Integers) -> pa.Array:
        is_own = self._are_own(positions)
        if not is_own.any():
            return self.base.to_array(positions)
        own = self.own.to_array(positions[is_own] - self.boundary)
        base = self.base.to_array(positions[~is_own])
        places = np.empty(len(positions), np.int64)
        places[~is_own] = np.arange(len(base))
        places[is_own] = len(base) + np.arange(len(own))
        # An empty base has no type.
        return pa.concat_arrays([base.cast(own.type), own]).take(pa.array(places))

    def _are_own(self, positions: Integers) -> npt.NDArray[np.bool_]:
        return positions >= self.boundary


def _objects(values: list[Any]) -> npt.NDArray[np.object_]:
    """Return values as an array of objects: NumPy would make lists of one length a matrix."""
    array = np.empty(len(values), np.object_)
    for position, value in enumerate(values):
        array[position] = value
    return array
