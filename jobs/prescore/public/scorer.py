"""The scorer for applications and notebooks: one model, in this process, without a database."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Self, overload

import pyarrow as pa

from prescore.errors import DomainInvalid, ModelInvalid
from prescore.public.session import Session
from prescore.scoring import conversion, matching
from prescore.scoring.scorer import Scorer as BatchScorer
from prescore.scoring.session import ModelSession
from prescore.scoring.signature import Signature
from prescore.store.model_file import ModelFile

if TYPE_CHECKING:
    import pandas as pd

    from prescore.public.project import Project


class Scorer:
    """A model file and its signature: features in, predictions out, with the same numbers as a run.

        scorer = prescore.Scorer.from_project("churn")
        predictions = scorer.score(frame)

    Needs the extra `score` alone. `threads` is the number of threads of one call. Safe to share between threads. Raises
    ModelInvalid when the file is not an ONNX model, or does not have the inputs and outputs of the signature.
    """

    def __init__(self, model: ModelFile | ModelSession, signature: Signature, *, threads: int = 1) -> None:
        session = ModelSession(model, "The model", threads) if isinstance(model, ModelFile) else model
        self._scorer = BatchScorer(session, signature)

    @property
    def signature(self) -> Signature:
        """What the model takes and gives, with the names of columns."""
        return self._scorer.signature

    @property
    def features(self) -> dict[str, pa.DataType]:
        """Feature columns, each with the Arrow type that the model takes it as."""
        return self._scorer.features

    @classmethod
    def from_project(
        cls, name: str, project: Project | str | os.PathLike[str] | None = None, *, threads: int = 1
    ) -> Self:
        """Return a scorer of a model as the project has it now: its spec and its model file.

        `project` is a Project or a folder; by default it is found like `Project()`. Raises NotFound or SpecInvalid
        for the spec, ModelInvalid for the model file.
        """
        path = project if project is None or isinstance(project, str | os.PathLike) else project.root
        files = Session(path).files
        spec = files.spec(name)
        if spec.onnx is None:
            raise ModelInvalid(f"The spec of {name} has no [onnx] section: its predictions are made elsewhere.")
        session = ModelSession(ModelFile.read(files.root / spec.onnx.file), spec.onnx.file, threads)
        return cls(session, matching.signature(spec, spec.onnx, session))

    @overload
    def score(self, batch: pd.DataFrame) -> pd.DataFrame: ...
    @overload
    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch: ...
    def score(self, batch: pa.RecordBatch | pd.DataFrame) -> pa.RecordBatch | pd.DataFrame:
        """Return a prediction for every row of a pandas DataFrame or a pyarrow RecordBatch, in the same kind of table.

        The rows hold the feature columns; other columns are ignored. The result has a column for each output of the
        spec, and a DataFrame keeps its index. Missing values count as NULL. Raises DomainInvalid for a feature that is
        absent, NULL where the spec forbids it, or not exactly convertible; ModelFailed when the model fails on a row or
        returns a value that its output column cannot hold; and TypeError for anything but these two.
        """
        if isinstance(batch, pa.RecordBatch):
            return self._scorer.score(batch)
        pandas: Any = sys.modules.get("pandas")
        if pandas is None or not isinstance(batch, pandas.DataFrame):
            raise TypeError(
                f"score takes a pandas DataFrame or a pyarrow RecordBatch, not {type(batch).__name__}. "
                "Convert a list of rows or a dict of columns with pandas.DataFrame(…), and a pyarrow table with "
                "table.to_batches()."
            )
        return self._score_frame(batch)

    def _score_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        absent = [name for name in self.features if name not in frame.columns]
        if absent:
            raise DomainInvalid(
                f"The frame has no column {', '.join(absent)}, which the model needs; its columns are "
                f"{', '.join(map(str, frame.columns))}. Give it the features under their names in the spec."
            )
        batch = pa.RecordBatch.from_pandas(frame[list(self.features)], preserve_index=False)
        self._require_types(frame, batch)
        predictions: pd.DataFrame = self._scorer.score(batch).to_pandas()
        predictions.index = frame.index
        return predictions

    def _require_types(self, frame: pd.DataFrame, batch: pa.RecordBatch) -> None:
        """Raise DomainInvalid for columns that cannot be converted, with advice on the whole frame."""
        misfits = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            target = self.features[name]
            if column.null_count and name not in self.signature.nullable:
                raise DomainInvalid(
                    f"Column {name} of the frame has missing values, which the spec does not allow. Fill them first, "
                    f"or let the model take them as NaN with onnx.nullable = [{name!r}]."
                )
            allow_loss = name in self.signature.allow_precision_loss
            try:
                conversion.check_type(name, column.type, target, allow_precision_loss=allow_loss)
            except DomainInvalid:
                misfits[name] = _dtype_name(target)
        if misfits:
            listed = ", ".join(f"{name} is {frame[name].dtype}, not {dtype}" for name, dtype in misfits.items())
            raise DomainInvalid(
                f"The frame has other types than the model takes: {listed}. Convert them: frame.astype({misfits!r})."
            )


def _dtype_name(arrow_type: pa.DataType) -> str:
    """Return the pandas name of a feature's type."""
    return "str" if pa.types.is_string(arrow_type) else str(pa.array([], arrow_type).to_numpy().dtype)
