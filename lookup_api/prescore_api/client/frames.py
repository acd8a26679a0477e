"""DataFrames of keys and predictions. This module imports no pandas: a caller with a DataFrame has done so."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard
from uuid import UUID

from prescore_api.client import column_types
from prescore_api.client.answers import Column, ScoreAnswer
from prescore_api.client.errors import Invalid

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def is_frame(keys: object) -> TypeGuard[pd.DataFrame]:
    """Return whether keys are a pandas DataFrame."""
    pandas: Any = sys.modules.get("pandas")
    return pandas is not None and isinstance(keys, pandas.DataFrame)


def to_table(model: str, frame: pd.DataFrame, key: Sequence[str]) -> pa.Table:
    """Return the key's columns of a frame, or levels of its index, as a table.

    Raises Invalid for a column that is missing or has a type that no key has.
    """
    import pyarrow as pa

    _require_columns(model, frame, key)
    columns = {name: _to_array(name, _values(frame, name)) for name in key}
    return pa.table(columns)


def from_answers(frame: pd.DataFrame, key: Sequence[str], answers: pa.Table) -> pd.DataFrame:
    """Return flat answers as a frame with the index of the frame that was looked up, and that frame's own key columns.

    Integers and booleans among the outputs have pandas' nullable types, because unknown keys have no values. What the
    answers share is in `attrs`, in types that JSON has.
    """
    outputs = answers.drop_columns(list(key))
    predictions = _to_pandas(outputs).astype({"found": "bool", "version": "int32"})
    predictions.index = frame.index
    for position, name in enumerate(name for name in key if name in frame.columns):
        predictions.insert(position, name, frame[name])
    predictions.attrs.update(_shared(answers.schema.metadata))
    return predictions


def to_rows(frame: pd.DataFrame, key: Sequence[str], names: Iterable[str]) -> list[dict[str, dict[str, Any]]]:
    """Return a frame's rows as rows to score.

    `names` are those of the features; the key is among the columns or in the index, or the rows have none. Other
    columns are not sent.
    """
    has_key = all(name in frame.columns or name in frame.index.names for name in key)
    features = frame[[name for name in names if name in frame.columns]]
    plain = features.astype(object).where(features.notna(), None)
    rows: list[dict[str, Any]] = [{"features": row} for row in plain.to_dict("records")]
    if has_key:
        columns = [list(_values(frame, name)) for name in key]
        for row, values in zip(rows, zip(*columns, strict=True), strict=True):
            row["key"] = dict(zip(key, values, strict=True))
    return rows


def from_scores(frame: pd.DataFrame, outputs: Iterable[Column], answers: Sequence[ScoreAnswer]) -> pd.DataFrame:
    """Return answers as a frame with the index of the one that was scored.

    It has the outputs, which are missing in rejected rows, and `source`, `version` and `rejected`: None or the reason.
    Columns and dtypes are the same for any rows, and those of a lookup.
    """
    import pyarrow as pa

    pandas: Any = sys.modules["pandas"]
    predictions = [answer.prediction or {} for answer in answers]
    # Another version than the one that was described may have answered, with other outputs. Their types are guessed.
    kinds: dict[str, str | None] = {output.name: output.type for output in outputs}
    for values in predictions:
        for name in values:
            kinds.setdefault(name)
    columns = {}
    for name, kind in kinds.items():
        columns[name] = column_types.to_array(kind, [values.get(name) for values in predictions])
    columns["source"] = pa.array([answer.source for answer in answers], pa.string())
    columns["version"] = pa.array([answer.version for answer in answers], pa.int32())
    scored = _to_pandas(pa.table(columns)).astype({"version": "int32"})
    scored.index = frame.index
    reasons = [answer.rejected and answer.rejected.reason for answer in answers]
    scored["rejected"] = pandas.Series(reasons, frame.index, dtype=object)
    return scored


def _require_columns(model: str, frame: pd.DataFrame, key: Sequence[str]) -> None:
    available = [*frame.columns, *(name for name in frame.index.names if name is not None)]
    missing = [name for name in key if name not in available]
    if not missing:
        return
    listed = ", ".join(map(str, frame.columns)) or "none"
    raise Invalid(
        "key_invalid",
        f"The frame has no column {', '.join(missing)}, which the key of {model} needs. Its columns are {listed}."
        f"{_advice(missing, available)}",
    )


def _advice(missing: Sequence[str], available: Iterable[object]) -> str:
    """Return how to rename columns that differ only in case from those that are missing."""
    by_lower_case = {str(name).lower(): name for name in available}
    renamed = {by_lower_case[name.lower()]: name for name in missing if name.lower() in by_lower_case}
    return f" Rename them first: frame.rename(columns={renamed!r})." if renamed else ""


def _values(frame: pd.DataFrame, name: str) -> Any:
    return frame[name] if name in frame.columns else frame.index.get_level_values(name)


def _to_array(name: str, values: Any) -> pa.Array:
    import pyarrow as pa

    if values.dtype == object:
        values = [str(value) if isinstance(value, UUID) else value for value in values]
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError) as error:
        raise Invalid("key_invalid", f"Column {name} of the frame cannot be a key: {error}.") from error
    if pa.types.is_floating(array.type):
        raise Invalid(
            "key_invalid",
            f"Column {name} of the frame is {values.dtype}, and a key is an integer, a text, a date or a time. Drop "
            f"the rows without a {name}, and convert the others: frame.astype({{{name!r}: 'int64'}}).",
        )
    return array


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return a table as a frame, whose integers and booleans have pandas' nullable types."""
    import pyarrow as pa

    pandas: Any = sys.modules["pandas"]
    nullable_types = {
        pa.int16(): pandas.Int16Dtype(),
        pa.int32(): pandas.Int32Dtype(),
        pa.int64(): pandas.Int64Dtype(),
        pa.bool_(): pandas.BooleanDtype(),
    }
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable_types.get)
    return frame


def _shared(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    texts = {name.decode(): text.decode() for name, text in metadata.items()}
    return {
        "model": texts["model"],
        "version": int(texts["version"]),
        "data_as_of": texts["data_as_of"],
        "published_at": texts["published_at"] or None,
        "age_seconds": float(texts["age_seconds"]),
        "stale": texts["stale"] == "true",
    }
