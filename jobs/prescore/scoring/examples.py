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
from prescore.project.spec import Examples as ExampleSettings
from prescore.scoring import column_types, conversion
from prescore.scoring.arrays import Mask
from prescore.scoring.expected import Expected, is_missing
from prescore.scoring.spec_scorer import SpecScorer
from prescore.store.model_file import hash_bytes

TOLERANCE = 1e-4
"""How far a float may be from its example by default, as a fraction of its size."""
HOW_TO_ADD = (
    "Write them where the model is trained, with prescore.examples(model, frame, outputs=…), and name the file in the "
    "spec: [onnx.examples] file."
)
_WRITE_AGAIN = "Write them again where the model is trained, with prescore.examples(model, frame, outputs=…)."
MISSING = (
    f"The spec has no examples, so nothing shows that the model's numbers are those of its training code. {HOW_TO_ADD}"
)


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
                "the file where the model is trained, with prescore.examples(model, frame, outputs=…)."
            ) from error

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the file."""
        return hash_bytes(self.content)

    @cached_property
    def rows(self) -> pa.Table:
        """The rows; raises ModelInvalid if the file is not Parquet or has none."""
        try:
            table = pq.ParquetFile(io.BytesIO(self.content)).read()
        except (OSError, pa.ArrowException) as error:
            raise ModelInvalid(
                f"The examples {self.path} are not a Parquet file, or a damaged one: {error}. {_WRITE_AGAIN}"
            ) from error
        if table.num_rows == 0:
            raise ModelInvalid(f"The examples {self.path} have no rows. {_WRITE_AGAIN}")
        names = table.schema.names
        if len(set(names)) != len(names):
            raise ModelInvalid(
                f"The examples {self.path} have two columns of one name. Their columns: {', '.join(names)}. "
                "Rename one of them, and write the file again."
            )
        return table.combine_chunks()


@dataclass(frozen=True)
class Examples:
    """The examples as the model takes them: `features` in its types, and what each output must be.

    `source` has the rows as they are in the file, and `numbers` their numbers there, counted from 0.
    """

    features: pa.RecordBatch
    expected: Mapping[str, Expected]
    source: pa.Table
    numbers: np.ndarray[Any, np.dtype[np.int64]]

    def differing(self, predictions: pa.RecordBatch) -> dict[str, Mask]:
        """Return which rows differ, for each output of which some do."""
        masks = {}
        for name, expected in self.expected.items():
            mask = expected.differing(predictions.column(name))
            if mask.any():
                masks[name] = mask
        return masks

    def take(self, mask: Mask) -> Examples:
        """Return the rows where `mask` is true."""
        chosen = pa.array(mask)
        expected = {}
        for name, values in self.expected.items():
            expected[name] = values.take(chosen)
        features = self.features.filter(chosen)
        return Examples(features, expected, self.source.filter(chosen), self.numbers[mask])


def read(scorer: SpecScorer, file: ExampleFile) -> Examples:
    """Return the examples in a file as a model takes them; raise ModelInvalid if columns are missing or do not fit.

    Numbers are rounded to the types of the model's inputs, as the domain query does. Rows with a missing value where
    the spec does not allow one are left out, as a run would reject them.
    """
    _require_features(scorer, file)
    complete = _complete_rows(scorer, file)
    rows = file.rows.filter(pa.array(complete))
    features = {}
    for name, arrow_type in scorer.features.items():
        features[name] = _convert(file, rows, name, arrow_type)
    expected = _read_expected(scorer, file, rows)
    return Examples(pa.record_batch(features), expected, rows, np.flatnonzero(complete))


def _require_features(scorer: SpecScorer, file: ExampleFile) -> None:
    names = file.rows.schema.names
    missing = [name for name in scorer.features if name not in names]
    if missing:
        raise ModelInvalid(
            f"The examples {file.path} have no column for {', '.join(missing)}; they have {', '.join(names)}. "
            "Write them with the columns that the spec names."
        )


def _complete_rows(scorer: SpecScorer, file: ExampleFile) -> Mask:
    """Return which rows have every feature that must not be missing."""
    rows = file.rows
    complete = np.ones(rows.num_rows, np.bool_)
    for name in scorer.features:
        if name not in scorer.onnx.nullable:
            complete &= ~is_missing(rows.column(name))
    if not complete.any():
        raise ModelInvalid(
            f"Every row of the examples {file.path} has a missing feature that onnx.nullable does not name. "
            "Write examples without missing values, or name these features in onnx.nullable."
        )
    return complete


def _read_expected(scorer: SpecScorer, file: ExampleFile, rows: pa.Table) -> dict[str, Expected]:
    settings = scorer.onnx.examples or ExampleSettings(file=str(file.path))
    expected = {}
    for name, output in scorer.spec.outputs.items():
        column = settings.columns.get(name, name)
        if column not in rows.schema.names:
            raise _absent_error(scorer, file, name, column)
        values = _convert(file, rows, column, column_types.ARROW[output.type], name)
        tolerance = settings.tolerance.get(name, TOLERANCE) if _is_float(output.type) else 0.0
        is_half = scorer.signature.outputs[name].dtype == "float16"
        expected[name] = Expected(values, tolerance, is_half)
    return expected


def _absent_error(scorer: SpecScorer, file: ExampleFile, name: str, column: str) -> ModelInvalid:
    if column != name:
        return ModelInvalid(f"onnx.examples.columns.{name}: {file.path} has no column {column}.")
    others = [other for other in file.rows.schema.names if other not in scorer.features]
    return ModelInvalid(
        f"The examples {file.path} do not have the output {name}; beside the features they have "
        f"{', '.join(others) or 'nothing'}. Write the outputs under their names, or name their columns: "
        f'onnx.examples.columns = {{ {name} = "…" }}.'
    )


def _is_float(type_name: str) -> bool:
    element = TYPES[type_name].element
    return (element or type_name) in FLOATS


def _convert(
    file: ExampleFile, rows: pa.Table, name: str, arrow_type: pa.DataType, output: str | None = None
) -> pa.Array:
    """Return a column of the examples in the type of a feature, or of `output`; raise ModelInvalid if it cannot be."""
    column = rows.column(name).combine_chunks()
    if pat.is_floating(column.type) and not pat.is_floating(arrow_type):
        column = pc.if_else(pc.is_nan(column), None, column)
    try:
        if pat.is_boolean(arrow_type) and pat.is_floating(column.type):
            column = conversion.convert(name, column, pa.int64())
        if _is_label_of_boolean(column.type, arrow_type):
            return _between_labels_and_booleans(name, column, arrow_type)
        return conversion.convert(name, column, arrow_type, allow_precision_loss=True)
    except DomainInvalid as error:
        given, wanted = (column_types.type_name(kind) for kind in (column.type, arrow_type))
        if output is not None:
            raise ModelInvalid(
                f"outputs.{output}: the spec has the type {wanted}, but column {name} of the examples {file.path} is "
                f"{given}, and cannot become {wanted} exactly. Correct the type in the spec, or write them again."
            ) from error
        raise ModelInvalid(
            f"The examples {file.path} do not fit the model: column {name} is {given}, and cannot become {wanted} "
            "exactly, the type that the model takes. Write them again, with the types of training."
        ) from error


def _is_label_of_boolean(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether one is a boolean and the other an integer: classifiers label booleans as 0 and 1."""
    kinds = (given, wanted)
    return any(map(pat.is_boolean, kinds)) and any(map(pat.is_integer, kinds))


def _between_labels_and_booleans(name: str, column: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    """Return labels as booleans, or the reverse; raise DomainInvalid for a label other than 0 and 1."""
    converted = column.cast(arrow_type)
    if pc.any(pc.not_equal(converted.cast(column.type), column)).as_py():
        raise DomainInvalid(f"Column {name} holds labels other than 0 and 1.")
    return converted
