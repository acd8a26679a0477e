"""How the columns of a frame reach the converted model: as one input for each column, or as one matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prescore.errors import Mistake
from prescore.export import steps
from prescore.export.columns import Column

MATRIX = "features"
"""The name of an input that is a matrix."""
Element = Literal["float", "integer", "text"]
_ENCODERS = {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}
_VECTORIZERS = {"TfidfVectorizer", "CountVectorizer"}
_BY_COLUMN = {"ColumnTransformer"}


@dataclass(frozen=True)
class Layout:
    """The columns, and for each of them what the converted model takes: `float`, `integer` or `text`.

    `by_column` says that it has an input for each column; otherwise it has a matrix of one type.
    """

    columns: tuple[Column, ...]
    elements: tuple[Element, ...]
    by_column: bool

    @classmethod
    def of_estimator(cls, estimator: Any, columns: Sequence[Column]) -> Layout:
        """Return the layout that an estimator needs; raise Mistake for columns that it cannot take."""
        first = _first(estimator)
        by_column = type(first).__name__ in _BY_COLUMN
        encoded = set(_encoded(first)) if by_column else set()
        is_encoder = type(first).__name__ in _ENCODERS
        elements = [_element(column, is_encoded=is_encoder or column.name in encoded) for column in columns]
        if not by_column:
            elements = [_code(column, element) for column, element in zip(columns, elements, strict=True)]
        if not by_column and len(set(elements)) > 1:
            texts = [column.name for column, element in zip(columns, elements, strict=True) if element == "text"]
            raise Mistake(
                f"Column {', '.join(texts)} holds texts beside columns of numbers, but {type(first).__name__} takes "
                "one matrix. Begin the pipeline with a ColumnTransformer."
            )
        return cls(tuple(columns), tuple(elements), by_column)

    def initial_types(self) -> list[tuple[str, Any]]:
        """Return the inputs of the converted model as skl2onnx takes them."""
        from skl2onnx.common import data_types

        types = {
            "float": data_types.FloatTensorType,
            "integer": data_types.Int64TensorType,
            "text": data_types.StringTensorType,
        }
        if not self.by_column:
            return [(MATRIX, types[self.elements[0]]([None, len(self.columns)]))]
        pairs = zip(self.columns, self.elements, strict=True)
        return [(column.name, types[element]([None, 1])) for column, element in pairs]


def takes_series(estimator: Any) -> bool:
    """Return whether an estimator takes a series of texts, as vectorizers do, and not a frame."""
    return type(_first(estimator)).__name__ in _VECTORIZERS


def _element(column: Column, *, is_encoded: bool) -> Element:
    if column.kind == "text":
        return "text"
    return "integer" if is_encoded and column.kind in {"integer", "boolean"} else "float"


def _code(column: Column, element: Element) -> Element:
    """Return what a matrix has for a column: LightGBM and XGBoost take the codes of categories."""
    return element if column.categories is None else "float"


def _first(estimator: Any) -> Any:
    """Return the step that takes the columns of the frame."""
    inner = getattr(estimator, "steps", None)
    while inner:
        used = [step for _, step in inner if step != "passthrough" and step is not None]
        if not used:
            return estimator
        estimator = used[0]
        inner = getattr(estimator, "steps", None)
    return estimator


def _encoded(transformer: Any) -> Iterator[str]:
    """Yield the columns of a ColumnTransformer whose categories are encoded, and which must keep their type."""
    names = list(getattr(transformer, "feature_names_in_", ()))
    for _, inner, columns in transformer.transformers_:
        kinds = {type(step.estimator).__name__ for step in steps.walk(inner)} if hasattr(inner, "fit") else set()
        if kinds & _ENCODERS:
            listed = [columns] if isinstance(columns, str) else list(columns)
            yield from (column if isinstance(column, str) else names[column] for column in listed)
