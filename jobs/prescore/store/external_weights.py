"""The weights that an ONNX file keeps in files beside it: which files, and how long each must be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper

from prescore.errors import ModelInvalid


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
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        end = _number(entries, "offset", 0) + _number(entries, "length", _size(tensor))
        lengths[location] = max(end, lengths.get(location, 0))
    return lengths


def _number(entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not text.isdecimal():
        raise ModelInvalid(f"The ONNX file is damaged: the {key} of its external weights is {text!r}. Export it again.")
    return int(text)


def _tensors(model: ModelProto) -> Iterator[Any]:
    yield from _graph_tensors(model.graph)
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
            if attribute.HasField("g"):
                yield from _graph_tensors(attribute.g)
            for graph in attribute.graphs:
                yield from _graph_tensors(graph)


def _size(tensor: Any) -> int:
    """Return the bytes that a tensor takes in a file of weights."""
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims) * dtype.itemsize)
