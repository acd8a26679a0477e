"""What converters cannot read in a fitted estimator is written in another way, in a copy of it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from prescore.export import steps, toolkits


def adapted(estimator: Any, missing_text: str) -> Any:
    """Return a copy of an estimator that converters understand and that predicts the same.

    ONNX has no missing texts, and so encoders and imputers of texts expect `missing_text` instead.
    """
    adapted = copy.deepcopy(estimator)
    for step in steps.walk(adapted):
        inner = step.estimator
        if toolkits.toolkit(inner) == toolkits.XGBOOST:
            _remove_names(inner)
        elif toolkits.toolkit(inner) == toolkits.LIGHTGBM:
            _number_booleans(inner)
        if hasattr(inner, "categories_"):
            inner.categories_ = [_with_missing_text(known, missing_text) for known in inner.categories_]
        if hasattr(inner, "statistics_") and inner.statistics_.dtype == object:
            inner.missing_values = missing_text
    return adapted


def _remove_names(model: Any) -> None:
    # onnxmltools accepts only names such as f0 and f1, or none.
    model.get_booster().feature_names = None


def _number_booleans(model: Any) -> None:
    # onnxmltools fails on booleans; ONNX has 0 and 1 for them.
    classes = getattr(model, "_classes", None)
    if classes is not None and np.asarray(classes).dtype == np.bool_:
        model._classes = np.array([0, 1])  # noqa: SLF001 - the property classes_ returns it


def _with_missing_text(categories: Any, missing_text: str) -> Any:
    if categories.dtype != object:
        return categories
    texts = [missing_text if _is_missing(category) else category for category in categories]
    return np.array(texts, dtype=object)


def _is_missing(category: Any) -> bool:
    return category is None or (isinstance(category, float) and np.isnan(category))
