"""The columns of a frame that are an estimator's features, and what each of them holds."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from prescore.errors import Mistake

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "integer", "boolean", "text"]
# So many names of absent columns are in a message.
_LISTED = 5
_UNNAMED = re.compile(r"(Column_|f)?\d+")


@dataclass(frozen=True)
class Column:
    """A feature. Integers have no missing values; a column of integers that has some is one of numbers.

    `is_wide` says that its numbers have 64 bits. `categories` are those of a column of pandas' type `category`, in
    their order, and None for any other column.
    """

    name: str
    kind: Kind
    has_missing: bool
    is_wide: bool = False
    categories: tuple[Any, ...] | None = None


def select(estimator: Any, frame: pd.DataFrame, features: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the columns of a frame that an estimator was trained on, in the order of training.

    Without names in the estimator, these are `features`, or else all columns. Raises Mistake if columns are missing, or
    if their number is not that of training.
    """
    require_frame(frame)
    known = feature_names(estimator)
    if features is not None and known and sorted(features) != sorted(known):
        raise Mistake(f"features are {', '.join(features)}, but the estimator was trained on {', '.join(known)}.")
    if known:
        return frame[matching(known, list(frame.columns))]
    names = list(frame.columns) if features is None else list(features)
    selected = frame[matching(names, list(frame.columns))]
    number = getattr(estimator, "n_features_in_", len(names))
    if number != len(names):
        raise Mistake(
            f"The data has {len(names)} columns, but the estimator was trained on {number}: it was trained on an "
            "array, and does not know their names. Give these columns alone in the order of training, or name them: "
            'features=["a", "b"] in Python, --features a,b on the command line.'
        )
    return selected


def feature_names(estimator: Any) -> list[str]:
    """Return the names of the features that an estimator was trained on, in order; none if it does not know them."""
    for attribute in ("feature_names_in_", "feature_name_", "feature_names_", "feature_name", "feature_names"):
        names = getattr(estimator, attribute, None)
        if callable(names):
            names = names()
        if names is not None and not all(_UNNAMED.fullmatch(str(name)) for name in names):
            return [str(name) for name in names]
    return []


def describe(frame: pd.DataFrame) -> list[Column]:
    """Return what each column holds; raise Mistake for one that a model cannot take."""
    return [_describe(str(name), frame[name]) for name in frame.columns]


def to_arrow(frame: pd.DataFrame, columns: Sequence[Column], missing_text: str) -> pa.Table:
    """Return the rows as the model file takes them: texts without a value are `missing_text`."""
    arrays = []
    for column in columns:
        values = frame[column.name]
        if column.kind == "text":
            texts = values.astype(object)
            values = texts.where(texts.notna(), missing_text)
        elif column.categories is not None:
            values = values.astype(values.cat.categories.dtype if not column.has_missing else "float64")
        arrays.append(pa.array(values, from_pandas=True))
    return pa.table(arrays, names=[column.name for column in columns])


def require_frame(frame: Any, name: str = "data") -> None:
    """Raise Mistake unless `frame` is a DataFrame with rows whose columns have different names."""
    if not hasattr(frame, "iloc") or not hasattr(frame, "columns"):
        raise Mistake(f"frame is {type(frame).__name__}. Give a pandas DataFrame with the features under their names.")
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        raise Mistake(
            f"The {name} has two columns of one name; its columns are {', '.join(names)}. Rename one of them."
        )
    if len(frame) == 0:
        raise Mistake(f"The {name} has no rows. Give rows that the model was trained on, or rows to be predicted.")


def matching(wanted: Sequence[str], given: Sequence[Any]) -> list[Any]:
    """Return the given columns that are wanted, in that order; raise Mistake if one is absent.

    LightGBM writes underscores for spaces.
    """
    by_name = {str(name): name for name in given}
    underscored = {str(name).replace(" ", "_"): name for name in given}
    found = [by_name.get(name, underscored.get(name)) for name in wanted]
    absent = [name for name, column in zip(wanted, found, strict=True) if column is None]
    if not absent:
        return found
    raise Mistake(
        f"The rows have no column {_shortened(absent)}, which the estimator was trained on."
        f"{_hint(absent[0], [name for name in by_name if name not in wanted])} Their columns are {', '.join(by_name)}."
    )


def _shortened(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_LISTED])
    return listed if len(names) <= _LISTED else f"{listed} and {len(names) - _LISTED:,} others"


def _hint(absent: str, unused: Sequence[str]) -> str:
    """Return what to do about a column that is not there, judged by the columns that the estimator does not use."""
    if any(absent.startswith(f"{name}_") for name in unused):
        return (
            f" {absent} looks like a column of pandas.get_dummies. Pass the frame after it, with the key, or train a "
            "pipeline that begins with a OneHotEncoder, and pass the frame as it is."
        )
    similar = [name for name in unused if name.casefold() == absent.casefold()]
    similar += difflib.get_close_matches(absent, unused, 1)
    return f" They have {similar[0]}: rename it." if similar else ""


def _describe(name: str, values: pd.Series) -> Column:
    missing = bool(values.isna().any())
    if hasattr(values, "cat"):
        categories = values.cat.categories
        kind = _kind(name, categories.to_series(), has_missing=missing)
        return Column(name, kind, missing, categories=tuple(categories.tolist()))
    is_wide = str(values.dtype).lower() == "float64"
    return Column(name, _kind(name, values, has_missing=missing), missing, is_wide)


def _kind(name: str, values: pd.Series, *, has_missing: bool) -> Kind:
    code = np.dtype(values.dtype).kind if isinstance(values.dtype, np.dtype) else getattr(values.dtype, "kind", "O")
    if code == "b":
        return "number" if has_missing else "boolean"
    if code in "iu":
        return "number" if has_missing else "integer"
    if code == "f":
        return "number"
    if code in "mM":
        raise Mistake(
            f"Column {name} of the data holds times, which a model file cannot take. Compute numbers from it, such as "
            "days, for training as well as in the domain query."
        )
    known = values[values.notna()]
    if all(isinstance(value, str) for value in known):
        return "text"
    kinds = ", ".join(sorted({type(value).__name__ for value in known}))
    raise Mistake(
        f"Column {name} of the data has the dtype {values.dtype} and holds {kinds}, but a model file takes columns of "
        "one type. Convert it to numbers or to texts, for training as well as in the domain query."
    )
