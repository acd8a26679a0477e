"""The signature of a model: what a model file takes and gives, and the columns that stand for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from prescore.errors import ModelInvalid
from prescore.scoring.graph import Label
from prescore.wording import count

DTYPES: dict[str, pa.DataType] = {
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "bool": pa.bool_(),
    "string": pa.string(),
}
"""The dtypes of inputs and outputs, and the Arrow types of their values."""

_ONNX_NAMES = {"float32": "float", "float64": "double"}
TENSOR_DTYPES: dict[str, str] = {f"tensor({_ONNX_NAMES.get(dtype, dtype)})": dtype for dtype in DTYPES}
"""ONNX type name → dtype."""
TENSOR_TYPES: dict[str, pa.DataType] = {name: DTYPES[dtype] for name, dtype in TENSOR_DTYPES.items()}
"""ONNX type name → the Arrow type that prescore feeds to it, or reads from it."""

FLOAT_TENSORS = {"tensor(float16)", "tensor(float)", "tensor(double)"}
"""The ONNX types that have a NaN for missing values."""

Tensor = np.ndarray[Any, Any]
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Input:
    """An input of the model: its dtype, its shape and the feature columns that fill it, in order.

    In the shape, None stands for a number that the model leaves open; it is None as a whole if the model declares none.
    """

    name: str
    dtype: str
    shape: Shape | None
    features: tuple[str, ...]

    @property
    def is_vector(self) -> bool:
        """Whether it is one-dimensional. An input without a declared shape is fed as a matrix."""
        return self.shape is not None and len(self.shape) == 1

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type of its values."""
        return DTYPES[self.dtype]


@dataclass(frozen=True)
class Selection:
    """Where the output column `name` comes from: an output of the model, `source`, and columns of it if the spec does.

    `type` is the Postgres type of the column, `dtype` that of the model's output. `index` is the column of a single
    value, and `columns` are those of an array; None stands for the only one and for all. `classes` are what the columns
    of the output stand for, if that is known. `by_class` says that the spec chose by class, so that the output must
    have a column for each of them. `is_label` says that the output is the class that a classifier chose.
    """

    name: str
    type: str
    source: str
    dtype: str
    index: int | None = None
    columns: tuple[int, ...] | None = None
    classes: tuple[Label, ...] = ()
    by_class: bool = False
    is_label: bool = False

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


@dataclass(frozen=True)
class Signature:
    """What a model file takes and gives, with the names of columns: enough to score without the spec.

    `inputs` and `outputs` are by name. `nullable` features reach the model as NaN where they are null, those in
    `allow_precision_loss` may be rounded on their way. `batch_rows` is how many rows one call of the model takes at
    most. With `batch_dependence`, the score of a row may depend on the rows that are scored with it.
    """

    inputs: dict[str, Input]
    outputs: dict[str, Selection]
    nullable: frozenset[str]
    allow_precision_loss: frozenset[str]
    batch_rows: int
    batch_dependence: bool = False

    @property
    def features(self) -> dict[str, pa.DataType]:
        """Feature columns, each with the Arrow type that the model takes it as."""
        return {feature: node.arrow_type for node in self.inputs.values() for feature in node.features}

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The feature columns of each input."""
        return {name: node.features for name, node in self.inputs.items()}

    @property
    def sources(self) -> list[str]:
        """The outputs of the model that are needed, each once: several columns may come from one of them."""
        return list(dict.fromkeys(selection.source for selection in self.outputs.values()))

    def with_columns(self, columns: Mapping[str, tuple[str, ...]]) -> Self:
        """Return the signature with other feature columns, or another order of them, for each input."""
        inputs = {name: replace(self.inputs[name], features=features) for name, features in columns.items()}
        return replace(self, inputs=inputs)

    def to_content(self) -> dict[str, Any]:
        """Return it as plain values, as the catalog records it; docs/reference/catalog.md describes them."""
        return {
            "inputs": [_plain(vars(node), "name", "dtype", "shape", "features") for node in self.inputs.values()],
            "nullable": sorted(self.nullable),
            "allow_precision_loss": sorted(self.allow_precision_loss),
            "outputs": list(map(_selection_content, self.outputs.values())),
            "batch_rows": self.batch_rows,
            "batch_dependence": self.batch_dependence,
        }

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> Self:
        """Return the signature that the catalog records as `content`."""
        inputs = [
            Input(entry["name"], entry["dtype"], _tuple(entry["shape"]), tuple(entry["features"]))
            for entry in content["inputs"]
        ]
        return cls(
            inputs={node.name: node for node in inputs},
            outputs={entry["name"]: _selection(entry) for entry in content["outputs"]},
            nullable=frozenset(content["nullable"]),
            allow_precision_loss=frozenset(content["allow_precision_loss"]),
            batch_rows=content["batch_rows"],
            batch_dependence=content["batch_dependence"],
        )


def _selection_content(selection: Selection) -> dict[str, Any]:
    content = _plain(vars(selection), "name", "type", "dtype", "index", "columns", "is_label")
    content["from"] = selection.source
    # The classes of an output whose columns were chosen by number are nothing to verify.
    content["classes"] = list(selection.classes) if selection.by_class else None
    return content


def _selection(content: Mapping[str, Any]) -> Selection:
    classes = _tuple(content["classes"])
    return Selection(
        name=content["name"],
        type=content["type"],
        source=content["from"],
        dtype=content["dtype"],
        index=content["index"],
        columns=_tuple(content["columns"]),
        classes=classes or (),
        by_class=classes is not None,
        is_label=content["is_label"],
    )


def _plain(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return some of the values, with lists in place of tuples."""
    plain = {}
    for name in names:
        value = values[name]
        plain[name] = list(value) if isinstance(value, tuple) else value
    return plain


def _tuple(values: Iterable[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


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
        by_class = f"class, one of {listed_classes(selection.classes)}" if selection.classes else "class"
        raise selection.error(f"has {columns}. Choose one with {by_class}, or with index, counted from 0, in the spec.")
    if index is not None and index >= width:
        advice = "Remove index." if width == 1 else "Correct index."
        raise selection.error(f"has {columns}, counted from 0, so there is no column {index}. {advice}")
    return tensor if tensor.ndim == 1 else tensor[:, index or 0]


def listed_classes(classes: Iterable[Label]) -> str:
    """Return classes for a message."""
    return ", ".join(map(repr, classes))
