"""The scorer for applications and notebooks: one model, in this process."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import pyarrow as pa

from prescore.errors import DomainInvalid, Mistake, ModelFailed, ModelInvalid, NotAllowed, NotFound, RuntimeDiffers
from prescore.project.project import STORE, environment_store
from prescore.public.session import Session
from prescore.scoring import column_types, matching, predictions, rows, runtime
from prescore.scoring.feature_values import MISSING
from prescore.scoring.rows import FeatureColumns
from prescore.scoring.scorer import Scorer as BatchScorer
from prescore.scoring.session import RUNTIME, ModelSession
from prescore.scoring.signature import Signature
from prescore.store.model_file import ModelFile
from prescore.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from prescore.public.project import Project


class Scorer:
    """A model file and its signature: features in, predictions out, with the same numbers as a run.

        scorer = prescore.Scorer.from_version("churn")
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
        files = Session(_path(project)).files
        spec = files.spec(name)
        if spec.onnx is None:
            raise ModelInvalid(f"The spec of {name} has no [onnx] section: its predictions are made elsewhere.")
        session = ModelSession(ModelFile.read(files.root / spec.onnx.file), spec.onnx.file, threads)
        return cls(session, matching.signature(spec, spec.onnx, session))

    @classmethod
    def from_version(
        cls,
        name: str,
        version: int | None = None,
        project: Project | str | os.PathLike[str] | None = None,
        *,
        threads: int = 1,
    ) -> Self:
        """Return a scorer of a version: its own model file and signature, by default those of the published version.

        Without a project, PRESCORE_DATABASE_URL names the database and PRESCORE_STORE the store. Raises NotFound for a
        version that does not exist or whose model file is gone, NotAllowed for one that has no signature, and
        Mistake without a database or a store. Warns with RuntimeDiffers of another release of ONNX Runtime than that
        with which the version's table was scored.
        """
        session = Session(_path(project))
        with session.catalog() as catalog:
            number = version or catalog.model(name)["published_version"]
            if number is None:
                raise NotFound(f"{name} has no published version. Choose another one by its number.")
            row = catalog.version(name, number)
            files = session.optional_files
            place = environment_store() if files is None else files.store
            if place is None:
                raise Mistake(f"There is no project, and {STORE} names no store. Set it to the store's folder or URL.")
            store = Store(place, catalog.name)
        label = f"{name} version {number}"
        if row["model_fingerprint"] is None:
            raise NotAllowed(f"The predictions of {label} were made elsewhere: there is no model to score with.")
        if row["signature"] is None:
            raise NotAllowed(f"{label} has no signature in the catalog. Make another version: prescore run {name}")
        model = ModelSession(store.model(row["model_fingerprint"]), label, threads)
        if difference := runtime.difference(row["runtime"], RUNTIME):
            warnings.warn(f"{label} {difference}.", RuntimeDiffers, stacklevel=2)
        return cls(model, Signature.from_content(row["signature"]))

    @overload
    def score(self, data: pd.DataFrame) -> pd.DataFrame: ...
    @overload
    def score(self, data: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]: ...
    @overload
    def score(self, data: Mapping[str, Any]) -> dict[str, Any]: ...
    @overload
    def score(self, data: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]: ...
    @overload
    def score(self, data: pa.RecordBatch) -> pa.RecordBatch: ...
    def score(self, data: Any) -> Any:
        """Return a prediction for every row of a table, or for one row, in the same form.

        | `data` | predictions |
        |---|---|
        | a pandas DataFrame | a DataFrame with the same index |
        | a pyarrow RecordBatch or Table, or a table that exports itself to Arrow | a RecordBatch or a Table |
        | a numpy array: a column for each of `features`, in their order | a dict of arrays, by output |
        | a list of dicts, each a row | a list of dicts |
        | a dict, one row | a dict |

        Rows hold the feature columns; other columns are ignored. Missing values count as NULL, and the numbers in dicts
        count as decimal text: 0.1 is the float32 that is written as 0.1. Raises DomainInvalid for a feature that is
        absent, NULL where the spec forbids it, or not exactly convertible; ModelFailed when the model fails on a row,
        or returns NaN, infinity or a value that its output column cannot hold; and TypeError for anything else.
        """
        pandas: Any = sys.modules.get("pandas")
        if isinstance(data, pa.RecordBatch):
            return self._score(data)
        if pandas is not None and isinstance(data, pandas.DataFrame):
            return self._score_frame(data)
        if (table := _arrow_table(data)) is not None:
            return self._score_table(table)
        if isinstance(data, np.ndarray):
            return self._score_array(data)
        if isinstance(data, Mapping):
            (prediction,) = self._score_rows([data])
            return prediction
        if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
            return self._score_rows(data)
        raise TypeError(
            "score takes a pandas DataFrame, an Arrow table, a numpy array, a list of dicts or a dict, not "
            f"{type(data).__name__}."
        )

    def _score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        absent = [name for name in self.features if name not in batch.schema.names]
        if absent:
            raise DomainInvalid(
                f"The table has no column {', '.join(absent)}, which the model needs; its columns are "
                f"{', '.join(batch.schema.names)}. Give it the features under their names in the spec."
            )
        return self._scored({name: batch.column(name) for name in self.features}, batch.num_rows)

    def _scored(self, columns: FeatureColumns, count: int) -> pa.RecordBatch:
        """Return predictions; raise DomainInvalid or ModelFailed for the first row that is rejected."""
        scored = rows.score(self._scorer, columns, count)
        if scored.rejections:
            number = min(scored.rejections)
            rejection = scored.rejections[number]
            kind = DomainInvalid if rejection.column in self.features else ModelFailed
            raise kind(f"Row {number}: {rejection.reason}")
        return scored.predictions

    def _score_table(self, table: pa.Table) -> pa.Table:
        columns = {name: table.column(name) for name in self.features if name in table.schema.names}
        batches = pa.table(columns).combine_chunks().to_batches()
        if not batches:
            batches = [pa.RecordBatch.from_pylist([], schema=pa.schema(self.features))]
        return pa.Table.from_batches([self._score(batches[0])])

    def _score_array(self, array: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        names = list(self.features)
        if array.ndim != 2 or array.shape[1] != len(names):
            raise DomainInvalid(
                f"The array has the shape {array.shape}, and the model takes rows of {len(names)} features: "
                f"{', '.join(names)}."
            )
        columns = dict(zip(names, array.T, strict=True))
        if array.dtype == object:
            # Its values have types of their own, like those of a dict.
            lists = {name: column.tolist() for name, column in columns.items()}
            scored = self._scored(lists, len(array))
        else:
            arrays = {name: pa.array(np.ascontiguousarray(column)) for name, column in columns.items()}
            scored = self._score(pa.record_batch(arrays))
        return {name: scored.column(name).to_numpy(zero_copy_only=False) for name in scored.schema.names}

    def _score_rows(self, given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        columns = {}
        for name in self.features:
            columns[name] = [row.get(name, MISSING) for row in given]
        scored = self._scored(columns, len(given))
        lists = predictions.to_lists(scored)
        rows = zip(*lists.values(), strict=True)
        return [dict(zip(lists, row, strict=True)) for row in rows]

    def _score_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        absent = [name for name in self.features if name not in frame.columns]
        if absent:
            raise DomainInvalid(
                f"The frame has no column {', '.join(absent)}, which the model needs; its columns are "
                f"{', '.join(map(str, frame.columns))}. Give it the features under their names in the spec."
            )
        batch = pa.RecordBatch.from_pandas(frame[list(self.features)], preserve_index=False)
        self._require_types(frame, batch)
        scored: pd.DataFrame = self._score(batch).to_pandas()
        scored.index = frame.index
        return scored

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
                column_types.check_type(name, column.type, target, allow_precision_loss=allow_loss)
            except DomainInvalid:
                misfits[name] = _dtype_name(target)
        if misfits:
            listed = ", ".join(f"{name} is {frame[name].dtype}, not {dtype}" for name, dtype in misfits.items())
            raise DomainInvalid(
                f"The frame has other types than the model takes: {listed}. Convert them: frame.astype({misfits!r})."
            )


def _path(project: Project | str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
    if project is None or isinstance(project, str | os.PathLike):
        return project
    return project.root


def _arrow_table(data: Any) -> pa.Table | None:
    """Return a table of pyarrow or of another library, None for anything else."""
    if not hasattr(data, "__arrow_c_stream__"):
        return None
    try:
        return pa.table(data)
    # A single column.
    except pa.ArrowInvalid:
        return None


def _dtype_name(arrow_type: pa.DataType) -> str:
    """Return the pandas name of a feature's type."""
    return "str" if pa.types.is_string(arrow_type) else str(pa.array([], arrow_type).to_numpy().dtype)
