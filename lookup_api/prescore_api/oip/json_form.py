"""Requests and responses in JSON, with binary tensors after it.

The binary form is an extension by Triton: tensors with the parameter `binary_data_size` have no `data`. Their bytes
follow the JSON, in order, and a header has the length of the JSON.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from prescore.errors import RequestInvalid
from prescore_api.oip.datatypes import Values
from prescore_api.oip.tensors import (
    NO_PARAMETERS,
    InferRequest,
    InferResponse,
    OutputTensor,
    Parameters,
    RequestedOutput,
    Tensor,
    count_elements,
    datatype_of,
    flatten,
)

LENGTH_HEADER = "Inference-Header-Content-Length"
_SIZE = "binary_data_size"
_NEEDS_LENGTH = (
    f"If binary tensors follow the JSON, the header {LENGTH_HEADER} must have the length of the JSON in bytes."
)
_LEFT_BEHIND = (
    f"Triton's and KServe's clients add {LENGTH_HEADER} to the dictionary of headers that they are given. Give them a "
    "new one for each request."
)


class Body(NamedTuple):
    """A body: its JSON, and what follows it. `json_length` is None if nothing follows."""

    content: bytes
    json_length: int | None


def parse(body: bytes, length_header: str | None) -> InferRequest:
    """Read a request; `length_header` is the value of LENGTH_HEADER. Raises RequestInvalid."""
    length = _length(body, length_header)
    content = _object(body[:length], "The body", has_length=length_header is not None)
    binary = _Binary(body, length)
    inputs = [_input(item, binary) for item in _objects(content, "inputs")]
    binary.require_end()
    if not inputs:
        raise RequestInvalid('The body needs inputs: {"inputs": [{"name": …, "shape": …, "datatype": …, "data": …}]}.')
    return InferRequest(
        inputs=inputs,
        outputs=[_requested(item) for item in _objects(content, "outputs")],
        id=_id(content.get("id")),
        parameters=_parameters(content),
    )


def render(response: InferResponse, request: InferRequest) -> Body:
    """Return the response's body, with binary tensors where the request wants them."""
    binary = _wanted_in_binary(request, response)
    parts: list[bytes] = []
    outputs = [_output(tensor, parts if tensor[0].name in binary else None) for tensor in response.outputs]
    content: dict[str, Any] = {
        "model_name": response.model,
        "model_version": response.version,
        "parameters": response.parameters,
    }
    if response.id:
        content["id"] = response.id
    content["outputs"] = outputs
    json = orjson.dumps(content)
    return Body(b"".join([json, *parts]), len(json) if parts else None)


class _Binary:
    """The bytes after the JSON, from which tensors are taken in order."""

    def __init__(self, body: bytes, position: int) -> None:
        self._content = body
        self._position = position

    def take(self, name: str, size: Any) -> bytes:
        if type(size) is not int or size < 0:
            raise RequestInvalid(f"Input {name!r} has a {_SIZE} that is not a number of bytes.")
        start, self._position = self._position, self._position + size
        if self._position > len(self._content):
            raise RequestInvalid(
                f"Input {name!r} has {size:,} bytes of binary data, and {len(self._content) - start:,} bytes are left "
                f"after the JSON. {_NEEDS_LENGTH}"
            )
        return self._content[start : self._position]

    def require_end(self) -> None:
        left = len(self._content) - self._position
        if left:
            raise RequestInvalid(f"{left:,} bytes follow the last binary tensor.")


def _length(body: bytes, header: str | None) -> int:
    if header is None:
        return len(body)
    if not (header.isascii() and header.isdecimal()) or int(header) > len(body):
        raise RequestInvalid(
            f"{LENGTH_HEADER} is {header[:60]!r}. It takes the length of the JSON in bytes, at most that of the body, "
            f"{len(body):,}. {_LEFT_BEHIND}"
        )
    if int(header) == 0:
        raise RequestInvalid(f"{LENGTH_HEADER} is 0, and the body must begin with JSON that names the inputs.")
    return int(header)


def _object(body: bytes, what: str, *, has_length: bool) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = "it is empty" if not body else str(error)
        hint = _LEFT_BEHIND if has_length else _NEEDS_LENGTH
        raise RequestInvalid(f"{what} is not valid JSON: {reason}. {hint}") from error
    if not isinstance(content, dict):
        raise RequestInvalid(f"{what} must be an object with inputs.")
    return content


def _objects(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = content.get(name)
    if items is None:
        return []
    if not isinstance(items, list):
        raise _unnamed(name)
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise _unnamed(name)
    return items


def _unnamed(name: str) -> RequestInvalid:
    return RequestInvalid(f"{name} must be a list of objects, each of which has a name.")


def _parameters(item: dict[str, Any]) -> Parameters:
    parameters = item.get("parameters")
    if parameters is None:
        return NO_PARAMETERS
    if not isinstance(parameters, dict):
        raise RequestInvalid("parameters must be an object.")
    return parameters


def _id(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestInvalid("id must be text.")
    return value


def _input(item: dict[str, Any], binary: _Binary) -> Tensor:
    name: str = item["name"]
    shape: Any = item.get("shape")
    datatype = datatype_of(name, item.get("datatype"))
    count = count_elements(name, shape)
    size = _parameters(item).get(_SIZE)
    try:
        if size is None:
            values: Values = datatype.parse(flatten(name, shape, count, item.get("data")))
        else:
            values = datatype.unpack(binary.take(name, size), count)
    except ValueError as error:
        raise RequestInvalid(f"Input {name!r} is not valid {datatype.name}: {error}.") from error
    return Tensor(name, datatype, shape, values)


def _requested(item: dict[str, Any]) -> RequestedOutput:
    binary = _parameters(item).get("binary_data")
    return RequestedOutput(item["name"], binary if isinstance(binary, bool) else None)


def _wanted_in_binary(request: InferRequest, response: InferResponse) -> set[str]:
    """Return the names of the outputs that the request wants in binary, one by one or all of them."""
    is_default = request.parameters.get("binary_data_output") is True
    names = {description.name for description, *_ in response.outputs} if is_default else set()
    for name, is_binary in request.outputs:
        if is_binary is True:
            names.add(name)
        elif is_binary is False:
            names.discard(name)
    return names


def _output(tensor: OutputTensor, parts: list[bytes] | None) -> dict[str, Any]:
    """Return a tensor as JSON has it: with its data, or with the size of the binary part that is added to `parts`."""
    (name, datatype, _), shape, values = tensor
    if parts is None:
        return {"name": name, "shape": shape, "datatype": datatype.name, "data": values}
    part = datatype.pack(values)
    parts.append(part)
    return {"name": name, "shape": shape, "datatype": datatype.name, "parameters": {_SIZE: len(part)}}
