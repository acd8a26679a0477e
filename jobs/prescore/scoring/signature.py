"""The inputs and outputs of an ONNX model, and whether they match those of a spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from prescore.catalog.types import ARRAYS, TYPES
from prescore.project.spec import Output, Spec
from prescore.scoring import arrays
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
    mapped = spec.onnx.inputs
    for name in sorted(inputs):
        if name not in mapped:
            yield f"onnx.inputs: the model also needs {name}; name the column or columns that fill it"
    for name, columns in mapped.items():
        fault = _input_fault(name, columns, inputs)
        if fault is not None:
            yield f"onnx.inputs.{name}: {fault}"
    yield from _feature_faults(spec, inputs)
    for name, output in spec.outputs.items():
        fault = _output_fault(output, outputs)
        if fault is not None:
            yield f"outputs.{name}: {fault}"


def _input_fault(name: str, columns: tuple[str, ...], inputs: Nodes) -> str | None:
    if name not in inputs:
        names = ", ".join(inputs)
        return f"the model has no such input; it has {names}"
    node = inputs[name]
    if node.type not in TENSOR_TYPES:
        supported = ", ".join(TENSOR_TYPES)
        return f"the input is {node.type}; prescore supports {supported}"
    dimensions = len(node.shape)
    if dimensions > 2:
        return f"the input has {dimensions} dimensions; prescore supports one or two"
    return _width_fault(_width(node), columns)


def _width_fault(width: int | None, columns: tuple[str, ...]) -> str | None:
    count = len(columns)
    if width is None or width == count:
        return None
    listed = ", ".join(columns)
    return f"the model takes {width} columns; the spec lists {count}: {listed}"


def _feature_faults(spec: Spec, inputs: Nodes) -> Iterator[str]:
    types_by_feature = _types_by_feature(spec, inputs)
    for column, types in types_by_feature.items():
        if len(types) == 1:
            continue
        listed = ", ".join(sorted(types))
        yield f"feature {column} fills inputs of different types: {listed}"
    for column in sorted(spec.onnx.nullable):
        types = types_by_feature.get(column, set())
        not_float = sorted(types - _FLOAT_TENSORS)
        if not_float:
            listed = ", ".join(not_float)
            yield f"onnx.nullable: {column} is {listed} in the model; only float inputs have a NaN for missing values"


def _types_by_feature(spec: Spec, inputs: Nodes) -> dict[str, set[str]]:
    types_by_feature: dict[str, set[str]] = {}
    for name, columns in spec.onnx.inputs.items():
        node = inputs.get(name)
        if node is None:
            continue
        for column in columns:
            types = types_by_feature.setdefault(column, set())
            types.add(node.type)
    return types_by_feature


def _output_fault(output: Output, outputs: Nodes) -> str | None:
    source = output.source
    if source not in outputs:
        return _missing_output(source, outputs)
    node = outputs[source]
    if node.type not in TENSOR_TYPES:
        return f"{source} is {node.type}; {_TENSOR_ADVICE}"
    if output.type in ARRAYS:
        fault = arrays.shape_fault(output, len(node.shape), _width(node))
    else:
        fault = _index_fault(source, _width(node), output.index)
    if fault is not None:
        return fault
    if not _is_readable(node.type, output.type):
        return f"{source} is {node.type}, which cannot become {output.type}"
    return None


def _index_fault(source: str, width: int | None, index: int | None) -> str | None:
    """Return why `index` does not select a column of an output with `width` columns, or None if it does."""
    if width is None:
        return None
    if index is None:
        if width > 1:
            return f"{source} has {width} columns; choose one with index, counted from 0"
    elif index >= width:
        return f"{source} has {width} columns, counted from 0, so there is no column {index}"
    return None


def _missing_output(source: str, outputs: Nodes) -> str:
    names = ", ".join(outputs)
    fault = f"the model has no output {source}; it has {names}"
    if any(node.type.startswith("seq") for node in outputs.values()):
        return f"{fault}; {_TENSOR_ADVICE}"
    return fault


def _width(node: Any) -> int | None:
    """Return the number of columns of a node, or None where the model leaves it open."""
    if len(node.shape) != 2:
        return 1
    width = node.shape[1]
    if isinstance(width, int):
        return width
    return None


def _is_readable(tensor_type: str, column_type: str) -> bool:
    """Return whether predictions of a tensor may become an output column, judged by the types alone."""
    tensor = TENSOR_TYPES[tensor_type]
    column = ARROW[TYPES[column_type].element or column_type]
    if pat.is_boolean(column):
        # Classifiers label booleans as 0 and 1.
        kinds = (pat.is_boolean, pat.is_integer)
        return any(is_kind(tensor) for is_kind in kinds)
    return bool(pat.is_string(tensor) == pat.is_string(column))
