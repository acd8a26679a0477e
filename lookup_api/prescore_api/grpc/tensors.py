"""Requests and responses as messages of gRPC.

Tensors are either all raw, in the binary form that REST has, too, or typed, in the field of their datatype. A response
has the form of its request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prescore.errors import RequestInvalid
from prescore_api.grpc.messages import MESSAGES
from prescore_api.oip.datatypes import Datatype, Values, decode
from prescore_api.oip.tensors import (
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
    count_elements,
    datatype_of,
)

Message = Any
"""A message; its class is made at run time."""


def parse(message: Message) -> InferRequest:
    """Read a ModelInferRequest; raises RequestInvalid."""
    raw: list[bytes] = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise RequestInvalid(f"There are {len(message.inputs)} inputs and {len(raw)} raw_input_contents.")
    if not message.inputs:
        raise RequestInvalid("The request has no inputs.")
    contents: list[Any] = raw or [None] * len(message.inputs)
    return InferRequest(
        inputs=[_input(item, content) for item, content in zip(message.inputs, contents, strict=True)],
        outputs=[RequestedOutput(item.name) for item in message.outputs],
        id=message.id,
        parameters={name: _value(parameter) for name, parameter in message.parameters.items()},
    )


def render(response: InferResponse, *, raw: bool) -> Message:
    """Return the ModelInferResponse."""
    message = MESSAGES["ModelInferResponse"](model_name=response.model, model_version=response.version, id=response.id)
    _set_parameters(message.parameters, response.parameters)
    for (name, datatype, _), shape, values in response.outputs:
        output = message.outputs.add(name=name, datatype=datatype.name, shape=shape)
        if raw:
            message.raw_output_contents.append(datatype.pack(values))
        else:
            getattr(output.contents, datatype.contents).extend(_contents(datatype, values))
    return message


def _input(item: Message, raw: bytes | None) -> Tensor:
    name, shape = item.name, list(item.shape)
    datatype = datatype_of(name, item.datatype)
    count = count_elements(name, shape)
    try:
        values = _typed(item, datatype, count) if raw is None else datatype.unpack(raw, count)
    except ValueError as error:
        raise RequestInvalid(f"Input {name!r} is not valid {datatype.name}: {error}.") from error
    return Tensor(name, datatype, shape, values)


def _typed(item: Message, datatype: Datatype, count: int) -> Values:
    if not datatype.contents:
        raise ValueError("it has no typed contents. Send it in raw_input_contents")
    contents = getattr(item.contents, datatype.contents)
    if len(contents) != count:
        raise ValueError(f"its shape has {count:,} elements, and there are {len(contents):,} in {datatype.contents}")
    values = list(contents)
    if datatype.kind == "bytes":
        return [decode(value, position) for position, value in enumerate(values)]
    return datatype.parse(values)


def _contents(datatype: Datatype, values: Values) -> Values:
    return [value.encode() for value in values] if datatype.kind == "bytes" else values


def _value(parameter: Message) -> Any:
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def _set_parameters(parameters: Message, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        match value:
            case bool():
                parameters[name].bool_param = value
            case int():
                parameters[name].int64_param = value
            case float():
                parameters[name].double_param = value
            case _:
                parameters[name].string_param = value
