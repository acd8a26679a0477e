"""Match a spec with a model file: a spec is one way to make a signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.types as pat

from prescore.catalog.types import TYPES
from prescore.errors import ModelInvalid
from prescore.project.fields import ONLY_INPUT
from prescore.project.spec import Onnx, Output, Spec
from prescore.scoring.conversion import ARROW
from prescore.scoring.graph import Graph, Label
from prescore.scoring.session import ModelSession, declared_width
from prescore.scoring.signature import (
    TENSOR_DTYPES,
    TENSOR_TYPES,
    Input,
    Selection,
    Shape,
    Signature,
    listed_classes,
)
from prescore.wording import count, guess

# What the numbers inside of a model may take in one call, and the most rows of a call, whatever they take.
_CALL_BYTES = 2**27
_MOST_ROWS = 16_384
_FLOAT_TENSORS = {"tensor(float16)", "tensor(float)", "tensor(double)"}
_EXPORT_BATCH = (
    'export it with a variable number of rows. torch.onnx.export: dynamic_shapes={"x": {0: "batch"}}, or with '
    'dynamo=False dynamic_axes={"x": {0: "batch"}}; Keras: an Input without batch_size; skl2onnx: '
    "FloatTensorType([None, n])"
)


def signature(spec: Spec, onnx: Onnx, session: ModelSession) -> Signature:
    """Return the signature of a model file with the columns of a spec, whose section [onnx] is `onnx`.

    Raises ModelInvalid, with every mismatch, when model and spec do not fit together by what the model declares.
    """
    matching = _Matching(onnx, spec.outputs, session)
    if matching.mismatches:
        lines = "\n  ".join(matching.mismatches)
        raise ModelInvalid(f"{onnx.file} does not match the spec of {spec.model}:\n  {lines}")
    return Signature(
        inputs={name: matching.input(name) for name in matching.columns},
        outputs=matching.outputs,
        nullable=onnx.nullable,
        allow_precision_loss=onnx.allow_precision_loss,
        batch_rows=onnx.batch_rows or _batch_rows(session.graph),
        batch_dependence=onnx.allow_batch_dependence,
    )


def _batch_rows(graph: Graph) -> int:
    """Return how many rows to score in one call, so that a wide model does not take gigabytes.

    It depends on the model alone, as the last digits of its predictions do on the number of rows.
    """
    bytes_per_row = 4 * graph.widest
    return max(min(_CALL_BYTES // bytes_per_row, _MOST_ROWS), 1)


class _Matching:
    """The columns of a spec, found among the inputs and outputs of a model; `mismatches` are those not found."""

    def __init__(self, onnx: Onnx, wanted: Mapping[str, Output], session: ModelSession) -> None:
        self._onnx = onnx
        self._wanted = wanted
        self._graph = session.graph
        self._nodes = session.inputs
        self._given = session.outputs
        self.columns = _resolve_inputs(onnx, self._nodes)
        self.outputs: dict[str, Selection] = {}
        self.mismatches = [*self._input_mismatches(), *self._feature_faults(), *self._output_mismatches()]

    def input(self, name: str) -> Input:
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

    def _feature_faults(self) -> Iterator[str]:
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
            not_float = sorted(types - _FLOAT_TENSORS)
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
        dtype = TENSOR_DTYPES[self._given[source].type]
        return Selection(
            name=name,
            type=output.type,
            source=source,
            dtype=dtype,
            index=index,
            columns=columns,
            classes=classes,
            by_class=bool(wanted),
            is_label=self._graph.label_classes(source) is not None,
        )

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
        return f"{source} has no class {listed_classes(unknown)}; it has {listed_classes(classes)}"
    return (
        f"the model does not say which classes the columns of {source} stand for; choose them by number instead, "
        "counted from 0: index, or columns for an array. Their order is that of classes_ in most toolkits"
    )


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
