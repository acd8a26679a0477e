"""The inputs of an exported model: the columns of the frame under their names and with their types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from onnx import ModelProto, TensorProto, helper

from prescore.export.columns import Column
from prescore.export.layout import Element, Layout
from prescore.export.tensors import rename

_TYPES: dict[str, int] = {
    "number": TensorProto.FLOAT,
    "integer": TensorProto.INT64,
    "boolean": TensorProto.BOOL,
    "text": TensorProto.STRING,
}
_ELEMENTS: dict[str, int] = {
    "float": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "integer": TensorProto.INT64,
    "text": TensorProto.STRING,
}


def name_inputs(model: ModelProto, layout: Layout) -> None:
    """Give a converted model the columns of its layout as inputs, unless it takes all of them as a matrix of numbers.

    Columns are cast to what the converter wanted, and categories are encoded, inside of the model.
    """
    if layout.by_column:
        _name_columns(model, layout)
    elif any(column.kind == "text" or column.categories is not None for column in layout.columns):
        _split_matrix(model, layout)


def _name_columns(model: ModelProto, layout: Layout) -> None:
    given = [value.name for value in model.graph.input]
    _make_room(model, layout.columns, keep=given)
    nodes = []
    types = []
    for number, (old, column) in enumerate(zip(given, layout.columns, strict=True)):
        element = layout.elements[number]
        inner = f"column_{number}"
        rename(model, old, inner)
        types.append(_type(column, element))
        nodes.append(_cast(column, types[-1], _ELEMENTS[element], inner))
    _replace_inputs(model, layout.columns, types, nodes)


def _split_matrix(model: ModelProto, layout: Layout) -> None:
    (matrix,) = [value.name for value in model.graph.input]
    _make_room(model, layout.columns, keep=[matrix])
    rename(model, matrix, "columns")
    nodes = []
    inner = [f"column_{number}" for number in range(len(layout.columns))]
    for name, column, element in zip(inner, layout.columns, layout.elements, strict=True):
        if element == "text" or column.categories is None:
            nodes.append(_cast(column, _type(column, element), _ELEMENTS[element], name))
        else:
            nodes += _encode(column, name)
    nodes.append(helper.make_node("Concat", inner, ["columns"], axis=1))
    pairs = zip(layout.columns, layout.elements, strict=True)
    _replace_inputs(model, layout.columns, [_type(column, element) for column, element in pairs], nodes)
    _require_opsets(model)


def _type(column: Column, element: Element) -> int:
    """Return the type of a column's input: that of the column, but 32 bits unless the model computes with 64."""
    is_double = element == "double" and column.kind == "number" and column.is_wide
    return _ELEMENTS["double"] if is_double else _TYPES[column.kind]


def _cast(column: Column, given: int, wanted: int, inner: str) -> Any:
    if given == wanted:
        return helper.make_node("Identity", [column.name], [inner])
    return helper.make_node("Cast", [column.name], [inner], to=wanted)


def _encode(column: Column, inner: str) -> Iterator[Any]:
    """Yield the nodes that compute the codes of categories: NaN for an unknown one, as pandas has -1."""
    categories = list(column.categories or ())
    codes = [float(code) for code in range(len(categories))]
    source = column.name
    keys: dict[str, Any] = {"keys_strings": categories}
    if column.kind in {"integer", "boolean"}:
        keys = {"keys_int64s": [int(category) for category in categories]}
    elif column.kind == "number":
        keys = {"keys_floats": [float(category) for category in categories]}
    if column.kind == "boolean":
        source = f"{inner}_integer"
        yield helper.make_node("Cast", [column.name], [source], to=TensorProto.INT64)
    yield helper.make_node(
        "LabelEncoder",
        [source],
        [inner],
        domain="ai.onnx.ml",
        values_floats=codes,
        default_float=float("nan"),
        **keys,
    )


def _require_opsets(model: ModelProto) -> None:
    """Declare the operators that encode categories, which a model of trees alone may lack, or have in an old form."""
    others = [opset for opset in model.opset_import if opset.domain not in {"", "ai.onnx.ml"}]
    versions = {opset.domain: opset.version for opset in model.opset_import}
    del model.opset_import[:]
    ours = [helper.make_opsetid("", versions.get("", 18)), helper.make_opsetid("ai.onnx.ml", 3)]
    model.opset_import.extend([*ours, *others])


def _replace_inputs(model: ModelProto, columns: Sequence[Column], types: Sequence[int], nodes: list[Any]) -> None:
    del model.graph.input[:]
    for column, kind in zip(columns, types, strict=True):
        model.graph.input.append(helper.make_tensor_value_info(column.name, kind, [None, 1]))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def _make_room(model: ModelProto, columns: Sequence[Column], keep: list[str]) -> None:
    """Rename values inside of the model that have the name of a column."""
    names = {column.name for column in columns} - set(keep)
    used = {name for node in model.graph.node for name in (*node.input, *node.output)}
    for name in names & used:
        rename(model, name, f"{name}_")
