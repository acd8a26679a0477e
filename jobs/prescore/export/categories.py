"""Values of training that data has in another form: categories of pandas, and None or NaN for a missing text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from prescore.export import layout, steps, toolkits
from prescore.export.columns import feature_names

if TYPE_CHECKING:
    import pandas as pd


def restore(estimator: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose columns have the categories of training, in their order, where an estimator knows them.

    A value that training did not have becomes a missing one, as both toolkits treat it.
    """
    import pandas as pd

    known = _known(estimator)
    columns: dict[str, Any] = {}
    for name in frame.columns:
        if name in known:
            values = frame[name].astype(object)
            columns[name] = values.astype(pd.CategoricalDtype(known[name]))
    return frame.assign(**columns)


def restore_missing(estimator: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose missing texts are those that the steps of a pipeline had in training, None or NaN.

    scikit-learn distinguishes them, while a database has NULL alone. Frames are as they were if the steps had both, or
    none.
    """
    found: set[float | None] = set()
    for step in steps.walk(estimator):
        found.update(_missing_of(step.estimator))
    if len(found) != 1:
        return frame
    (missing,) = found
    changed: dict[str, Any] = {}
    for name in frame.columns[frame.isna().any()]:
        texts = frame[name]
        if texts.dtype.kind == "O" and not hasattr(texts, "cat"):
            texts = texts.astype(object)
            changed[str(name)] = texts.where(texts.notna(), missing)
    return frame.assign(**changed)


def _missing_of(estimator: Any) -> list[float | None]:
    """Return None and NaN where an encoder has it as a category, or an imputer of texts replaces it."""
    known: list[Any] = []
    for categories in getattr(estimator, "categories_", ()):
        if categories.dtype == object:
            known += list(categories)
    statistics = getattr(estimator, "statistics_", None)
    if statistics is not None and statistics.dtype == object:
        known.append(estimator.missing_values)
    found: list[float | None] = []
    if None in known:
        found.append(None)
    # NaN alone differs from itself.
    if any(category != category for category in known):
        found.append(np.nan)
    return found


def _known(estimator: Any) -> dict[str, list[Any]]:
    """Return the categories of the columns that an estimator has them for."""
    estimator = layout.first_step(estimator)
    is_booster = type(estimator).__name__ == "Booster"
    match toolkits.toolkit(estimator):
        case toolkits.LIGHTGBM:
            return _of_lightgbm(estimator if is_booster else estimator.booster_, feature_names(estimator))
        case toolkits.XGBOOST:
            return _of_xgboost(estimator if is_booster else estimator.get_booster())
    if getattr(estimator, "_preprocessor", None) is not None:
        return _of_histogram_boosting(estimator)
    return {}


def _of_histogram_boosting(estimator: Any) -> dict[str, list[Any]]:
    # scikit-learn keeps the categories of histogram gradient boosting in an encoder of its own.
    _, encoder, is_categorical = estimator._preprocessor.transformers_[0]  # noqa: SLF001 - no other attribute has them
    names = np.array(feature_names(estimator))
    if len(names) != len(is_categorical):
        return {}
    found = {}
    for name, values in zip(names[is_categorical], encoder.categories_, strict=True):
        known = [value for value in values if value == value]
        found[str(name)] = known
    return found


def _of_lightgbm(booster: Any, names: list[str]) -> dict[str, list[Any]]:
    # The booster lists the categories of the categorical columns without their names.
    infos = booster.dump_model(num_iteration=1)["feature_infos"]
    underscored = {name.replace(" ", "_"): name for name in names}
    categorical = [underscored.get(name, name) for name, info in infos.items() if info["values"]]
    categories = booster.pandas_categorical or []
    if len(categorical) != len(categories):
        return {}
    return dict(zip(categorical, categories, strict=True))


def _of_xgboost(booster: Any) -> dict[str, list[Any]]:
    if "c" not in (booster.feature_types or ()) or not hasattr(booster, "get_categories"):
        return {}
    categories = booster.get_categories(export_to_arrow=True).to_arrow()
    return {name: values.to_pylist() for name, values in categories if values is not None}
