"""The arguments of `publish`: what is wrong with them, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from prescore.catalog.naming import model_name_error
from prescore.errors import Mistake
from prescore.wording import count

if TYPE_CHECKING:
    import pandas as pd

_CALL = 'publish("churn", model, customers, key="customer_id")'


def require_name(name: Any, estimator: Any) -> None:
    """Raise Mistake for a name that is not the name of a model, also if it and the estimator are swapped."""
    if not isinstance(name, str):
        kind = type(name).__name__
        swapped = " The estimator is a text: the two are swapped." if isinstance(estimator, str) else ""
        raise Mistake(f"The name of the model is {kind}, and not a text.{swapped} Write, for example, {_CALL}.")
    if reason := model_name_error(name):
        raise Mistake(f"{name!r} is not a valid model name: {reason}.")


def require_frame(frame: Any) -> None:
    """Raise Mistake for rows that are not in a DataFrame of pandas."""
    if not hasattr(frame, "iloc") or not hasattr(frame, "columns"):
        raise Mistake(
            f"The frame is {type(frame).__name__}, and not a DataFrame of pandas. Convert it, such as with "
            "pandas.DataFrame(rows)."
        )


def keys(key: Any) -> list[str]:
    """Return the names of the key columns; raise Mistake if there are none, or if they are not names."""
    names = [key] if isinstance(key, str) else list(key) if isinstance(key, Iterable) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise Mistake(
            f"key is {key!r}, but must name the columns that a row is looked up by. Write, for example, "
            'key="customer_id" or key=["customer_id", "product"].'
        )
    return names


def with_key(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return a frame that has its key in columns, and not in its index.

    Raises Mistake if a key column is absent, if a row has no key, or if several rows have the same one.
    """
    absent = [column for column in names if column not in frame.columns]
    if absent and all(column in frame.index.names for column in absent):
        frame = frame.reset_index()
    elif absent:
        columns = ", ".join(map(str, frame.columns))
        raise Mistake(f"The frame has no key column {', '.join(absent)}; its columns are {columns}.")
    listed = ", ".join(names)
    missing = int(frame[list(names)].isna().any(axis=1).sum())
    if missing:
        raise Mistake(
            f"The frame has {count(missing, 'row')} without a value for {listed}. A prediction is looked up by its "
            f"key: fill it in, or drop these rows with frame.dropna(subset={list(names)!r})."
        )
    if frame.duplicated(list(names)).any():
        raise Mistake(f"The frame has several rows with the same {listed}. A key has one prediction.")
    return frame
