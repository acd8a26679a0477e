"""One version in memory: its outputs as columns, in the order of a sorted index over its keys. It never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from prescore.catalog.types import INTEGERS
from prescore.catalog.version_row import Row
from prescore_api.tables import columns
from prescore_api.tables.columns import ArrowColumn, Column, Integers
from prescore_api.tables.version import TableVersion

Flags = npt.NDArray[np.bool_]
# How many keys are hashed at a time.
_SLICE = 65_536
# How many index entries there are for each coarse entry. It must be a power of two.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class InMemoryVersion:
    """All rows of a version, in the order of `index`.

    `index` holds the key itself if the key is one integer column, and otherwise (`hashed`) a hash of the key, in which
    case `keys` holds the key columns. `coarse` is the first entry of each block of the index.
    """

    table_version: TableVersion
    index: Integers
    coarse: Integers
    keys: list[Column]
    outputs: list[Column]
    hashed: bool

    @classmethod
    def build(cls, version: TableVersion, table: pa.Table) -> InMemoryVersion:
        """Build it from a table with the key columns and the outputs in the catalog's order; rows in any order."""
        arrays = [column.combine_chunks() for column in table.columns]
        width = len(version.key)
        keys, outputs = arrays[:width], arrays[width:]
        hashed = width > 1 or version.key[0]["type"] not in INTEGERS
        unsorted = _hashes(keys) if hashed else keys[0].to_numpy(zero_copy_only=False)
        order = np.argsort(unsorted, kind="stable")
        index = unsorted[order]
        return cls(
            table_version=version,
            index=index,
            coarse=index[::_BLOCK].copy(),
            keys=_key_columns(keys, order) if hashed else [],
            outputs=[columns.build(array, order) for array in outputs],
            hashed=hashed,
        )

    def with_table_version(self, version: TableVersion) -> InMemoryVersion:
        """Return the same rows with another instance that describes them."""
        return replace(self, table_version=version)

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the rows take."""
        size = self.index.nbytes + self.coarse.nbytes
        for column in self.keys:
            size += column.nbytes
        for column in self.outputs:
            size += column.nbytes
        return size

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.index)

    def position(self, key: Sequence[Any]) -> int:
        """Return the position of a key, or -1."""
        return self._find_by_hash(key) if self.hashed else self._find_integer(key[0])

    def row(self, key: Sequence[Any]) -> Row:
        """Return the row of a key, as a statement would return it."""
        version = self.table_version.id
        position = self.position(key)
        if position < 0:
            return (version, False)
        values = [column.value(position) for column in self.outputs]
        return (version, True, *values)

    def find(self, keys: Sequence[Sequence[Any]]) -> tuple[Integers, Flags]:
        """Return the position of each key in columns of keys, and whether it exists.

        The position of a key that does not exist is that of another key, or 0.
        """
        if not self.hashed:
            integers = np.array(keys[0], np.int64)
            return self._find_integers(integers)
        rows = zip(*keys, strict=True)
        found = list(map(self._find_by_hash, rows))
        positions = np.array(found, np.int64)
        exists = positions >= 0
        return np.maximum(positions, 0), exists

    def _find_integers(self, keys: Integers) -> tuple[Integers, Flags]:
        """Find many keys, four times as fast as a binary search for each of them in the whole index.

        Sorted keys are searched in `coarse` first, which fits into a processor's cache. Then all of them take each step
        of the search in their block together, so that they wait for memory together and not one after the other.
        """
        if not len(self.index):
            no_positions = np.zeros(len(keys), np.int64)
            none_exists = np.zeros(len(keys), np.bool_)
            return no_positions, none_exists
        order = np.argsort(keys)
        ascending = keys[order]
        block = self.coarse.searchsorted(ascending, side="right") - 1
        found = np.maximum(block, 0) * _BLOCK
        step = _BLOCK // 2
        while step:
            candidates = self.index.take(found + step, mode="clip")
            found += step * (candidates <= ascending)
            step //= 2
        positions = np.empty(len(keys), np.int64)
        last = len(self.index) - 1
        positions[order] = np.minimum(found, last)
        exists = self.index[positions] == keys
        return positions, exists

    def _find_integer(self, key: int) -> int:
        """Return the position of a key, or -1."""
        position = int(self.index.searchsorted(key))
        if position < len(self.index) and self.index[position] == key:
            return position
        return -1

    def _find_by_hash(self, key: Sequence[Any]) -> int:
        """Return the position of a key, or -1. Different keys can have the same hash, so the keys are compared."""
        stored = [_stored(value) for value in key]
        wanted = hash(tuple(stored))
        position = int(self.index.searchsorted(wanted))
        while position < len(self.index) and self.index[position] == wanted:
            if [column.value(position) for column in self.keys] == stored:
                return position
            position += 1
        return -1


@dataclass(frozen=True)
class InMemoryOutputs:
    """The outputs at some positions of a version in memory; undefined in rows whose key does not exist."""

    columns: Sequence[Column]
    positions: Integers

    def to_lists(self, outputs: Sequence[int]) -> list[list[Any]]:
        """Return these outputs as Python values."""
        return [self.columns[output].to_list(self.positions) for output in outputs]

    def to_arrays(self, outputs: Sequence[int]) -> list[pa.Array]:
        """Return these outputs as Arrow arrays."""
        return [self.columns[output].to_array(self.positions) for output in outputs]


def _key_columns(keys: Sequence[pa.Array], order: Integers) -> list[Column]:
    positions = pa.array(order)
    return [ArrowColumn(array.take(positions)) for array in keys]


def _hashes(keys: Sequence[pa.Array]) -> Integers:
    """Return Python's hash of each key, which is the same as for a single key as long as this process lives."""
    length = len(keys[0])
    hashes = np.empty(length, np.int64)
    # Python values of whole columns would take much memory.
    for start in range(0, length, _SLICE):
        slices = [column.slice(start, _SLICE).to_pylist() for column in keys]
        rows = zip(*slices, strict=True)
        end = start + _SLICE
        hashes[start:end] = np.fromiter(map(hash, rows), np.int64)
    return hashes


def _stored(value: Any) -> Any:
    """Return a key's value as the key columns hold it: UUIDs are text."""
    return str(value) if isinstance(value, UUID) else value
