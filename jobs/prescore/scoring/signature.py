"""The inputs and outputs of an ONNX model, and whether they match those of a spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from prescore.project.spec import Output, Spec
from prescore.scoring.conversion import ARROW

TENSOR_TYPES: dict[str, pa.DataType] = {
    "tensor(float)": pa.float32(),
    "tensor(double)": pa.float64(),
    "tensor(int64)": pa.int64(),
    "tensor(int32)": pa.int32(),
    "tensor(bool)": pa.bool_(),
    "tensor(string)": pa.string(),
}
"""ONNX type name → the Arrow type that prescore feeds to it, or reads from it."""

_FLOAT_TENSORS = {"tensor(float)", "tensor(double)"}
_TENSOR_ADVICE = "export the model with tensors instead of maps (skl2onnx: zipmap=False)"

Nodes = Mapping[str, Any]
"""Name → an input or output of an ONNX Runtime session, with its `name`, `type` and `shape`."""


def mismatches(spec: Spec, inputs: Nodes, outputs: Nodes) -> Iterator[str]:
    """Yield one message for each way in which a model's inputs and outputs do not match the spec."""
    yield from _unmapped_inputs(spec, inputs)
    for name, columns in spec.onnx.inputs.items():
        if name in inputs:
            yield from _input_faults(inputs[name], columns)
        else:
            yield f"onnx.inputs.{name}: the model has no such input; it has {', '.join(inputs)}"
    yield from _feature_faults(spec, inputs)
    for name, output in spec.outputs.items():
        yield from _output_faults(name, output, outputs)


def _unmapped_inputs(spec: Spec, inputs: Nodes) -> Iterator[str]:
    for name in sorted(inputs):
        if name not in spec.onnx.inputs:
            yield f"onnx.inputs: the model also needs {name}; name the column or columns that fill it"


def _input_faults(node: Any, columns: tuple[str, ...]) -> Iterator[str]:
    if node.type not in TENSOR_TYPES:
        supported = ", ".join(TENSOR_TYPES)
        yield f"onnx.inputs.{node.name}: the input is {node.type}; prescore supports {supported}"
    elif len(node.shape) > 2:
        yield f"onnx.inputs.{node.name}: the input has {len(node.shape)} dimensions; prescore supports one or two"
    else:
        width = _width(node)
        if width is not None and width != len(columns):
            names = ", ".join(columns)
            yield f"onnx.inputs.{node.name}: the model takes {width} columns; the spec lists {len(columns)}: {names}"


def _feature_faults(spec: Spec, inputs: Nodes) -> Iterator[str]:
    types = _types_by_feature(spec, inputs)
    for column, names in types.items():
        if len(names) > 1:
            yield f"feature {column} fills inputs of different types: {', '.join(sorted(names))}"
    for column in sorted(spec.onnx.nullable):
        not_float = types.get(column, set()) - _FLOAT_TENSORS
        if not_float:
            found = ", ".join(sorted(not_float))
            yield f"onnx.nullable: {column} is {found} in the model; only float inputs have a NaN for missing values"


def _types_by_feature(spec: Spec, inputs: Nodes) -> dict[str, set[str]]:
    types: dict[str, set[str]] = {}
    for name, columns in spec.onnx.inputs.items():
        if name not in inputs:
            continue
        for column in columns:
            types.setdefault(column, set()).add(inputs[name].type)
    return types


def _output_faults(name: str, output: Output, outputs: Nodes) -> Iterator[str]:
    source = output.source
    if source not in outputs:
        has_maps = any(node.type.startswith("seq") for node in outputs.values())
        advice = f"; {_TENSOR_ADVICE}" if has_maps else ""
        yield f"outputs.{name}.from: the model has no output {source}; it has {', '.join(outputs)}{advice}"
        return
    node = outputs[source]
    if node.type not in TENSOR_TYPES:
        yield f"outputs.{name}: {source} is {node.type}; {_TENSOR_ADVICE}"
        return
    width = _width(node)
    if width is not None and output.index is None and width > 1:
        yield f"outputs.{name}: {source} has {width} columns; choose one with index, counted from 0"
    elif width is not None and output.index is not None and output.index >= width:
        yield f"outputs.{name}.index: {source} has {width} columns, counted from 0, and no column {output.index}"
    elif not _is_readable(TENSOR_TYPES[node.type], ARROW[output.type]):
        yield f"outputs.{name}: {source} is {node.type}, which cannot become {output.type}"


def _width(node: Any) -> int | None:
    """Return the number of columns of a node, or None where the model leaves it open."""
    if len(node.shape) != 2:
        return 1
    width = node.shape[1]
    return width if isinstance(width, int) else None


def _is_readable(tensor: pa.DataType, column: pa.DataType) -> bool:
    """Return whether predictions of one type may become an output of another, judged by the types alone."""
    if pa.types.is_boolean(column):
        # Classifiers label booleans as 0 and 1.
        return bool(pa.types.is_boolean(tensor) or pa.types.is_integer(tensor))
    return bool(pa.types.is_string(tensor) == pa.types.is_string(column))
