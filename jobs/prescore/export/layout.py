"""How the columns of a frame reach the converted model: as one input for each column, or as one matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from prescore.errors import Mistake
from prescore.export import steps
from prescore.export.columns import Column

MATRIX = "features"
"""The name of an input that is a matrix."""
Element = Literal["float", "double", "integer", "text"]


@dataclass(frozen=True)
class Layout:
    """The columns, and for each of them what the converted model takes: `float`, `double`, `integer` or `text`.

    `by_column` says that it has an input for each column; otherwise it has a matrix of one type.
    """

    columns: tuple[Column, ...]
    elements: tuple[Element, ...]
    by_column: bool

    @classmethod
    def of_estimator(cls, estimator: Any, columns: Sequence[Column], *, precise: bool = False) -> Layout:
        """Return the layout that an estimator needs; raise Mistake for columns that it cannot take.

        With `precise`, numbers that its steps compute with have 64 bits.
        """
        first = first_step(estimator)
        if hasattr(first, "transformers_"):
            return cls._of_transformer(first, columns, precise=precise)
        is_encoder = type(first).__name__ in steps.ENCODERS
        elements = [_of_matrix(column, is_encoder=is_encoder, precise=precise) for column in columns]
        if len(set(elements)) > 1:
            texts = [column.name for column, element in zip(columns, elements, strict=True) if element == "text"]
            raise Mistake(
                f"There are texts in {', '.join(texts)}, beside columns of numbers, but {type(first).__name__} takes "
                "one matrix. If it was trained on numbers, convert the texts, such as with pandas.to_numeric. If it "
                "was trained on categories of pandas, call prescore.export_onnx with a DataFrame that has them. "
                "Otherwise begin the pipeline with a ColumnTransformer."
            )
        return cls(tuple(columns), tuple(elements), by_column=False)

    @classmethod
    def _of_transformer(cls, transformer: Any, columns: Sequence[Column], *, precise: bool) -> Layout:
        names = [column.name for column in columns]
        encoded = set(_columns_of(transformer, names, _encodes))
        computed = set(_columns_of(transformer, names, steps.computes_numbers)) if precise else set()
        elements: list[Element] = []
        for column in columns:
            if column.kind == "text":
                elements.append("text")
            elif column.name in encoded and column.kind in {"integer", "boolean"}:
                elements.append("integer")
            else:
                elements.append("double" if column.name in computed else "float")
        return cls(tuple(columns), tuple(elements), by_column=True)

    def initial_types(self) -> list[tuple[str, Any]]:
        """Return the inputs of the converted model as skl2onnx takes them."""
        from skl2onnx.common import data_types

        types = {
            "float": data_types.FloatTensorType,
            "double": data_types.DoubleTensorType,
            "integer": data_types.Int64TensorType,
            "text": data_types.StringTensorType,
        }
        if not self.by_column:
            return [(MATRIX, types[self.elements[0]]([None, len(self.columns)]))]
        pairs = zip(self.columns, self.elements, strict=True)
        return [(column.name, types[element]([None, 1])) for column, element in pairs]


def first_step(estimator: Any) -> Any:
    """Return the step that takes the columns of the frame."""
    while getattr(estimator, "steps", None):
        used = [step for _, step in estimator.steps if step != "passthrough" and step is not None]
        if not used:
            return estimator
        estimator = used[0]
    return estimator


def takes_series(estimator: Any) -> bool:
    """Return whether an estimator takes a series of texts, as vectorizers do, and not a frame."""
    return type(first_step(estimator)).__name__ in steps.VECTORIZERS


def texts_for_numbers(estimator: Any, layout: Layout) -> list[str]:
    """Return the columns of texts that no step takes which knows texts: the estimator was trained on numbers."""
    texts = [column.name for column in layout.columns if column.kind == "text" and column.categories is None]
    first = first_step(estimator)
    if not hasattr(first, "transformers_"):
        return [] if _knows_texts(estimator) else texts
    computed = set(_columns_of(first, [column.name for column in layout.columns], _takes_numbers))
    return [name for name in texts if name in computed]


def _takes_numbers(transformer: Any) -> bool:
    return _is_used(transformer) and not _knows_texts(transformer)


def _knows_texts(transformer: Any) -> bool:
    kinds = {type(step.estimator).__name__ for step in steps.walk(transformer)}
    return bool(kinds & (steps.ENCODERS | steps.VECTORIZERS))


def used_columns(estimator: Any, names: Sequence[str]) -> list[str]:
    """Return those of the columns that the estimator uses: a ColumnTransformer may drop some."""
    first = first_step(estimator)
    transformers = getattr(first, "transformers_", ())
    if not transformers or not all(_are_names(columns) for _, _, columns in transformers):
        return list(names)
    used = set(_columns_of(first, names, _is_used))
    return [name for name in names if name in used]


def _of_matrix(column: Column, *, is_encoder: bool, precise: bool) -> Element:
    """Return what a matrix has for a column: LightGBM and XGBoost take the codes of categories."""
    if column.categories is None and column.kind == "text":
        return "text"
    if is_encoder and column.kind in {"integer", "boolean"}:
        return "integer"
    return "double" if precise else "float"


def _encodes(transformer: Any) -> bool:
    if not hasattr(transformer, "transform"):
        return False
    return any(type(step.estimator).__name__ in steps.ENCODERS for step in steps.walk(transformer))


def _is_used(transformer: Any) -> bool:
    return not isinstance(transformer, str) or transformer != "drop"


def _are_names(columns: Any) -> bool:
    if isinstance(columns, slice):
        return isinstance(columns.start or columns.stop, str)
    return isinstance(columns, str) or all(isinstance(column, str) for column in columns)


def _columns_of(transformer: Any, names: Sequence[str], is_meant: Any) -> Iterator[str]:
    """Yield the columns of those parts of a ColumnTransformer that are meant."""
    for _, inner, columns in transformer.transformers_:
        if not is_meant(inner):
            continue
        if isinstance(columns, slice):
            yield from _of_slice(columns, names)
        elif isinstance(columns, str):
            yield columns
        else:
            yield from _of_list(columns, names)


def _of_slice(columns: slice, names: Sequence[str]) -> Sequence[str]:
    start, stop = columns.start, columns.stop
    if isinstance(start, str):
        start = names.index(start)
    if isinstance(stop, str):
        # Unlike a slice of positions, one of names includes its last.
        stop = names.index(stop) + 1
    return names[start:stop]


def _of_list(columns: Any, names: Sequence[str]) -> Iterator[str]:
    """Yield the columns of a list of names, of positions, or of a mask."""
    for position, column in enumerate(columns):
        if isinstance(column, str):
            yield column
        elif not isinstance(column, bool | np.bool_):
            yield names[int(column)]
        elif column:
            yield names[position]
