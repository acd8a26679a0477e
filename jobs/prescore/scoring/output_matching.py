"""Match the outputs of a model file with the output columns of a spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.types as pat

from prescore.catalog.types import TYPES
from prescore.project.spec import Output
from prescore.scoring.column_types import ARROW
from prescore.scoring.graph import Label
from prescore.scoring.session import ModelSession, declared_width
from prescore.scoring.signature import FLOAT_TENSORS, TENSOR_DTYPES, TENSOR_TYPES, Selection, listed_classes
from prescore.wording import guess


class OutputMatching:
    """What a spec selects of the outputs of a model, by output column: `selections`; `mismatches` are the others."""

    def __init__(self, wanted: Mapping[str, Output], session: ModelSession) -> None:
        self._wanted = wanted
        self._graph = session.graph
        self._given = session.outputs
        self.selections: dict[str, Selection] = {}
        self.mismatches = list(self._select_all())

    def _select_all(self) -> Iterator[str]:
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
            self.selections[name] = selection

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
            return f"{source} has one value for each row, and no column for each class; {self._class_advice()}"
        if not _is_readable(node.type, output.type):
            fitting = _fitting_type(node.type) + ("[]" if TYPES[output.type].is_array else "")
            return f"{source} is {node.type}, which cannot become {output.type}; choose another type, such as {fitting}"
        return None

    def _class_advice(self) -> str:
        """Return what to do about a class for an output with one value: the model may have another output for it."""
        for name, node in self._given.items():
            if not _has_one_value(node):
                return f"leave class out, or choose the output with a column for each class: from = {name!r}"
        return "leave class out"


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


def _has_one_value(node: Any) -> bool:
    """Return whether an output has one value for each row, such as a label, and no column for each class."""
    return node.type not in FLOAT_TENSORS or declared_width(node) == 1


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
