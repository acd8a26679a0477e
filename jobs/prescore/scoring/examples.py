"""Examples: rows with the outputs that the training code computed, which a model must reproduce before it is used."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pat

from prescore.catalog.types import FLOATS, TYPES
from prescore.errors import DomainInvalid, ModelInvalid
from prescore.scoring import arrays, conversion
from prescore.scoring.scorer import Scorer
from prescore.store.model_file import hash_bytes

TOLERANCE = 1e-4
"""How far a float may be from its example by default, as a fraction of its size."""
HOW_TO_ADD = (
    "Write them where the model is trained, with prescore.examples(model, frame), and name the file in the spec: "
    "[onnx.examples] file."
)
MISSING = (
    f"The spec has no examples, so nothing shows that the model's numbers are those of its training code. {HOW_TO_ADD}"
)

Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class ExampleFile:
    """A file of examples: its path and its content."""

    path: Path
    content: bytes

    @classmethod
    def read(cls, path: Path) -> ExampleFile:
        """Return a file of examples; raise ModelInvalid if it cannot be read."""
        try:
            return cls(path, path.read_bytes())
        except OSError as error:
            raise ModelInvalid(
                f"Cannot read the examples {path}: {error.strerror}. Correct onnx.examples.file in the spec, or write "
                "the file where the model is trained, with prescore.examples(model, frame)."
            ) from error

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the file."""
        return hash_bytes(self.content)

    @cached_property
    def rows(self) -> pa.Table:
        """The rows; raises ModelInvalid if the file is not Parquet or has none."""
        try:
            table = pq.read_table(io.BytesIO(self.content))
        except (OSError, pa.ArrowException) as error:
            raise ModelInvalid(f"The examples {self.path} are not a Parquet file: {error}") from error
        if table.num_rows == 0:
            raise ModelInvalid(f"The examples {self.path} have no rows. Write them again.")
        return table.combine_chunks()


@dataclass(frozen=True)
class Expected:
    """What an output must be for each example: `values` in the output's Arrow type; `tolerance` 0 means exactly."""

    values: pa.Array
    tolerance: float

    def differing(self, predictions: pa.Array) -> Mask:
        """Return which predictions are not as expected."""
        if pat.is_list(self.values.type):
            return arrays.differing_rows(self.values, predictions, self._differing_elements)
        if not pat.is_floating(self.values.type):
            unequal: Mask = pc.not_equal(predictions, self.values).fill_null(True).to_numpy(zero_copy_only=False)
            return unequal
        return self.errors(predictions) > self.tolerance

    def _differing_elements(self, values: pa.Array, predictions: pa.Array) -> Mask:
        return Expected(values, self.tolerance).differing(predictions)

    def errors(self, predictions: pa.Array) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return how far float predictions are off: fractions of the expected value or, if larger, the mean size."""
        expected = _floats(self.values)
        predicted = _floats(predictions)
        finite = np.abs(expected[np.isfinite(expected)])
        typical = finite.mean() if finite.size else 0.0
        size = np.maximum(np.abs(expected), max(typical, np.finfo(np.float32).tiny))
        with np.errstate(invalid="ignore"):
            errors: np.ndarray[Any, np.dtype[np.float64]] = np.abs(predicted - expected) / size
        same = (predicted == expected) | (np.isnan(predicted) & np.isnan(expected))
        errors[same] = 0.0
        errors[np.isnan(errors)] = np.inf
        return errors


@dataclass(frozen=True)
class Examples:
    """The examples as the model takes them: `features` in its types, and what each output must be.

    `source` has the rows as they are in the file.
    """

    features: pa.RecordBatch
    expected: Mapping[str, Expected]
    source: pa.Table

    def differing(self, predictions: pa.RecordBatch) -> dict[str, Mask]:
        """Return which rows differ, for each output of which some do."""
        masks = {name: expected.differing(predictions.column(name)) for name, expected in self.expected.items()}
        return {name: mask for name, mask in masks.items() if mask.any()}

    def take(self, mask: Mask) -> Examples:
        """Return the rows where `mask` is true."""
        chosen = pa.array(mask)
        expected = {
            name: Expected(values.values.filter(chosen), values.tolerance) for name, values in self.expected.items()
        }
        return Examples(self.features.filter(chosen), expected, self.source.filter(chosen))


def read(scorer: Scorer, file: ExampleFile) -> Examples:
    """Return the examples in a file as a model takes them; raise ModelInvalid if columns are missing or do not fit.

    Numbers are rounded to the types of the model's inputs, as the domain query does. Rows with a missing value where
    the spec does not allow one are left out, as a run would reject them.
    """
    rows = file.rows
    missing = [name for name in scorer.features if name not in rows.schema.names]
    if missing:
        raise ModelInvalid(
            f"The examples {file.path} lack the features {', '.join(missing)}; they have "
            f"{', '.join(rows.schema.names)}. Write them with the columns that the spec names."
        )
    complete = np.ones(rows.num_rows, np.bool_)
    for name in scorer.features:
        if name not in scorer.onnx.nullable:
            complete &= ~_is_missing(rows.column(name).combine_chunks())
    if not complete.any():
        raise ModelInvalid(
            f"Every row of the examples {file.path} has a missing feature that onnx.nullable does not name. "
            "Write examples without missing values, or name these features in onnx.nullable."
        )
    rows = rows.filter(pa.array(complete))
    features = {}
    for name, arrow_type in scorer.features.items():
        features[name] = _convert(file, name, rows.column(name).combine_chunks(), arrow_type)
    return Examples(pa.record_batch(features), _read_expected(scorer, file, rows), rows)


def _read_expected(scorer: Scorer, file: ExampleFile, rows: pa.Table) -> dict[str, Expected]:
    spec = scorer.spec
    settings = scorer.onnx.examples
    columns = dict(settings.columns) if settings else {}
    tolerances = dict(settings.tolerance) if settings else {}
    expected = {}
    for name, output in spec.outputs.items():
        column = columns.get(name, name)
        if column not in rows.schema.names:
            if name in columns:
                raise ModelInvalid(f"onnx.examples.columns.{name}: {file.path} has no column {column}.")
            continue
        arrow_type = conversion.ARROW[output.type]
        values = _convert(file, column, rows.column(column).combine_chunks(), arrow_type)
        is_exact = (TYPES[output.type].element or output.type) not in FLOATS
        tolerance = 0.0 if is_exact else tolerances.get(name, TOLERANCE)
        expected[name] = Expected(values, tolerance)
    absent = [name for name in spec.outputs if name not in expected]
    if absent:
        others = [name for name in rows.schema.names if name not in scorer.features]
        raise ModelInvalid(
            f"The examples {file.path} do not have the outputs {', '.join(absent)}; beside the features they have "
            f"{', '.join(others) or 'nothing'}. Write them under these names, or name their columns: "
            f'onnx.examples.columns = {{ {absent[0]} = "…" }}.'
        )
    return expected


def _convert(file: ExampleFile, name: str, column: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    if pat.is_floating(column.type) and not pat.is_floating(arrow_type):
        column = pc.if_else(pc.is_nan(column), None, column)
    if pat.is_boolean(arrow_type) and pat.is_integer(column.type):
        return column.cast(arrow_type)
    if pat.is_boolean(column.type) and pat.is_integer(arrow_type):
        return column.cast(arrow_type)
    try:
        return conversion.convert(name, column, arrow_type, allow_precision_loss=True)
    except DomainInvalid as error:
        raise ModelInvalid(
            f"The examples {file.path} do not fit the model: column {name} is {column.type}, and cannot become "
            f"{conversion.type_name(arrow_type)} exactly. Write them again, with the types of training."
        ) from error


def _is_missing(column: pa.Array) -> Mask:
    missing: Mask = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
    return missing


def _floats(values: pa.Array) -> np.ndarray[Any, np.dtype[np.float64]]:
    floats: np.ndarray[Any, np.dtype[np.float64]] = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return floats
