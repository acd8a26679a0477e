"""The output columns of a draft, from what the model answers for a sample of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from prescore.catalog.naming import probability_columns
from prescore.scoring.graph import Graph, Label

Tensor = np.ndarray[Any, Any]
Kind = Literal["label", "probability", "number", "array"]

MOST_COLUMNS = 10
"""The most columns of one tensor that become output columns of their own; more become an array."""
_TYPES = {"f": "real", "i": "bigint", "u": "bigint", "b": "boolean", "O": "text", "U": "text"}


@dataclass(frozen=True)
class DraftOutput:
    """An output column: what the spec says of it, and its values for the sample.

    `labels` are all classes that a label can be, if the model names them.
    """

    name: str
    kind: Kind
    type: str
    fields: dict[str, Any]
    values: Tensor = field(repr=False)
    labels: tuple[Label, ...] = ()


def draft(graph: Graph, tensors: Mapping[str, Tensor]) -> list[DraftOutput]:
    """Return the output columns for all tensors that the model returns.

    The names are those that `prescore.examples` gives: `prediction`, and `probability_<class>`. Of two classes, only
    the second has a column, because the first one's probability is the rest.
    """
    classes = _classes(graph, tensors)
    outputs: list[DraftOutput] = []
    for source, tensor in tensors.items():
        outputs += _of_tensor(source, tensor, graph.labels(source), classes, graph.target_names)
    return _with_distinct_names(outputs)


def _classes(graph: Graph, tensors: Mapping[str, Tensor]) -> tuple[Label, ...]:
    for source in tensors:
        labels = graph.labels(source)
        if labels:
            return labels
    return ()


def _of_tensor(
    source: str,
    tensor: Tensor,
    labels: tuple[Label, ...] | None,
    classes: tuple[Label, ...],
    targets: tuple[str, ...],
) -> list[DraftOutput]:
    if tensor.ndim == 1 or tensor.shape[1] == 1:
        name = targets[0] if len(targets) == 1 else "prediction"
        return [_single(name, source, tensor.reshape(-1), classes)]
    width = tensor.shape[1]
    if labels and width == len(labels) and width <= MOST_COLUMNS:
        return _probabilities(source, tensor, labels)
    if len(targets) == width:
        return _columns(source, tensor, targets)
    if width <= MOST_COLUMNS:
        return _columns(source, tensor, [f"{source}_{index}" for index in range(width)])
    return [DraftOutput(source, "array", f"{_type(tensor)}[]", {"from": source}, tensor)]


def _probabilities(source: str, tensor: Tensor, labels: tuple[Label, ...]) -> list[DraftOutput]:
    first = 1 if len(labels) == 2 else 0
    outputs = []
    for index, name in enumerate(probability_columns(labels)):
        if index < first:
            continue
        fields = {"from": source, "class": labels[index]}
        output = DraftOutput(name, "probability", _type(tensor), fields, tensor[:, index])
        outputs.append(output)
    return outputs


def _columns(source: str, tensor: Tensor, names: Sequence[str]) -> list[DraftOutput]:
    outputs = []
    for index, name in enumerate(names):
        fields = {"from": source, "index": index}
        outputs.append(_column(name, tensor[:, index], fields))
    return outputs


def _single(name: str, source: str, values: Tensor, classes: tuple[Label, ...]) -> DraftOutput:
    if values.dtype.kind == "f":
        return _column(name, values, {"from": source})
    return DraftOutput(name, "label", _type(values), {"from": source}, values, classes)


def _column(name: str, values: Tensor, fields: dict[str, Any]) -> DraftOutput:
    kind: Kind = "number" if values.dtype.kind == "f" else "label"
    return DraftOutput(name, kind, _type(values), fields, values)


def _type(tensor: Tensor) -> str:
    if tensor.dtype == np.float64:
        return "double precision"
    return _TYPES[tensor.dtype.kind]


def _with_distinct_names(outputs: list[DraftOutput]) -> list[DraftOutput]:
    """Give outputs of one name that of their tensor instead, and of their class."""
    names = [output.name for output in outputs]
    distinct = []
    for output in outputs:
        if names.count(output.name) > 1:
            parts = [output.fields["from"], output.fields.get("class")]
            output = replace(output, name="_".join(str(part) for part in parts if part is not None))
        distinct.append(output)
    return distinct
