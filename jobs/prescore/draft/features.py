"""Which columns of the data fill which inputs of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from prescore.draft.dataset import Dataset
from prescore.draft.interface import Input, Interface
from prescore.errors import Mistake
from prescore.project.fields import BY_NAME

_TEXTS = (pat.is_string, pat.is_large_string, pat.is_dictionary)
_NUMBERS = (pat.is_integer, pat.is_floating, pat.is_decimal, pat.is_boolean)


@dataclass(frozen=True)
class Feature:
    """A feature: its name in the spec, the column of the data that it is, and the type that the model takes.

    `missing_text` is what the model takes for a missing text; None if it does not know any.
    """

    name: str
    column: str
    type: pa.DataType
    missing_text: str | None = None


@dataclass(frozen=True)
class Features:
    """The features of a model, what `onnx.inputs` says in TOML, and what a person should confirm."""

    listed: tuple[Feature, ...]
    inputs: str | dict[str, list[str]]
    remark: str = ""


def match(
    interface: Interface,
    dataset: Dataset,
    key: Sequence[str],
    given: Sequence[str],
    examples: Path | None,
) -> Features:
    """Match columns to inputs: by name, by `given` names, or in the order of the examples or else of the data.

    Raises Mistake when there is no column for an input, or when it is not clear which columns a matrix has.
    """
    if len(interface.inputs) == 1:
        only = interface.inputs[0]
        if only.width != 1 or given or not _has_column(dataset, only.name):
            names, remark = _names(interface, only, dataset, key, given, examples)
            return _matrix(only, dataset, names, remark)
    if given:
        raise Mistake("--features names the columns of a matrix, but this model has an input for each of its features.")
    return _by_name(interface, dataset)


def _by_name(interface: Interface, dataset: Dataset) -> Features:
    matrices = [inner.name for inner in interface.inputs if inner.width not in (1, None)]
    if matrices:
        raise Mistake(
            f"The model has several inputs, and {', '.join(matrices)} takes more than one column. Only you know which "
            "columns they are: run `prescore init` without --model, and fill [onnx.inputs] in the spec."
        )
    missing = interface.graph.missing_values
    listed = [
        Feature(inner.name, dataset.find(inner.name), inner.type, missing.get(inner.name)) for inner in interface.inputs
    ]
    return Features(tuple(listed), BY_NAME)


def _matrix(only: Input, dataset: Dataset, names: list[str], remark: str) -> Features:
    if only.width not in (None, len(names)):
        listed = ", ".join(names)
        raise Mistake(
            f"The model takes {only.width} features, but these are {len(names)}: {listed}. "
            "Name the columns in the order of training: --features a,b,c"
        )
    found = [dataset.find(name) for name in names]
    matched = [Feature(column, column, only.type) for column in found]
    return Features(tuple(matched), {only.name: found}, remark)


def _names(
    interface: Interface,
    only: Input,
    dataset: Dataset,
    key: Sequence[str],
    given: Sequence[str],
    examples: Path | None,
) -> tuple[list[str], str]:
    """Return the columns of a matrix in order, and what to confirm where the order is only probable."""
    if given:
        return list(given), ""
    if interface.feature_names:
        return list(interface.feature_names), ""
    if examples is not None and only.width is not None:
        # The features come first, in the order of training, and the model must reproduce the examples with them.
        return pq.read_schema(examples).names[: only.width], ""
    columns = list(_usable(dataset, key, only.type))
    listed = ", ".join(columns)
    return columns, f"Confirm the order of the features. The model does not name them; the data's order is {listed}."


def _usable(dataset: Dataset, key: Sequence[str], wanted: pa.DataType) -> Iterator[str]:
    """Yield the columns that are not keys and may fill an input, judged by their types."""
    kinds = _TEXTS if pat.is_string(wanted) else _NUMBERS
    for field in dataset.schema:
        if field.name in key:
            continue
        if any(is_kind(field.type) for is_kind in kinds):
            yield field.name


def _has_column(dataset: Dataset, name: str) -> bool:
    lowered = {column.lower() for column in dataset.schema.names}
    return name.lower() in lowered
