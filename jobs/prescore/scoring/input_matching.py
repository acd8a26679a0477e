"""Match the inputs of a model file with the features of a spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prescore.project.fields import ONLY_INPUT
from prescore.project.spec import Onnx
from prescore.scoring.session import ModelSession, declared_width
from prescore.scoring.signature import FLOAT_TENSORS, TENSOR_DTYPES, TENSOR_TYPES, Input, Shape
from prescore.wording import count, guess

_EXPORT_BATCH = (
    'export it with a variable number of rows. torch.onnx.export: dynamic_shapes={"x": {0: "batch"}}, or with '
    'dynamo=False dynamic_axes={"x": {0: "batch"}}; Keras: an Input without batch_size; skl2onnx: '
    "FloatTensorType([None, n])"
)


class InputMatching:
    """The columns that a spec has for the inputs of a model: `columns`, by input."""

    def __init__(self, onnx: Onnx, session: ModelSession) -> None:
        self._onnx = onnx
        self._graph = session.graph
        self._nodes = session.inputs
        self.columns = _resolve_inputs(onnx, self._nodes)

    @property
    def inputs(self) -> dict[str, Input]:
        """The inputs of a model that has no mismatches, with their feature columns."""
        return {name: self._input(name) for name in self.columns}

    def mismatches(self) -> Iterator[str]:
        """Yield a message for each input and each feature that does not fit."""
        yield from self._input_mismatches()
        yield from self._feature_mismatches()

    def _input(self, name: str) -> Input:
        """Return an input of the model with its feature columns."""
        node = self._nodes[name]
        shape: Shape | None = None
        if self._graph.rank(name) is not None:
            shape = tuple(size if isinstance(size, int) else None for size in node.shape)
        return Input(name, TENSOR_DTYPES[node.type], shape, self.columns[name])

    def _input_mismatches(self) -> Iterator[str]:
        if not self._nodes:
            yield "onnx.inputs: the model has no inputs, so that its predictions would be the same for every row"
            return
        if ONLY_INPUT in self.columns:
            yield self._unnamed_fault(self.columns[ONLY_INPUT])
            return
        for name in sorted(self._nodes):
            if name not in self.columns:
                yield f"onnx.inputs: the model also needs {name}; name the column or columns that fill it"
        for name, columns in self.columns.items():
            fault = self._input_fault(name, columns)
            if fault is not None:
                yield f"onnx.inputs.{name}: {fault}"

    def _unnamed_fault(self, columns: tuple[str, ...]) -> str:
        """Return the fault of a list of columns for a model with several inputs."""
        fault = f"onnx.inputs: the model has several inputs: {', '.join(self._nodes)}; write "
        if set(columns) == set(self._nodes):
            return f'{fault}inputs = "by name", as each is filled by the column of its name'
        return f'{fault}a table that names the columns of each, or inputs = "by name" if each has the name of a column'

    def _input_fault(self, name: str, columns: tuple[str, ...]) -> str | None:
        if name not in self._nodes:
            return f"the model has no such input{guess(name, self._nodes)}; it has {', '.join(self._nodes)}"
        node = self._nodes[name]
        if node.type not in TENSOR_TYPES:
            supported = ", ".join(TENSOR_TYPES)
            return f"the input is {node.type}; prescore supports {supported}"
        dimensions = self._graph.rank(name)
        if dimensions == 0:
            return "the input is a single value, not one for each row; make it a constant of the model"
        if dimensions is not None and dimensions > 2:
            return f"the input has {dimensions} dimensions; prescore supports one or two"
        return self._batch_fault(node) or _width_fault(node, columns)

    def _batch_fault(self, node: Any) -> str | None:
        """Return why the model cannot take any number of rows, or None if it can."""
        rows = node.shape[0] if node.shape else None
        if not isinstance(rows, int) or self._onnx.batch_rows == rows == 1:
            return None
        message = f"the model takes exactly {count(rows, 'row')} per call; {_EXPORT_BATCH}"
        if rows == 1:
            message += ". Or accept that it is slow, many times over: onnx.batch_rows = 1"
        return message

    def _feature_mismatches(self) -> Iterator[str]:
        if ONLY_INPUT in self.columns:
            return
        types_by_feature = self._types_by_feature()
        for column, types in types_by_feature.items():
            if len(types) == 1:
                continue
            listed = ", ".join(sorted(types))
            yield f"feature {column} fills inputs of different types: {listed}"
        onnx = self._onnx
        for key, columns in (("nullable", onnx.nullable), ("allow_precision_loss", onnx.allow_precision_loss)):
            for column in sorted(columns - set(types_by_feature)):
                yield f"onnx.{key}: {column} is not a feature; the features are {', '.join(types_by_feature)}"
        for column in sorted(onnx.nullable):
            types = types_by_feature.get(column, set())
            not_float = sorted(types - FLOAT_TENSORS)
            if not_float:
                listed = ", ".join(not_float)
                yield f"onnx.nullable: {column} is {listed} in the model; only floats have a NaN for missing values"

    def _types_by_feature(self) -> dict[str, set[str]]:
        types_by_feature: dict[str, set[str]] = {}
        for name, columns in self.columns.items():
            node = self._nodes.get(name)
            if node is None:
                continue
            for column in columns:
                types = types_by_feature.setdefault(column, set())
                types.add(node.type)
        return types_by_feature


def _resolve_inputs(onnx: Onnx, nodes: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the columns of each input, for a spec that names inputs and for one that leaves their names out."""
    given = onnx.inputs
    if not given:
        return {name: (name,) for name in nodes}
    if ONLY_INPUT in given and len(nodes) == 1:
        return dict.fromkeys(nodes, given[ONLY_INPUT])
    return given


def _width_fault(node: Any, columns: tuple[str, ...]) -> str | None:
    width = declared_width(node)
    # A vector takes one column. The width of a matrix may be left open, and so may everything.
    if width is None or width == len(columns):
        return None
    listed = ", ".join(columns)
    return f"the model takes {count(width, 'column')}; the spec lists {len(columns)}: {listed}"
