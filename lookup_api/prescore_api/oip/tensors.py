"""Tensors, and the requests and responses that consist of them, as REST and gRPC share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

from prescore.errors import RequestInvalid, TooLarge
from prescore_api.oip.datatypes import DATATYPES, Datatype, Values
from prescore_api.service.lookup import MAX_KEYS

Shape = Sequence[int]
Parameters = Mapping[str, Any]
"""Parameters by name: booleans, numbers and text."""
NO_PARAMETERS: Parameters = MappingProxyType({})
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


OutputTensor = tuple[TensorDescription, Shape, Values]
"""An output as it is described, with its shape in this response; the values are as those of `Tensor`."""


class InferRequest(NamedTuple):
    """A request for an inference. Without `outputs`, the response has all of them."""

    inputs: Sequence[Tensor]
    outputs: Sequence[RequestedOutput] = ()
    id: str = ""
    parameters: Parameters = NO_PARAMETERS


class InferResponse(NamedTuple):
    """The response to one, with the outputs in the order of the request."""

    model: str
    version: str
    parameters: Parameters
    outputs: Sequence[OutputTensor]
    id: str = ""


def datatype_of(name: str, datatype: Any) -> Datatype:
    """Return the datatype of an input; raise RequestInvalid for an unknown one."""
    found = DATATYPES.get(datatype) if isinstance(datatype, str) else None
    if found is None:
        raise RequestInvalid(f"Input {name!r} has the datatype {datatype!r}. Datatypes are {', '.join(DATATYPES)}.")
    return found


def count_elements(name: str, shape: Any) -> int:
    """Return how many elements a shape has; raise RequestInvalid for what is not a shape, and TooLarge."""
    if not isinstance(shape, list) or not 0 < len(shape) <= _MOST_DIMENSIONS:
        raise _not_a_shape(name, shape)
    count = 1
    for size in shape:
        if type(size) is not int or size < 0:
            raise _not_a_shape(name, shape)
        count *= size
    # No input has several values per row. Checked here, this bounds the work before anything is read.
    if count > MAX_KEYS:
        raise TooLarge(
            f"Input {name!r} has {count:,} elements; the limit is {MAX_KEYS:,} rows per request. Send several requests."
        )
    return count


def _not_a_shape(name: str, shape: Any) -> RequestInvalid:
    return RequestInvalid(f"Input {name!r} has the shape {shape!r}. A shape is a list of sizes, such as [2] or [2, 1].")


def describe(descriptions: Sequence[TensorDescription]) -> list[dict[str, Any]]:
    """Return descriptions as metadata has them."""
    described = []
    for name, datatype, shape in descriptions:
        described.append({"name": name, "datatype": datatype.name, "shape": shape})
    return described


def listed(descriptions: Sequence[TensorDescription]) -> str:
    """Return the names of tensors with their datatypes, for messages."""
    return ", ".join(f"{description.name} ({description.datatype.name})" for description in descriptions)


def inputs_by_name(request: InferRequest) -> dict[str, Tensor]:
    """Return the inputs by name; raise RequestInvalid for one that is there twice."""
    by_name = {tensor.name: tensor for tensor in request.inputs}
    if len(by_name) < len(request.inputs):
        raise RequestInvalid("An input is given more than once.")
    return by_name


def count_rows(request: InferRequest) -> int:
    """Return the number of rows, which all inputs share; raise RequestInvalid if one is not a single column."""
    counts = set()
    for name, _, shape, _ in request.inputs:
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
            raise RequestInvalid(f"Input {name!r} has the shape {shape}. Send one value per row: [n] or [n, 1].")
        counts.add(shape[0])
    if len(counts) > 1:
        sizes = ", ".join(f"{tensor.name} has {tensor.shape[0]:,}" for tensor in request.inputs)
        raise RequestInvalid(f"The inputs differ in their number of rows: {sizes}.")
    return counts.pop()


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
