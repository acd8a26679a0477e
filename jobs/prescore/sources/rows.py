"""Rows of a database as Arrow batches: in each of them, a column has values of one kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from prescore.sources.source import Batch, SourceType, Unreadable
from prescore.sources.values import Reader, Unfit, Unparsed, kind

Kinds = tuple[str | None, ...]
"""The kind of value that each column has, None for a null."""
# What pyarrow raises for values that it cannot hold in one column.
_TOO_MUCH = (pa.ArrowException, OverflowError, TypeError, ValueError)


@dataclass
class RowReader:
    """Makes batches of rows, from the values at `positions`, a position for each column.

    `types` are the types of columns that neither their values nor Arrow show.
    """

    readers: Mapping[str, Reader]
    positions: Mapping[str, int]
    types: dict[str, SourceType] = field(default_factory=dict)

    def schema(self, rows: Sequence[Any]) -> pa.Schema:
        """Return the types of the first rows; a column with several kinds of values has the type that is needed.

        A column of nothing but objects that Arrow has no type for is added to `types`.
        """
        fields = []
        for name, reader in self.readers.items():
            values = [row[self.positions[name]] for row in rows]
            classes = _classes(values)
            if len(classes) == 1 and Unparsed not in classes and not any(map(kind, values)):
                self.types.setdefault(name, SourceType(classes.pop().__name__))
            fields.append((name, _arrow_type(reader, values)))
        return pa.schema(fields)

    def batches(self, rows: Sequence[Any]) -> Iterator[Batch]:
        """Yield the rows, and those that cannot be read."""
        columns = {}
        faults: dict[int, tuple[str, str]] = {}
        for name, reader in self.readers.items():
            values = [row[self.positions[name]] for row in rows]
            if not reader.is_plain(_classes(values)):
                values = _read(name, reader, values, faults)
            columns[name] = values
        unreadable = [self._unreadable(rows[number], *fault) for number, fault in faults.items()]
        if unreadable:
            yield Batch(self._empty(), unreadable)
        numbers = [number for number in range(len(rows)) if number not in faults]
        for kinds, group in _groups(columns, numbers).items():
            yield from self._group(rows, columns, kinds, group)

    def _group(
        self, rows: Sequence[Any], columns: Mapping[str, list[Any]], kinds: Kinds, numbers: list[int]
    ) -> Iterator[Batch]:
        """Yield rows whose columns have these kinds of values; halve them while Arrow cannot hold them together."""
        arrays = {}
        for name, value_kind in zip(columns, kinds, strict=True):
            values = [columns[name][number] for number in numbers]
            try:
                arrays[name] = self.readers[name].array(values, value_kind)
            except _TOO_MUCH as error:
                if len(numbers) == 1:
                    reason = _reason(name, values[0], f"which Arrow cannot hold: {error}")
                    yield Batch(self._empty(), [self._unreadable(rows[numbers[0]], name, reason)])
                    return
                middle = len(numbers) // 2
                yield from self._group(rows, columns, kinds, numbers[:middle])
                yield from self._group(rows, columns, kinds, numbers[middle:])
                return
        yield Batch(pa.record_batch(arrays))

    def _unreadable(self, row: Any, column: str, reason: str) -> Unreadable:
        values = {name: row[position] for name, position in self.positions.items()}
        return Unreadable(values, column, reason)

    def _empty(self) -> pa.RecordBatch:
        arrays = {name: reader.array([], None) for name, reader in self.readers.items()}
        return pa.record_batch(arrays)


def _classes(values: list[Any]) -> set[type]:
    return set(map(type, values)) - {type(None)}


def _read(
    name: str,
    reader: Reader,
    values: list[Any],
    faults: dict[int, tuple[str, str]],
) -> list[Any]:
    """Return the values of a column as what they mean there; add to `faults` the rows whose value does not fit."""
    read = []
    for number, value in enumerate(values):
        try:
            read.append(reader.read(value))
        except Unfit as unfit:
            read.append(None)
            faults.setdefault(number, (name, _reason(name, value, str(unfit))))
    return read


def _reason(name: str, value: Any, unfit: str) -> str:
    text = str(value)
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    return f"Column {name} holds {shown}, {unfit}. Fix or cast it in the domain query."


def _kinds(values: list[Any]) -> set[str | None]:
    examples = {type(value): value for value in values if value is not None}
    # One value of each class is enough, except for times: some have a zone and others do not.
    if not any(issubclass(example, datetime) for example in examples):
        return {kind(value) for value in examples.values()}
    return {kind(value) for value in values if value is not None}


def _groups(columns: Mapping[str, list[Any]], numbers: list[int]) -> dict[Kinds, list[int]]:
    """Return the numbers of the rows by the kinds of their values. Nulls go with any kind, if there is only one."""
    only: dict[str, str | None] = {}
    mixed = []
    for name, values in columns.items():
        kinds = _kinds(values)
        if len(kinds) > 1:
            mixed.append(name)
        else:
            only[name] = next(iter(kinds), None)
    if not mixed:
        return {tuple(only.values()): numbers} if numbers else {}
    groups: dict[Kinds, list[int]] = {}
    for number in numbers:
        kinds_of_row = tuple(only[name] if name in only else kind(columns[name][number]) for name in columns)
        groups.setdefault(kinds_of_row, []).append(number)
    return groups


def _arrow_type(reader: Reader, values: list[Any]) -> pa.DataType:
    """Return the type of a column's first values, and the needed type where they do not decide."""
    faults: dict[int, tuple[str, str]] = {}
    if not reader.is_plain(_classes(values)):
        values = _read("", reader, values, faults)
    kinds = _kinds(values)
    needed = reader.needed.type or pa.null()
    if len(kinds) != 1:
        return needed
    try:
        return reader.array(values, kinds.pop()).type
    except _TOO_MUCH:
        return needed
