"""What a model file takes and gives, and how a spec maps columns to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from prescore.catalog.types import TYPES
from prescore.errors import ModelInvalid
from prescore.project.fields import ONLY_INPUT
from prescore.project.spec import Onnx, Output
from prescore.scoring.conversion import ARROW
from prescore.scoring.graph import Graph, Label
from prescore.wording import count, guess

TENSOR_TYPES: dict[str, pa.DataType] = {
    "tensor(float16)": pa.float16(),
    "tensor(float)": pa.float32(),
    "tensor(double)": pa.float64(),
    "tensor(int8)": pa.int8(),
    "tensor(int16)": pa.int16(),
    "tensor(int32)": pa.int32(),
    "tensor(int64)": pa.int64(),
    "tensor(uint8)": pa.uint8(),
    "tensor(uint16)": pa.uint16(),
    "tensor(uint32)": pa.uint32(),
    "tensor(uint64)": pa.uint64(),
    "tensor(bool)": pa.bool_(),
    "tensor(string)": pa.string(),
}
"""ONNX type name → the Arrow type that prescore feeds to it, or reads from it."""

_FLOAT_TENSORS = {"tensor(float16)", "tensor(float)", "tensor(double)"}
_EXPORT_BATCH = (
    'export it with a variable number of rows. torch.onnx.export: dynamic_shapes={"x": {0: "batch"}}, or with '
    'dynamo=False dynamic_axes={"x": {0: "batch"}}; Keras: an Input without batch_size; skl2onnx: '
    "FloatTensorType([None, n])"
)


@dataclass(frozen=True)
class Selection:
    """Where the output column `name` comes from: an output of the model, `source`, and columns of it if the spec does.

    `index` is the column of a single value, and `columns` are those of an array; None stands for the only one and for
    all. `classes` are what the columns of the output stand for, if that is known. `by_class` says that the spec chose
    by class, so that the output must have a column for each of them.
    """

    name: str
    source: str
    index: int | None = None
    columns: tuple[int, ...] | None = None
    classes: tuple[Label, ...] = ()
    by_class: bool = False

    def error(self, fault: str) -> ModelInvalid:
        """Return the error for an output that the model returned: `fault` says what is wrong with it."""
        return ModelInvalid(f"outputs.{self.name}: {self.source} {fault}")

    def require_width(self, width: int) -> None:
        """Raise ModelInvalid if the spec chose columns by class and the output has another number of them."""
        if self.by_class and width != len(self.classes):
            raise self.error(
                f"has {count(width, 'column')} for {len(self.classes)} classes. Choose by number instead of class: "
                "index, or columns for an array."
            )


class Signature:
    """The inputs and outputs of a model with the columns of a spec.

    `inputs` maps the name of each input to its feature columns, `outputs` each output column to its selection, `nodes`
    the name of an input to the node of the ONNX Runtime session, with its `name`, `type` and `shape`. Raises
    ModelInvalid, with every mismatch, when model and spec do not fit together by what the model declares.
    """

    def __init__(
        self,
        model: str,
        onnx: Onnx,
        wanted: Mapping[str, Output],
        graph: Graph,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
    ) -> None:
        self._onnx = onnx
        self._wanted = wanted
        self._graph = graph
        self._given = outputs
        self.nodes = inputs
        self.inputs = _resolve_inputs(onnx, inputs)
        self.outputs: dict[str, Selection] = {}
        mismatches = [*self._input_mismatches(), *self._feature_faults(), *self._output_mismatches()]
        if mismatches:
            lines = "\n  ".join(mismatches)
            raise ModelInvalid(f"{onnx.file} does not match the spec of {model}:\n  {lines}")

    @property
    def features(self) -> dict[str, pa.DataType]:
        """Feature columns, each with the Arrow type that the model takes it as."""
        types = {}
        for name, columns in self.inputs.items():
            node = self.nodes[name]
            for column in columns:
                types[column] = TENSOR_TYPES[node.type]
        return types

    @property
    def sources(self) -> list[str]:
        """The outputs of the model that are needed, each once: several columns may come from one of them."""
        sources = [selection.source for selection in self.outputs.values()]
        return list(dict.fromkeys(sources))

    def is_half(self, source: str) -> bool:
        """Return whether an output of the model holds floats of 16 bits."""
        return bool(self._given[source].type == "tensor(float16)")

    def is_vector(self, name: str) -> bool:
        """Return whether an input is one-dimensional. One without a declared shape is fed as a matrix."""
        return self._graph.rank(name) == 1

    def _input_mismatches(self) -> Iterator[str]:
        if not self.nodes:
            yield "onnx.inputs: the model has no inputs, so that its predictions would be the same for every row"
            return
        if ONLY_INPUT in self.inputs:
            yield self._unnamed_fault(self.inputs[ONLY_INPUT])
            return
        for name in sorted(self.nodes):
            if name not in self.inputs:
                yield f"onnx.inputs: the model also needs {name}; name the column or columns that fill it"
        for name, columns in self.inputs.items():
            fault = self._input_fault(name, columns)
            if fault is not None:
                yield f"onnx.inputs.{name}: {fault}"

    def _unnamed_fault(self, columns: tuple[str, ...]) -> str:
        """Return the fault of a list of columns for a model with several inputs."""
        fault = f"onnx.inputs: the model has several inputs: {', '.join(self.nodes)}; write "
        if set(columns) == set(self.nodes):
            return f'{fault}inputs = "by name", as each is filled by the column of its name'
        return f'{fault}a table that names the columns of each, or inputs = "by name" if each has the name of a column'

    def _input_fault(self, name: str, columns: tuple[str, ...]) -> str | None:
        if name not in self.nodes:
            return f"the model has no such input{guess(name, self.nodes)}; it has {', '.join(self.nodes)}"
        node = self.nodes[name]
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

    def _feature_faults(self) -> Iterator[str]:
        if ONLY_INPUT in self.inputs:
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
            not_float = sorted(types - _FLOAT_TENSORS)
            if not_float:
                listed = ", ".join(not_float)
                yield f"onnx.nullable: {column} is {listed} in the model; only floats have a NaN for missing values"

    def _types_by_feature(self) -> dict[str, set[str]]:
        types_by_feature: dict[str, set[str]] = {}
        for name, columns in self.inputs.items():
            node = self.nodes.get(name)
            if node is None:
                continue
            for column in columns:
                types = types_by_feature.setdefault(column, set())
                types.add(node.type)
        return types_by_feature

    def _output_mismatches(self) -> Iterator[str]:
        """Find the selection of each output, and yield a message for each that there is none for."""
        for name, output in self._wanted.items():
            source = output.source or self._only_output
            fault = self._output_fault(output, source)
            if fault is not None or source is None:
                yield f"outputs.{name}: {fault}"
                continue
            selection = self._select(name, output, source)
            if selection.by_class and selection.index is None and selection.columns is None:
                yield f"outputs.{name}: {_class_fault(output, source, selection.classes)}"
            self.outputs[name] = selection

    def _select(self, name: str, output: Output, source: str) -> Selection:
        """Return the selection of an output; it is by class and has no columns if a class is not known."""
        classes = self._graph.labels(source) or ()
        index = output.index
        columns = _numbers(output.columns)
        wanted = _classes(output)
        if wanted:
            found = [_find_class(classes, label) for label in wanted]
            known = [column for column in found if column is not None]
            if len(known) == len(wanted):
                index, columns = (known[0], None) if output.label is not None else (None, tuple(known))
        return Selection(name, source, index, columns, classes, bool(wanted))

    @property
    def _only_output(self) -> str | None:
        return next(iter(self._given)) if len(self._given) == 1 else None

    def _output_fault(self, output: Output, source: str | None) -> str | None:
        names = ", ".join(self._given)
        if source is None:
            return f"the model has several outputs: {names}; choose one with from"
        if source not in self._given:
            return f"the model has no output {source}{guess(source, self._given)}; it has {names}"
        node = self._given[source]
        if node.type not in TENSOR_TYPES:
            return f"{source} is {node.type}, which prescore cannot read; export the model with tensors instead"
        if _classes(output) and not self._graph.labels(source) and _has_one_value(node):
            others = [name for name, other in self._given.items() if not _has_one_value(other)]
            advice = f", or choose the output with a column for each class: from = {others[0]!r}" if others else ""
            return f"{source} has one value for each row, and no column for each class; leave class out{advice}"
        if not _is_readable(node.type, output.type):
            fitting = _fitting_type(node.type) + ("[]" if TYPES[output.type].is_array else "")
            return f"{source} is {node.type}, which cannot become {output.type}; choose another type, such as {fitting}"
        return None


def _find_class(labels: Sequence[Label], label: str | int) -> int | None:
    """Return the position of a class among the labels of a classifier, or None if it has no such class."""
    texts = [str(known) for known in labels]
    wanted = str(label)
    if isinstance(label, bool) and set(texts) == {"0", "1"}:
        # Classifiers label booleans as 0 and 1.
        wanted = str(int(label))
    return texts.index(wanted) if wanted in texts else None


def _numbers(columns: str | tuple[int, ...] | tuple[str, ...] | None) -> tuple[int, ...] | None:
    """Return the columns of an array that the spec lists by number."""
    if not isinstance(columns, tuple):
        return None
    return tuple(column for column in columns if isinstance(column, int)) or None


def _classes(output: Output) -> list[str | int]:
    """Return the classes by which the spec chooses columns."""
    if output.label is not None:
        return [output.label]
    if not isinstance(output.columns, tuple):
        return []
    return [column for column in output.columns if isinstance(column, str)]


def _class_fault(output: Output, source: str, classes: Sequence[Label]) -> str:
    """Return why the columns of an output cannot be chosen by class."""
    if classes:
        unknown = [label for label in _classes(output) if _find_class(classes, label) is None]
        return f"{source} has no class {_listed(unknown)}; it has {_listed(classes)}"
    return (
        f"the model does not say which classes the columns of {source} stand for; choose them by number instead, "
        "counted from 0: index, or columns for an array. Their order is that of classes_ in most toolkits"
    )


def _listed(classes: Sequence[Label]) -> str:
    return ", ".join(map(repr, classes))


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


def declared_width(node: Any) -> int | None:
    """Return the number of columns of a node, or None where the model leaves it open."""
    if len(node.shape) == 1:
        return 1
    width = node.shape[1] if len(node.shape) == 2 else None
    return width if isinstance(width, int) else None


def _has_one_value(node: Any) -> bool:
    """Return whether an output has one value for each row, such as a label, and no column for each class."""
    return node.type not in _FLOAT_TENSORS or declared_width(node) == 1


def _is_readable(tensor_type: str, column_type: str) -> bool:
    """Return whether predictions of a tensor may become an output column, judged by the types alone."""
    tensor = TENSOR_TYPES[tensor_type]
    column = ARROW[TYPES[column_type].element or column_type]
    if pat.is_boolean(column) or pat.is_boolean(tensor):
        # Classifiers label booleans as 0 and 1.
        return bool(pat.is_boolean(column) and (pat.is_boolean(tensor) or pat.is_integer(tensor)))
    return bool(pat.is_string(tensor) == pat.is_string(column))


def _fitting_type(tensor_type: str) -> str:
    """Return a type of output columns for the values of a tensor."""
    tensor = TENSOR_TYPES[tensor_type]
    if pat.is_floating(tensor):
        return "double precision" if pat.is_float64(tensor) else "real"
    if pat.is_integer(tensor):
        return "bigint"
    return "boolean" if pat.is_boolean(tensor) else "text"


Tensor = np.ndarray[Any, Any]


def rows_first(source: str, tensor: Tensor, rows: int) -> Tensor:
    """Return an output tensor with one row for each row of input, whatever the model does for a single one.

    A model that squeezes its output gives a scalar, or its columns alone, for one row. Raises ModelInvalid for any
    other number of rows, and for more than two dimensions.
    """
    if tensor.ndim == 0:
        tensor = tensor.reshape(1)
    if rows == 1 and tensor.ndim == 1 and len(tensor) != 1:
        return tensor.reshape(1, -1)
    if tensor.ndim > 2:
        raise ModelInvalid(
            f"Output {source} has {tensor.ndim} dimensions, but prescore reads one or two: rows, or rows and "
            "columns. Export the model with such an output."
        )
    if len(tensor) != rows:
        raise ModelInvalid(
            f"Output {source} has {count(len(tensor), 'row')} for {count(rows, 'row')} of input, but must have "
            "one for each. Check that the model does not aggregate over the batch."
        )
    return tensor


def select_column(tensor: Tensor, selection: Selection) -> Tensor:
    """Return the column of an output that a selection means; raise ModelInvalid if the output has no such column."""
    index = selection.index
    width = 1 if tensor.ndim == 1 else tensor.shape[1]
    columns = count(width, "column")
    selection.require_width(width)
    if index is None and width != 1:
        by_class = f"class, one of {_listed(selection.classes)}" if selection.classes else "class"
        raise selection.error(f"has {columns}. Choose one with {by_class}, or with index, counted from 0, in the spec.")
    if index is not None and index >= width:
        advice = "Remove index." if width == 1 else "Correct index."
        raise selection.error(f"has {columns}, counted from 0, so there is no column {index}. {advice}")
    return tensor if tensor.ndim == 1 else tensor[:, index or 0]
