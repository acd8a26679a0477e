"""Export an estimator: convert it, prove the file on a frame, and write it with its examples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from prescore.errors import Mistake
from prescore.export import adaptation, columns, converter, examples, inputs, outputs, predictions, proof, toolkits
from prescore.export.columns import Column
from prescore.export.layout import Layout
from prescore.export.predictions import Predictions
from prescore.export.proof import ProvenOutput

if TYPE_CHECKING:
    import pandas as pd
    from onnx import ModelProto

EXAMPLES = 1000
"""The most rows of an examples file."""
_MISSING_TEXTS = ("", "(missing)", "(no value)")


@dataclass(frozen=True)
class Exported:
    """The files of an export, what it was proven on, and its outputs."""

    file: Path
    examples: Path
    rows: int
    features: tuple[Column, ...]
    outputs: tuple[ProvenOutput, ...]


def export(
    estimator: Any,
    frame: pd.DataFrame,
    path: Path,
    *,
    features: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
) -> Exported:
    """Write an estimator as an ONNX file that predicts the same for each row of a frame, and its examples beside it.

    Raises Mistake for an estimator or a frame that does not fit, and ModelInvalid for an estimator that cannot be
    converted, or whose file predicts something else. Then neither file is written or replaced.
    """
    if path.suffix != ".onnx":
        raise Mistake(f"{path} does not end in .onnx. Name the file after the model, such as models/churn.onnx.")
    estimator = _unwrapped(estimator)
    toolkits.require_known(estimator)
    predictions.require_fitted(estimator)
    rows = columns.select(estimator, frame, features)
    described = columns.describe(rows)
    missing_text = _missing_text(rows, described)
    layout = Layout.of_estimator(estimator, described)
    model = converter.convert(adaptation.adapted(estimator, missing_text), layout)
    inputs.name_inputs(model, layout)
    computed = Predictions(estimator, rows)
    outputs.name_outputs(model, targets, has_scores=computed.has_scores)
    _describe(model, described, missing_text)
    table = columns.to_arrow(rows, described, missing_text)
    content = model.SerializeToString()
    proven = proof.prove(content, path.name, table, computed)
    beside = path.with_suffix(".examples.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_examples(beside, rows, table, proven)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
    return Exported(path, beside, len(rows), tuple(described), tuple(proven))


def _unwrapped(estimator: Any) -> Any:
    """Return the best estimator of a search; any other estimator as it is."""
    return getattr(estimator, "best_estimator_", estimator)


def _missing_text(rows: pd.DataFrame, described: Sequence[Column]) -> str:
    """Return a text that stands for a missing one, and that none of the columns holds."""
    texts = {text for column in described if column.kind == "text" for text in rows[column.name].dropna().unique()}
    return next(text for text in _MISSING_TEXTS if text not in texts)


def _describe(model: ModelProto, described: Sequence[Column], missing_text: str) -> None:
    """Write what `prescore init` needs to know into the metadata of the file."""
    missing = {
        column.name: missing_text if column.kind == "text" else None for column in described if column.has_missing
    }
    categories = {column.name: list(column.categories) for column in described if column.categories is not None}
    metadata: dict[str, Any] = {"feature_names": [column.name for column in described]}
    if categories:
        metadata["categories"] = categories
    if missing:
        metadata["missing_values"] = missing
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key = key
        entry.value = json.dumps(value, ensure_ascii=False, default=str)


def _write_examples(path: Path, rows: pd.DataFrame, table: pa.Table, proven: Sequence[ProvenOutput]) -> None:
    for output in proven:
        if output.draft.name in table.column_names:
            raise Mistake(
                f"The estimator has a feature {output.draft.name}, and a column of its predictions would have the same "
                "name. Rename the feature, and train again."
            )
        table = table.append_column(output.draft.name, output.expected)
    chosen = pa.array(examples.choose(rows, EXAMPLES))
    part = path.with_name(f"{path.name}.part")
    pq.write_table(table.take(chosen), part)
    part.replace(path)
