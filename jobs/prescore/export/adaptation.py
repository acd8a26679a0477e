"""What converters cannot read in a fitted estimator is written in another way, in a copy of it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from prescore.export import sparse, steps, toolkits


def adapted(estimator: Any, missing_text: str) -> Any:
    """Return a copy of an estimator that converters understand and that predicts the same.

    ONNX has no missing texts, and so encoders and imputers of texts expect `missing_text` instead.
    """
    if type(estimator).__name__ == "Booster" and toolkits.toolkit(estimator) == toolkits.XGBOOST:
        estimator = toolkits.xgboost_estimator(estimator)
    adapted = copy.deepcopy(estimator)
    for step in steps.walk(adapted):
        inner = step.estimator
        if toolkits.toolkit(inner) == toolkits.XGBOOST:
            _simplify_features(inner.get_booster())
        elif toolkits.toolkit(inner) == toolkits.LIGHTGBM:
            _number_booleans(inner)
        if getattr(inner, "flatten_transform", False):
            # skl2onnx refuses it, although it does not change what is predicted.
            inner.flatten_transform = False
        if hasattr(inner, "categories_"):
            inner.categories_ = [_with_missing_text(known, missing_text) for known in inner.categories_]
        if hasattr(inner, "statistics_") and inner.statistics_.dtype == object:
            inner.missing_values = missing_text
    if hasattr(adapted, "steps"):
        sparse.mark_zeros(adapted)
    return adapted


def precise(estimator: Any) -> Any:
    """Return a copy of an adapted pipeline that computes features in 64 bits, and rounds them to 32 for its last step.

    Where a feature equals a threshold of a tree, which imputed values often do, the last bit of a scaled feature
    decides. Trees then compare what they compared in training.
    """
    from skl2onnx.sklapi import CastTransformer
    from sklearn.pipeline import Pipeline

    changed = copy.deepcopy(estimator)
    first = changed.steps[0][1]
    used = [inner for _, inner, _ in getattr(first, "transformers_", ()) if not isinstance(inner, str)]
    has_others = not all(map(steps.computes_numbers, used))
    if has_others:
        first.transformers_ = [
            (name, Pipeline([("computed", inner), ("rounded", CastTransformer())]), columns)
            if steps.computes_numbers(inner)
            else (name, inner, columns)
            for name, inner, columns in first.transformers_
        ]
    else:
        changed.steps.insert(-1, ("rounded", CastTransformer()))
    for step in steps.walk(changed):
        for predictors in getattr(step.estimator, "_predictors", ()):
            for predictor in predictors:
                _round_thresholds(predictor)
    return changed


def _simplify_features(booster: Any) -> None:
    # onnxmltools accepts only names such as f0 and f1, or none, and does not read the splits of booleans.
    booster.feature_names = None
    if booster.feature_types is not None:
        booster.feature_types = ["q" if kind == "i" else kind for kind in booster.feature_types]


def _number_booleans(model: Any) -> None:
    # onnxmltools fails on booleans; ONNX has 0 and 1 for them.
    classes = getattr(model, "_classes", None)
    if classes is not None and np.asarray(classes).dtype == np.bool_:
        model._classes = np.array([0, 1])  # noqa: SLF001 - the property classes_ returns it


def _round_thresholds(predictor: Any) -> None:
    # skl2onnx rounds thresholds down, which is right for features of 32 bits, but not for rounded ones.
    thresholds = predictor.nodes["num_threshold"]
    predictor.nodes["num_threshold"] = thresholds.astype(np.float32)


def _with_missing_text(categories: Any, missing_text: str) -> Any:
    if categories.dtype != object:
        return categories
    texts = [missing_text if _is_missing(category) else category for category in categories]
    return np.array(texts, dtype=object)


def _is_missing(category: Any) -> bool:
    return category is None or (isinstance(category, float) and np.isnan(category))
