"""Export an estimator to ONNX, where it is trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from prescore.errors import Mistake
from prescore.export import columns, loading
from prescore.export.exporting import Exported, export
from prescore.project import scaffold
from prescore.project.folder import FILE
from prescore.project.project import Project as ProjectFiles
from prescore.project.project import Settings
from prescore.public import extras, html
from prescore.public.results import Result
from prescore.wording import count

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ExportedOutput(Result):
    """An output of an exported model, as `prescore init` drafts it.

    `largest_difference` is how far the file is from the estimator at most; None for labels, which are equal.
    """

    name: str
    type: str
    largest_difference: float | None


@dataclass(frozen=True)
class ExportResult(Result):
    """The files of an export, its features, and its outputs, proven on so many `rows` of the frame.

    `has_feature_names` says whether the estimator knows the names of its features. Otherwise their names and their
    order are those of `features`, or of the frame.
    """

    file: str
    examples: str
    rows: int
    features: tuple[str, ...]
    has_feature_names: bool
    outputs: tuple[ExportedOutput, ...]

    @classmethod
    def from_exported(cls, exported: Exported) -> Self:
        """Return an export in its public form."""
        outputs = [
            ExportedOutput(output.draft.name, output.draft.type, output.largest_difference)
            for output in exported.outputs
        ]
        features = tuple(column.name for column in exported.features)
        return cls(
            file=str(exported.file),
            examples=str(exported.examples),
            rows=exported.rows,
            features=features,
            has_feature_names=exported.has_feature_names,
            outputs=tuple(outputs),
        )

    def sentence(self) -> str:
        """Return what was proven, as people read it."""
        differences = [output.largest_difference for output in self.outputs if output.largest_difference is not None]
        proven = f"It predicts the same as the estimator for {count(self.rows, 'row')}"
        return f"{proven}; numbers differ by at most {max(differences):.1g}." if differences else f"{proven}."

    def summary(self) -> dict[str, object]:
        """Return what a notebook shows of the export: name → value."""
        return {
            "file": self.file,
            "examples": self.examples,
            "rows": self.rows,
            "features": ", ".join(self.features),
            "outputs": html.nested([output.summary() for output in self.outputs]),
        }


def export_onnx(
    estimator: Any,
    frame: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    features: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
) -> ExportResult:
    """Write a fitted estimator as an ONNX file that is proven to predict the same, and its examples beside it.

        prescore.export_onnx(model, customers, "models/churn.onnx")

    `estimator` is from scikit-learn, LightGBM, XGBoost or CatBoost: a pipeline with any of the first three in it, or a
    booster alone. `frame` has the features under their names, with the dtypes of training; other columns are ignored,
    because the estimator knows its features. For one that was trained on an array, `features` names them in the order
    of training. `targets` names the outputs of an estimator with several targets.

    Every row of `frame` is scored by the estimator and by ONNX Runtime: labels must be equal, and a number may be off
    by 0.0001 of its size. At most 1,000 of the rows become the examples, `models/churn.examples.parquet`. The file
    carries the names of the features, the categories of pandas and the class labels. `prescore init` reads them.

    Raises Mistake for an estimator or a frame that does not fit, or a toolkit that is not installed, and ModelInvalid
    for an estimator that is not fitted or cannot be converted, or whose file predicts something else: the message has
    the rows, the columns and both values. Then no file is written or replaced.
    """
    return ExportResult.from_exported(export(estimator, frame, Path(path), features=features, targets=targets))


def export_file(
    file: Path,
    data: str,
    path: Path,
    *,
    table: str | None = None,
    features: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
) -> ExportResult:
    """Export the estimator in a file, and prove it on at most 100,000 rows of a data set: `prescore export`.

    `data` is what `prescore init` takes. Raises what `export_onnx` raises, and Mistake for a file or data that cannot
    be read.
    """
    with extras.needed("jobs"):
        from prescore.draft import data_source
        from prescore.export.data import read

    if path.suffix != ".onnx":
        raise Mistake(f"{path} does not end in .onnx. Name the file after the model, such as models/churn.onnx.")
    root = scaffold.project_folder()
    settings = ProjectFiles.find(root).settings if (root / FILE).exists() else Settings.model_validate({})
    estimator = loading.load(file)
    opened = data_source.open_data(data, table, root, settings)
    frame = read(opened.dataset, columns.feature_names(estimator) or features or [])
    return ExportResult.from_exported(export(estimator, frame, path, features=features, targets=targets))
