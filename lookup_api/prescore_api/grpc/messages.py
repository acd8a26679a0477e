"""The messages of the protocol over gRPC, as classes.

Generated classes would register under the names of the protocol in a pool that a whole process shares, and so do those
of every client: a process could not import both. These are in a pool of their own. Only numbers and types of fields
are sent, so that no message needs to be nested in another one here.
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

_PACKAGE = "prescore.inference"
_ONE_OF = "one of "
_REPEATED = "repeated "
_MAP = "map of "
_TENSOR = {
    "name": "string",
    "datatype": "string",
    "shape": "repeated int64",
    "parameters": "map of InferParameter",
    "contents": "InferTensorContents",
}
_MODEL = {"name": "string", "version": "string"}
_TYPES = frozenset(FieldDescriptorProto.Type.keys())
# The fields of each message by name, numbered from 1 in this order.
_MESSAGES: dict[str, Mapping[str, str]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": "bool"},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": "bool"},
    "ModelReadyRequest": _MODEL,
    "ModelReadyResponse": {"ready": "bool"},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": "string", "version": "string", "extensions": "repeated string"},
    "ModelMetadataRequest": _MODEL,
    "ModelMetadataResponse": {
        "name": "string",
        "versions": "repeated string",
        "platform": "string",
        "inputs": "repeated TensorMetadata",
        "outputs": "repeated TensorMetadata",
    },
    "TensorMetadata": {"name": "string", "datatype": "string", "shape": "repeated int64"},
    "ModelInferRequest": {
        "model_name": "string",
        "model_version": "string",
        "id": "string",
        "parameters": "map of InferParameter",
        "inputs": "repeated InferTensor",
        "outputs": "repeated InferRequestedOutputTensor",
        "raw_input_contents": "repeated bytes",
    },
    "InferRequestedOutputTensor": {"name": "string", "parameters": "map of InferParameter"},
    "ModelInferResponse": {
        "model_name": "string",
        "model_version": "string",
        "id": "string",
        "parameters": "map of InferParameter",
        "outputs": "repeated InferTensor",
        "raw_output_contents": "repeated bytes",
    },
    # The status is an enumeration, which is sent like an integer.
    "HealthCheckRequest": {"service": "string"},
    "HealthCheckResponse": {"status": "int32"},
    "InferTensor": _TENSOR,
    "InferParameter": {
        "bool_param": "one of bool",
        "int64_param": "one of int64",
        "string_param": "one of string",
        "double_param": "one of double",
        "uint64_param": "one of uint64",
    },
    "InferTensorContents": {
        "bool_contents": "repeated bool",
        "int_contents": "repeated int32",
        "int64_contents": "repeated int64",
        "uint_contents": "repeated uint32",
        "uint64_contents": "repeated uint64",
        "fp32_contents": "repeated float",
        "fp64_contents": "repeated double",
        "bytes_contents": "repeated bytes",
    },
}


def _describe(name: str, fields: Mapping[str, str]) -> DescriptorProto:
    message = DescriptorProto(name=name)
    for number, (field, kind) in enumerate(fields.items(), 1):
        described = message.field.add(name=field, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        if kind.startswith(_ONE_OF):
            if not message.oneof_decl:
                message.oneof_decl.add(name="parameter_choice")
            described.oneof_index = 0
        if kind.startswith((_REPEATED, _MAP)):
            described.label = FieldDescriptorProto.LABEL_REPEATED
        if kind.startswith(_MAP):
            # A map is a list of messages with a key and a value.
            entry = _describe("ParametersEntry", {"key": "string", "value": kind.removeprefix(_MAP)})
            entry.options.map_entry = True
            message.nested_type.append(entry)
            kind = f"{name}.{entry.name}"
        _set_type(described, kind.removeprefix(_REPEATED).removeprefix(_ONE_OF))
    return message


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    scalar = f"TYPE_{kind.upper()}"
    if scalar in _TYPES:
        field.type = FieldDescriptorProto.Type.Value(scalar)
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="open_inference.proto", package=_PACKAGE, syntax="proto3")
    file.message_type.extend(_describe(name, fields) for name, fields in _MESSAGES.items())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


MESSAGES = _classes()
"""The class of each message by name."""
