"""The weights that an ONNX file keeps in files beside it: which files, and how long each must be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper

from prescore.errors import ModelInvalid

# The types of which a byte holds several numbers.
_BITS = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.INT2: 2,
    TensorProto.UINT2: 2,
}


def external_lengths(content: bytes) -> dict[str, int]:
    """Return the locations of an ONNX file's weights in other files, and how many bytes each must have at least.

    A file that is not ONNX has none: loading it into ONNX Runtime says what is wrong.
    """
    try:
        model = ModelProto.FromString(content)
    except DecodeError:
        return {}
    lengths: dict[str, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            location, _, end = _place(tensor)
            lengths[location] = max(end, lengths.get(location, 0))
    return lengths


def embed_inner_weights(model: ModelProto, weights: Mapping[str, bytes]) -> None:
    """Move the weights of inner graphs, such as the branches of an If, from their files into the model.

    `weights` are the contents of the files by location. ONNX Runtime takes weights from memory for the outer graph
    alone.
    """
    for tensor in _inner_tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            location, start, end = _place(tensor)
            tensor.raw_data = weights[location][start:end]
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]


def _place(tensor: Any) -> tuple[str, int, int]:
    """Return the location of a tensor's weights, and their first byte and their end in that file."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    start = _number(entries, "offset", 0)
    return entries.get("location", ""), start, start + _number(entries, "length", _size(tensor))


def _number(entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not text.isdecimal():
        raise ModelInvalid(f"The ONNX file is damaged: the {key} of its external weights is {text!r}. Export it again.")
    return int(text)


def _tensors(model: ModelProto) -> Iterator[Any]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _inner_tensors(model: ModelProto) -> Iterator[Any]:
    for node in model.graph.node:
        yield from _inner_graph_tensors(node)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        yield from _inner_graph_tensors(node)


def _inner_graph_tensors(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from _graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)


def _size(tensor: Any) -> int:
    """Return the bytes that a tensor takes in a file of weights."""
    bits = _BITS.get(tensor.data_type) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    count: int = math.prod(tensor.dims)
    return math.ceil(count * bits / 8)
