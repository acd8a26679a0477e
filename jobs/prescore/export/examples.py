"""Write the examples that a model file must reproduce, where the model is trained."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prescore.catalog import naming
from prescore.errors import Mistake
from prescore.export.columns import require_frame

if TYPE_CHECKING:
    import pandas as pd

Part = str | tuple[str, Any] | Callable[[Any], Any]
"""How to compute an output: a method such as "predict", a method and a class, or a function of the rows."""

_SEED = 0
_ADVICE = 'for example {"late": "predict", "late_probability": ("predict_proba", 1)}'


def examples(
    model: Any,
    frame: pd.DataFrame,
    n: int = 1000,
    *,
    file: str | os.PathLike[str] = "examples.parquet",
    outputs: Mapping[str, Part] | None = None,
) -> Path:
    """Write rows of a DataFrame with the outputs that the model computes for them, and return the file's path.

        prescore.examples(
            model,
            frame,
            file="models/churn.examples.parquet",
            outputs={"leaves": "predict", "score": ("predict_proba", True)},
        )

    `model` is a fitted estimator of scikit-learn, LightGBM, XGBoost or CatBoost, or a function that takes rows of
    `frame` and returns a DataFrame, a dict of arrays, or one array. `frame` has the features under their names in the
    spec, in the order of training. At most `n` of its rows are written: those with the smallest and the largest value
    of each column and some with missing values, then rows at random, the same ones in every call.

    `outputs` maps outputs of the spec to what computes them: a method of the model (`"predict"`), a method and a class
    (`("predict_proba", "gold")`), or a function of the rows. Without it the file has `prediction`, from `predict`, and
    `probability_<class>` for each class, which `onnx.examples.columns` in a spec can name. Raises Mistake when the
    model has no such method or class, or returns another number of rows.
    """
    require_frame(frame, "frame")
    if not isinstance(n, int) or n < 1:
        raise Mistake(f"n is {n!r}. Give a number of rows, at least 1.")
    rows = _in_order_of_training(model, frame).iloc[choose(frame, n)]
    columns = {str(name): rows[name] for name in rows.columns}
    for name, values in _outputs(model, rows, outputs).items():
        if name in columns:
            raise Mistake(
                f"The frame has a column {name} already. If it is a feature, give the output another name, here and "
                "in the spec, or there in onnx.examples.columns alone. If not, take it out of the frame, which must "
                "hold features alone."
            )
        columns[name] = _column(name, values, rows.index)
    arrays = [pa.array(values, from_pandas=True) for values in columns.values()]
    table = pa.table(arrays, names=list(columns))
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A run that begins meanwhile reads the file before or after, never half of it.
    part = path.with_name(f"{path.name}.part")
    pq.write_table(table, part)
    part.replace(path)
    return path


def _in_order_of_training(model: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with its columns in the order in which the model was trained; raise Mistake if they differ.

    LightGBM and CatBoost do not look at the names themselves.
    """
    known = _feature_names(model)
    # LightGBM writes underscores for spaces.
    given = {str(name).replace(" ", "_"): name for name in frame.columns}
    wanted = [name.replace(" ", "_") for name in known]
    if not known or all(re.fullmatch(r"(Column_|f)?\d+", name) for name in known):
        return frame
    if set(wanted) != set(given):
        raise Mistake(
            f"The frame has the columns {', '.join(given)}, but the model was trained on {', '.join(known)}. "
            "Give the features that it was trained on, and no other columns."
        )
    return frame[[given[name] for name in wanted]]


def _feature_names(model: Any) -> list[str]:
    """Return the names of the features that an estimator was trained on, in order; none if it does not know them."""
    for attribute in ("feature_names_in_", "feature_name_", "feature_names_"):
        names = getattr(model, attribute, None)
        if names is not None and not callable(names):
            return [str(name) for name in names]
    return []


def choose(frame: pd.DataFrame, n: int) -> list[int]:
    """Return the positions of at most `n` rows: the ends of each column, rows with missing values, and a sample."""
    chosen: list[int] = []
    for name in frame.columns:
        chosen += _remarkable_rows(frame[name])
    random = np.random.default_rng(_SEED)
    chosen += random.permutation(len(frame)).tolist()
    distinct = list(dict.fromkeys(chosen))
    return sorted(distinct[:n])


def _remarkable_rows(column: pd.Series) -> list[int]:
    """Return the positions of a column's smallest and largest value, and of a few missing ones."""
    is_missing = column.isna().to_numpy()
    rows: list[int] = np.flatnonzero(is_missing)[:3].tolist()
    if column.dtype.kind in "iuf" and not is_missing.all():
        values = column.to_numpy(np.float64, na_value=np.nan)
        rows += [int(np.nanargmin(values)), int(np.nanargmax(values))]
    return rows


def _outputs(model: Any, rows: pd.DataFrame, outputs: Mapping[str, Part] | None) -> dict[str, Any]:
    if outputs is not None:
        if not isinstance(outputs, Mapping) or not outputs:
            raise Mistake(f"outputs is {outputs!r}. Map outputs of the spec to what computes them, {_ADVICE}.")
        return {name: _part(model, rows, part) for name, part in outputs.items()}
    if not hasattr(model, "predict"):
        return _results_of(model, rows)
    results = {"prediction": _call(model, "predict", rows)}
    if hasattr(model, "predict_proba"):
        probabilities = _call(model, "predict_proba", rows)
        for index, name in enumerate(naming.probability_columns(list(model.classes_))):
            results[name] = probabilities[:, index]
    return results


def _results_of(function: Any, rows: pd.DataFrame) -> dict[str, Any]:
    """Return the results of a function by name; a single array is called `prediction`."""
    if not callable(function):
        raise Mistake(f"{type(function).__name__} has no method predict and cannot be called. Give a fitted model.")
    results = function(rows)
    if results is None or (isinstance(results, Mapping) and not results):
        raise Mistake("The function returned no outputs. Return a DataFrame, a dict of arrays, or one array.")
    if hasattr(results, "columns"):
        return {str(name): results[name] for name in results.columns}
    if isinstance(results, Mapping):
        return dict(results)
    return {"prediction": results}


def _part(model: Any, rows: pd.DataFrame, part: Part) -> Any:
    match part:
        case str():
            return _call(model, part, rows)
        case (str() as method, label):
            return _of_class(model, _call(model, method, rows), method, label)
        case _ if callable(part):
            return part(rows)
    raise Mistake(f"{part!r} does not say how to compute an output. Use a method, or a method and a class, {_ADVICE}.")


def _of_class(model: Any, values: Any, method: str, label: Any) -> Any:
    if np.ndim(values) != 2:
        raise Mistake(f"{method} has no column for each class. Use predict_proba, {_ADVICE}.")
    for index, known in enumerate(model.classes_):
        # True is class 1 of 0 and 1, and not of 1 and 2.
        is_other_kind = isinstance(label, bool) and set(model.classes_) != {0, 1}
        # A class may be given as its text.
        if str(known) == str(label) or (known == label and not is_other_kind):
            return np.asarray(values)[:, index]
    classes = ", ".join(map(str, model.classes_))
    raise Mistake(f"{method} has no class {label!r}; the model's classes are {classes}.")


def _call(model: Any, method: str, rows: pd.DataFrame) -> Any:
    function = getattr(model, method, None)
    if function is None:
        raise Mistake(f"{type(model).__name__} has no method {method}. Name another one in outputs, {_ADVICE}.")
    # scikit-learn warns when a model that was fitted without column names is given some.
    is_unnamed = hasattr(model, "n_features_in_") and not _feature_names(model)
    return np.asarray(function(rows.to_numpy() if is_unnamed else rows))


def _column(name: str, values: Any, index: Any) -> Any:
    """Return the values of one output, one for each row."""
    if hasattr(values, "reindex") and set(values.index) == set(index):
        values = values.reindex(index)
    array = np.asarray(values)
    # CatBoost's labels of several classes, and Keras' outputs, are a matrix with one column.
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or len(array) != len(index):
        raise Mistake(
            f"Output {name} has the shape {array.shape} for {len(index)} rows. Compute one value, or one list of "
            "values, for each row."
        )
    return array.tolist() if array.ndim == 2 or array.dtype == object else array
