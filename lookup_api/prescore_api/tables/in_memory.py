"""One version in memory: its outputs as columns, in the order of a sorted index over its keys. It never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from prescore.catalog.lookup import Row
from prescore.catalog.types import INTEGERS
from prescore_api.tables.version import TableVersion

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_SLICE = 65_536
# A power of two.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class InMemoryVersion:
    """A version's rows in the order of `index`: a whole-number key itself, or a hash of any other key.

    `coarse` is the first of each block of it. `keys` are kept for hashed ones only. Numbers without nulls are NumPy
    columns, all else Arrow's.
    """

    table_version: TableVersion
    index: Integers
    coarse: Integers
    keys: list[pa.Array]
    outputs: list[Any]
    hashed: bool

    @classmethod
    def build(cls, described: TableVersion, table: pa.Table) -> InMemoryVersion:
        """Of key columns and outputs, in the catalog's order of columns and any order of rows."""
        width = len(described.key)
        hashed = not (width == 1 and described.key[0]["type"] in INTEGERS)
        columns = [column.combine_chunks() for column in table.columns]
        unsorted = _hashes(table.select(range(width))) if hashed else columns[0].to_numpy(zero_copy_only=False)
        order = np.argsort(unsorted, kind="stable")
        keys = [column.take(pa.array(order)) for column in columns[:width]] if hashed else []
        index = unsorted[order]
        return cls(
            described,
            index,
            index[::_BLOCK].copy(),
            keys,
            [_ordered(column, order) for column in columns[width:]],
            hashed,
        )

    def with_table_version(self, described: TableVersion) -> InMemoryVersion:
        """The same rows under another description of them."""
        return replace(self, table_version=described)

    @property
    def nbytes(self) -> int:
        """What it takes of the memory."""
        return sum(int(column.nbytes) for column in [self.index, self.coarse, *self.keys, *self.outputs])

    def row(self, key: Sequence[Any]) -> Row:
        """One key's row, in the form in which the database gives it."""
        version = self.table_version.version
        place = self._place(tuple(map(_plain, key))) if self.hashed else self._whole(key[0])
        if place < 0:
            return (version, None)
        return (version, True, *(_value(column, place) for column in self.outputs))

    def find(self, keys: Sequence[Sequence[Any]]) -> tuple[Integers, Flags]:
        """Of columns of keys: where each key is, and whether it is there."""
        if not self.hashed:
            return self._places(np.array(keys[0], np.int64))
        found = [self._place(key) for key in zip(*(map(_plain, column) for column in keys), strict=True)]
        places = np.array(found, np.int64)
        return np.maximum(places, 0), places >= 0

    def _places(self, asked: Integers) -> tuple[Integers, Flags]:
        """Four times as fast as one search in all of the index: sorted, and at first in what fits a processor's cache.

        In a block then all of them take their next step together, so that memory is waited for once and not each time.
        """
        order, places = np.argsort(asked), np.empty(len(asked), np.int64)
        if not len(self.index):
            return np.zeros_like(places), np.zeros(len(asked), np.bool_)
        wanted = asked[order]
        at = np.maximum(self.coarse.searchsorted(wanted, side="right") - 1, 0) * _BLOCK
        step = _BLOCK // 2
        while step:
            at += step * (self.index.take(at + step, mode="clip") <= wanted)
            step //= 2
        places[order] = np.minimum(at, len(self.index) - 1)
        return places, self.index[places] == asked

    def _whole(self, key: int) -> int:
        place = int(self.index.searchsorted(key))
        return place if place < len(self.index) and self.index[place] == key else -1

    def _place(self, key: tuple[Any, ...]) -> int:
        """Where a key is, or -1. Hashes can be the same by chance: the keys themselves decide."""
        wanted = hash(key)
        place = int(self.index.searchsorted(wanted))
        while place < len(self.index) and self.index[place] == wanted:
            if all(column[place].as_py() == value for column, value in zip(self.keys, key, strict=True)):
                return place
            place += 1
        return -1


@dataclass(frozen=True)
class InMemoryOutputs:
    """The outputs of a version in memory at some places; at those of keys that are not there, anything."""

    rows: InMemoryVersion
    places: Integers
    found: Flags

    def to_lists(self, positions: Sequence[int]) -> list[list[Any]]:
        """As Python's values."""
        return [_listed(self.rows.outputs[place], self.places) for place in positions]

    def to_arrays(self, positions: Sequence[int]) -> list[pa.Array]:
        """As Arrow's."""
        return [_array(self.rows.outputs[place], self.places) for place in positions]


def _hashes(keys: pa.Table) -> Integers:
    """Python's own hashes, of this process: of all keys now and of single ones later in the same way."""
    parts = [np.zeros(0, np.int64)]
    # Whole columns of Python's values would take much memory.
    for start in range(0, keys.num_rows, _SLICE):
        columns = [column.to_pylist() for column in keys.slice(start, _SLICE).columns]
        parts.append(np.fromiter(map(hash, zip(*columns, strict=True)), np.int64))
    return np.concatenate(parts)


def _plain(value: Any) -> Any:
    """A key's value as it is held in memory."""
    return str(value) if isinstance(value, UUID) else value


def _ordered(column: pa.Array, order: Integers) -> Any:
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if number and not column.null_count:
        return column.to_numpy(zero_copy_only=False)[order]
    return column.take(pa.array(order))


def _value(column: Any, place: int) -> Any:
    value = column[place]
    return value.item() if isinstance(column, np.ndarray) else value.as_py()


def _listed(column: Any, places: Integers) -> list[Any]:
    if isinstance(column, np.ndarray):
        return column[places].tolist() if len(column) else [None] * len(places)
    return _array(column, places).to_pylist()  # type: ignore[no-any-return]


def _array(column: Any, places: Integers) -> pa.Array:
    if not len(column):
        return pa.nulls(len(places))
    return pa.array(column[places]) if isinstance(column, np.ndarray) else column.take(pa.array(places))
