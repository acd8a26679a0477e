"""Export an estimator: convert it, prove the file on a frame, and write it with its examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from prescore.errors import Mistake, ModelInvalid
from prescore.export import (
    adaptation,
    categories,
    columns,
    converter,
    examples,
    inputs,
    last_step,
    layout,
    metadata,
    outputs,
    predictions,
    proof,
    toolkits,
)
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
    """The files of an export, what it was proven on, and its outputs.

    `has_feature_names` says whether the estimator knows the names of its features, and so their order.
    """

    file: Path
    examples: Path
    rows: int
    features: tuple[Column, ...]
    has_feature_names: bool
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
    # The result of a search over parameters is its best estimator.
    estimator = getattr(estimator, "best_estimator_", estimator)
    toolkits.require_known(estimator)
    toolkits.require_converters(estimator)
    predictions.require_fitted(estimator)
    toolkits.require_no_text_categories(estimator)
    rows = _rows(estimator, frame, features)
    described = columns.describe(rows[layout.used_columns(estimator, list(rows.columns))])
    missing_text = _missing_text(rows, described)
    table = columns.to_arrow(rows, described, missing_text)
    computed = Predictions(estimator, rows)
    variants = _variants(adaptation.adapted(estimator, missing_text), described, computed)
    finished = (_finish(model, described, missing_text, targets, computed) for model in variants)
    content, proven = _first_proven(finished, path.name, table, computed)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".examples.parquet")
    _write_examples(beside, rows, table, proven)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
    has_names = bool(columns.feature_names(estimator))
    return Exported(path, beside, len(rows), tuple(described), has_names, tuple(proven))


def _rows(estimator: Any, frame: pd.DataFrame, features: Sequence[str] | None) -> pd.DataFrame:
    """Return the features of a frame as the estimator was trained on them."""
    selected = columns.select(estimator, frame, features)
    _require_texts(estimator, selected)
    restored = categories.restore(estimator, selected)
    return categories.restore_missing(estimator, restored)


def _require_texts(estimator: Any, selected: pd.DataFrame) -> None:
    """Raise Mistake for several columns, where an estimator was trained on a series of texts."""
    if layout.takes_series(estimator) and len(selected.columns) > 1:
        raise Mistake(
            f"{type(layout.first_step(estimator)).__name__} was trained on one column of texts, whose name it does not "
            f"know, but the data has {', '.join(map(str, selected.columns))}. Name the column of texts: "
            'features=["text"] in Python, --features text on the command line.'
        )


def _variants(estimator: Any, described: Sequence[Column], computed: Predictions) -> Iterator[ModelProto]:
    """Yield an estimator as it is converted best, then in ways that are slower or less common, but more exact.

    Raises ModelInvalid if it cannot be converted at all.
    """
    model = _convert(estimator, described, computed, is_precise=False)
    yield model
    if outputs.choose_labels(model):
        yield model
    if hasattr(estimator, "steps"):
        with suppress(ModelInvalid):
            model = _convert(adaptation.precise(estimator), described, computed, is_precise=True)
            yield model
            if outputs.choose_labels(model):
                yield model


def _convert(estimator: Any, described: Sequence[Column], computed: Predictions, *, is_precise: bool) -> ModelProto:
    needed = Layout.of_estimator(estimator, described, precise=is_precise)
    model = converter.convert(estimator, needed)
    last_step.append(model, estimator)
    inputs.name_inputs(model, needed)
    outputs.simplify(model, has_scores=computed.has_scores)
    outputs.split_sequence(model)
    return model


def _finish(
    model: ModelProto,
    described: Sequence[Column],
    missing_text: str,
    targets: Sequence[str] | None,
    computed: Predictions,
) -> bytes:
    finished = type(model)()
    finished.CopyFrom(model)
    outputs.name_targets(finished, targets, computed.targets)
    outputs.name_classes(finished, computed.classes)
    metadata.describe(finished, described, missing_text)
    content: bytes = finished.SerializeToString()
    return content


def _first_proven(
    contents: Iterator[bytes], name: str, table: pa.Table, computed: Predictions
) -> tuple[bytes, list[ProvenOutput]]:
    """Return the first content that predicts what the estimator does; raise ModelInvalid for the first if none does."""
    first: ModelInvalid | None = None
    for content in contents:
        try:
            return content, proof.prove(content, name, table, computed)
        except ModelInvalid as error:
            first = first or error
    raise first or ModelInvalid(f"{name} was not written: its estimator has no conversion.")


def _missing_text(rows: pd.DataFrame, described: Sequence[Column]) -> str:
    """Return a text that stands for a missing one, and that none of the columns holds."""
    texts: set[str] = set()
    for column in described:
        if column.kind == "text":
            texts.update(rows[column.name].dropna())
    return next(text for text in _MISSING_TEXTS if text not in texts)


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
