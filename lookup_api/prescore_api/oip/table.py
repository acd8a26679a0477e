"""A version's table as a model of the protocol: keys are inputs, columns are outputs.

A tensor has a value in every row. A row whose key was not found has zeros and empty texts, and `found` is false there.
A passthrough column may be null: its values are filled in the same way, and the tensor `NAME.is_null` says where. NaN
and infinity, which JSON lacks, are null here as they are in JSON under /v1. Outputs of a model are never null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from prescore import wording
from prescore.catalog import keys
from prescore.catalog.catalog import Column
from prescore.catalog.naming import IS_NULL
from prescore.catalog.types import FLOATS, TYPES
from prescore.errors import KeyInvalid, NotAllowed, RequestInvalid
from prescore_api.oip.datatypes import DATATYPES, Datatype
from prescore_api.oip.tensors import Shape, Tensor
from prescore_api.service.answers import Age
from prescore_api.tables.version import TableVersion

PLATFORM = "prescore_table"
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


@dataclass(frozen=True)
class Rows:
    """The rows that answer a request: whether each was found, the columns of all outputs, and whether they are stale.

    Values of rows that were not found are undefined.
    """

    found: Sequence[bool]
    columns: Sequence[Sequence[Any]]
    age: Age


class TensorDescription(NamedTuple):
    """A tensor as metadata describes it; -1 in a shape is any size."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Output(NamedTuple):
    """An output tensor and how it is computed from rows: its shape after the number of rows, and its values."""

    description: TensorDescription
    compute: Callable[[Rows], tuple[Shape, list[Any]]]


class Signature:
    """The tensors of a version: `inputs` in the order of the key, `outputs` by name.

    `clocks` are the parameters that never change. A version that was never published has no `published_at`.
    """

    def __init__(self, version: TableVersion) -> None:
        self.inputs = [TensorDescription(column["name"], datatype(column["type"]), (-1,)) for column in version.key]
        outputs = []
        for position, column in enumerate(version.outputs):
            outputs.append(_values(position, column))
            if _may_be_null(column):
                outputs.append(_is_null(position, column))
        outputs.append(Output(TensorDescription("found", DATATYPES["BOOL"], (-1,)), _found))
        outputs.append(Output(TensorDescription("stale", DATATYPES["BOOL"], (-1,)), _stale))
        self.outputs = {output.description.name: output for output in outputs}
        data_as_of, published_at = version.row["data_as_of"], version.row["published_at"]
        self.clocks: dict[str, Any] = {"source": "table", "version": version.version}
        self.clocks["data_as_of"] = data_as_of.isoformat()
        if published_at is not None:
            self.clocks["published_at"] = published_at.isoformat()

    def select(self, names: Sequence[str]) -> list[Output]:
        """Return the outputs with these names, or all of them if there are no names; raise RequestInvalid."""
        if not names:
            return list(self.outputs.values())
        unknown = [name for name in names if name not in self.outputs]
        if unknown:
            raise RequestInvalid(f"The model has no output {wording.names(unknown)}; it has {', '.join(self.outputs)}.")
        return [self.outputs[name] for name in names]


_signatures: WeakKeyDictionary[TableVersion, Signature] = WeakKeyDictionary()


def signature(version: TableVersion) -> Signature:
    """Return the tensors of a version."""
    found = _signatures.get(version)
    if found is None:
        found = _signatures[version] = Signature(version)
    return found


def datatype(kind: str) -> Datatype:
    """Return the datatype of a column's values; for an array, of its elements."""
    return DATATYPES[_NAMES[TYPES[kind].element or kind]]


def parse_keys(version: TableVersion, inputs: Mapping[str, Tensor]) -> list[list[Any]]:
    """Return the keys in a request's inputs as columns of Python values, in the order of the key; raise KeyInvalid."""
    expected = signature(version).inputs
    if inputs.keys() != {description.name for description in expected}:
        sent = ", ".join(inputs)
        wanted = ", ".join(f"{description.name} ({description.datatype.name})" for description in expected)
        raise KeyInvalid(f"The request has the inputs {sent}. Send the key of {version.model}: {wanted}.")
    columns = [_key_values(description, inputs[description.name]) for description in expected]
    # Ranges of integers and the formats of text, times and UUIDs are checked as for JSON under /v1.
    return keys.parse_columns(version.key, columns)


def compute(outputs: Sequence[Output], rows: Rows) -> list[Tensor]:
    """Return the output tensors; raise NotAllowed for values that no tensor can have."""
    tensors = []
    for (name, kind, _), compute_values in outputs:
        shape, values = compute_values(rows)
        tensors.append(Tensor(name, kind, [len(rows.found), *shape], values))
    return tensors


def _key_values(description: TensorDescription, tensor: Tensor) -> list[Any]:
    """Return the values of a key's input; any integer datatype will do, because values are compared, not bytes."""
    if tensor.datatype.kind != description.datatype.kind:
        raise KeyInvalid(
            f"Input {tensor.name!r} has the datatype {tensor.datatype.name}, and this key takes "
            f"{description.datatype.name}."
        )
    values = tensor.values
    return values if isinstance(values, list) else values.tolist()


def _may_be_null(column: Column) -> bool:
    return column["role"] != "output"


def _values(position: int, column: Column) -> Output:
    kind = column["type"]
    is_array = TYPES[kind].is_array
    description = TensorDescription(column["name"], datatype(kind), (-1, -1) if is_array else (-1,))
    fill = _FILL[description.datatype.kind]
    as_text = description.datatype.kind == "bytes" and TYPES[kind].category not in ("text", "array")

    def compute_values(rows: Rows) -> tuple[Shape, list[Any]]:
        present = _present(column, rows.found, rows.columns[position])
        if is_array:
            return _matrix(column, present, fill)
        if as_text:
            return (), [fill if value is None else _text(value) for value in present]
        return (), [fill if value is None else value for value in present]

    return Output(description, compute_values)


def _is_null(position: int, column: Column) -> Output:
    def compute_nulls(rows: Rows) -> tuple[Shape, list[Any]]:
        return (), [value is None for value in _present(column, rows.found, rows.columns[position])]

    return Output(TensorDescription(column["name"] + IS_NULL, DATATYPES["BOOL"], (-1,)), compute_nulls)


def _found(rows: Rows) -> tuple[Shape, list[Any]]:
    return (), list(rows.found)


def _stale(rows: Rows) -> tuple[Shape, list[Any]]:
    return (), [rows.age.stale] * len(rows.found)


def _present(column: Column, found: Sequence[bool], values: Sequence[Any]) -> list[Any]:
    """Return the values of a column, None where a row was not found or its value is null; raise NotAllowed."""
    if _may_be_null(column):
        present = [value if is_found else None for value, is_found in zip(values, found, strict=True)]
        if column["type"] in FLOATS:
            present = [None if value is None or not math.isfinite(value) else value for value in present]
        return present
    present = []
    for position, (value, is_found) in enumerate(zip(values, found, strict=True)):
        if is_found and value is None:
            raise NotAllowed(
                f"{column['name']} is null in row {position} of the request, and tensors have no nulls. Request other "
                "outputs, or look the key up under /v1."
            )
        present.append(value if is_found else None)
    return present


def _matrix(column: Column, lists: list[Any], fill: Any) -> tuple[Shape, list[Any]]:
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
