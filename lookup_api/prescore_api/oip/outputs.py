"""Columns as output tensors.

A tensor has a value in every row. A row without an answer has zeros and empty texts, and a flag says so. A passthrough
column may be null: its values are filled in the same way, and the tensor `NAME.is_null` says where. NaN and infinity,
which JSON lacks, are null here as they are in JSON under /v1. Outputs of a model are never null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from prescore import wording
from prescore.catalog.catalog import Column
from prescore.catalog.naming import IS_NULL
from prescore.catalog.types import FLOATS, TYPES
from prescore.errors import NotAllowed, RequestInvalid
from prescore_api.oip.datatypes import DATATYPES, Datatype
from prescore_api.oip.tensors import OutputTensor, Shape, TensorDescription

_NAMES = {
    "smallint": "INT16",
    "integer": "INT32",
    "bigint": "INT64",
    "real": "FP32",
    "double precision": "FP64",
    "boolean": "BOOL",
    "text": "BYTES",
    "uuid": "BYTES",
    "date": "BYTES",
    "timestamp": "BYTES",
    "timestamptz": "BYTES",
}
_FILL = {"bool": False, "int": 0, "float": 0.0, "bytes": ""}


class Rows(NamedTuple):
    """The rows that answer a request.

    `answered` says which of them have values in `columns`, whose other values are undefined. `flags` are tensors beside
    the columns, by name.
    """

    answered: Sequence[bool]
    columns: Sequence[Sequence[Any]]
    flags: Mapping[str, list[Any]]


class Output(NamedTuple):
    """An output tensor and how it is computed from rows: its shape after the number of rows, and its values."""

    description: TensorDescription
    compute: Callable[[Rows], tuple[Shape, Sequence[Any]]]


class Outputs:
    """The output tensors of some columns, and of flags with their datatypes."""

    def __init__(self, columns: Sequence[Column], flags: Mapping[str, str]) -> None:
        outputs = []
        for position, column in enumerate(columns):
            outputs.append(_values(position, column))
            if _may_be_null(column):
                outputs.append(_is_null(position, column))
        outputs += [_flag(name, kind) for name, kind in flags.items()]
        self._by_name = {output.description.name: output for output in outputs}
        self._all = list(self._by_name.values())
        self.descriptions = [output.description for output in outputs]

    def select(self, names: Sequence[str]) -> Sequence[Output]:
        """Return the outputs with these names, or all of them if there are no names; raise RequestInvalid."""
        if not names:
            return self._all
        try:
            return [self._by_name[name] for name in names]
        except KeyError as error:
            unknown = [name for name in names if name not in self._by_name]
            existing = ", ".join(self._by_name)
            raise RequestInvalid(f"The model has no output {wording.names(unknown)}; it has {existing}.") from error


def datatype(kind: str) -> Datatype:
    """Return the datatype of a column's values; for an array, of its elements."""
    return DATATYPES[_NAMES[TYPES[kind].element or kind]]


def compute(outputs: Sequence[Output], rows: Rows) -> list[OutputTensor]:
    """Return the output tensors; raise NotAllowed for values that no tensor can have."""
    count = len(rows.answered)
    tensors: list[OutputTensor] = []
    for description, compute_values in outputs:
        shape, values = compute_values(rows)
        tensors.append((description, [count, *shape], values))
    return tensors


def _may_be_null(column: Column) -> bool:
    return column["role"] != "output"


def _values(position: int, column: Column) -> Output:
    kind = column["type"]
    is_array = TYPES[kind].is_array
    description = TensorDescription(column["name"], datatype(kind), (-1, -1) if is_array else (-1,))
    fill = _FILL[description.datatype.kind]
    as_text = description.datatype.kind == "bytes" and TYPES[kind].category not in ("text", "array")

    def compute_values(rows: Rows) -> tuple[Shape, Sequence[Any]]:
        present = _present(column, rows.answered, rows.columns[position])
        if is_array:
            return _matrix(column, present, fill)
        if as_text:
            return (), [fill if value is None else _text(value) for value in present]
        if None in present:
            return (), [fill if value is None else value for value in present]
        return (), present

    return Output(description, compute_values)


def _is_null(position: int, column: Column) -> Output:
    def compute_nulls(rows: Rows) -> tuple[Shape, list[Any]]:
        values = _present(column, rows.answered, rows.columns[position])
        return (), [value is None for value in values]

    description = TensorDescription(column["name"] + IS_NULL, DATATYPES["BOOL"], (-1,))
    return Output(description, compute_nulls)


def _flag(name: str, kind: str) -> Output:
    return Output(TensorDescription(name, DATATYPES[kind], (-1,)), lambda rows: ((), rows.flags[name]))


def _present(column: Column, answered: Sequence[bool], values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a column, None where a row has no answer or its value is null; raise NotAllowed."""
    if not _may_be_null(column):
        return _never_null(column, answered, values)
    present = [value if is_answered else None for value, is_answered in zip(values, answered, strict=True)]
    if column["type"] in FLOATS:
        return [None if value is None or not math.isfinite(value) else value for value in present]
    return present


def _never_null(column: Column, answered: Sequence[bool], values: Sequence[Any]) -> Sequence[Any]:
    if all(answered) and None not in values:
        return values
    present = []
    for position, (value, is_answered) in enumerate(zip(values, answered, strict=True)):
        if is_answered and value is None:
            raise NotAllowed(
                f"{column['name']} is null in row {position} of the request, and tensors have no nulls. Request other "
                "outputs, or look the key up under /v1."
            )
        present.append(value if is_answered else None)
    return present


def _matrix(column: Column, lists: Sequence[Any], fill: Any) -> tuple[Shape, list[Any]]:
    """Return lists of one length as the rows of a matrix; raise NotAllowed for lists of several lengths."""
    widths = {len(value) for value in lists if value is not None}
    if len(widths) > 1:
        shortest, *_, longest = sorted(widths)
        raise NotAllowed(
            f"{column['name']} has between {shortest:,} and {longest:,} elements, and the rows of a tensor have one "
            "width. Request other outputs, or look the keys up under /v1."
        )
    width = widths.pop() if widths else 0
    filler = [fill] * width
    flat: list[Any] = []
    for value in lists:
        flat += filler if value is None else value
    return (width,), flat


def _text(value: Any) -> str:
    """Return a time or a UUID as JSON under /v1 spells it. Times beyond Python's range are text already."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
