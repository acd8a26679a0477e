"""Tensors, and the requests and responses that consist of them, as REST and gRPC share them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from prescore.errors import RequestInvalid, TooLarge
from prescore_api.oip.datatypes import DATATYPES, Datatype, Values
from prescore_api.service.lookup import MAX_KEYS

Shape = Sequence[int]
Parameters = Mapping[str, Any]
"""Parameters by name: booleans, numbers and text."""
_MOST_DIMENSIONS = 8


class Tensor(NamedTuple):
    """A named tensor; `values` are flat, in row-major order, as many as the shape says."""

    name: str
    datatype: Datatype
    shape: Shape
    values: Values


class RequestedOutput(NamedTuple):
    """An output that a response should have, and whether in binary; None leaves that to the request."""

    name: str
    binary: bool | None = None


class TensorDescription(NamedTuple):
    """A tensor as metadata describes it; -1 in a shape is any size."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class InferRequest:
    """A request for an inference. Without `outputs`, the response has all of them."""

    inputs: Sequence[Tensor]
    outputs: Sequence[RequestedOutput] = ()
    id: str = ""
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class InferResponse:
    """The response to one, with the outputs in the order of the request."""

    model: str
    version: str
    parameters: Parameters
    outputs: Sequence[Tensor]
    id: str = ""


def datatype_of(name: str, datatype: Any) -> Datatype:
    """Return the datatype of an input; raise RequestInvalid for an unknown one."""
    found = DATATYPES.get(datatype) if isinstance(datatype, str) else None
    if found is None:
        raise RequestInvalid(f"Input {name!r} has the datatype {datatype!r}. Datatypes are {', '.join(DATATYPES)}.")
    return found


def count_elements(name: str, shape: Any) -> int:
    """Return how many elements a shape has; raise RequestInvalid for what is not a shape, and TooLarge."""
    is_shape = isinstance(shape, Sequence) and 0 < len(shape) <= _MOST_DIMENSIONS
    if not is_shape or not all(type(size) is int and size >= 0 for size in shape):
        raise RequestInvalid(
            f"Input {name!r} has the shape {shape!r}. A shape is a list of sizes, such as [2] or [2, 1]."
        )
    count: int = math.prod(shape)
    # No input has several values per row. Checked here, this bounds the work before anything is read.
    if count > MAX_KEYS:
        raise TooLarge(
            f"Input {name!r} has {count:,} elements; the limit is {MAX_KEYS:,} rows per request. Send several requests."
        )
    return count


def describe(descriptions: Sequence[TensorDescription]) -> list[dict[str, Any]]:
    """Return descriptions as metadata has them."""
    return [{"name": name, "datatype": datatype.name, "shape": shape} for name, datatype, shape in descriptions]


def inputs_by_name(request: InferRequest) -> dict[str, Tensor]:
    """Return the inputs by name; raise RequestInvalid for one that is there twice."""
    by_name = {tensor.name: tensor for tensor in request.inputs}
    if len(by_name) < len(request.inputs):
        raise RequestInvalid("An input is given more than once.")
    return by_name


def count_rows(request: InferRequest) -> int:
    """Return the number of rows, which all inputs share; raise RequestInvalid if one is not a single column."""
    for tensor in request.inputs:
        if len(tensor.shape) > 2 or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
            raise RequestInvalid(
                f"Input {tensor.name!r} has the shape {list(tensor.shape)}. Send one value per row: [n] or [n, 1]."
            )
    counts = {tensor.name: tensor.shape[0] for tensor in request.inputs}
    if len(set(counts.values())) > 1:
        sizes = ", ".join(f"{name} has {count:,}" for name, count in counts.items())
        raise RequestInvalid(f"The inputs differ in their number of rows: {sizes}.")
    return request.inputs[0].shape[0]


def flatten(name: str, shape: Shape, count: int, data: Any) -> list[Any]:
    """Return the flat `count` values of data from JSON, which is flat or nested as its shape; raise RequestInvalid."""
    if not isinstance(data, list):
        raise RequestInvalid(f"Input {name!r} needs data: a list of its {count:,} elements.")
    is_nested = len(shape) > 1 and any(isinstance(element, list) for element in data)
    if is_nested:
        return _flatten_nested(name, shape, data)
    if len(data) != count:
        raise RequestInvalid(f"Input {name!r} has {len(data):,} elements, and its shape {list(shape)} has {count:,}.")
    return data


def _flatten_nested(name: str, shape: Shape, data: list[Any]) -> list[Any]:
    level: list[Any] = [data]
    for size in shape:
        if not all(isinstance(part, list) and len(part) == size for part in level):
            raise RequestInvalid(f"Input {name!r} has data that is not nested as its shape {list(shape)} is.")
        level = list(chain.from_iterable(level))
    return level
