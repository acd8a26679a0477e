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
    changed = copy.deepcopy(estimator)
    for step in steps.walk(changed):
        match toolkits.toolkit(step.estimator):
            case toolkits.XGBOOST:
                _simplify_features(step.estimator.get_booster())
            case toolkits.LIGHTGBM:
                _number_booleans(step.estimator)
            case _:
                _adapt(step.estimator, missing_text)
    if hasattr(changed, "steps"):
        sparse.mark_zeros(changed)
    return changed


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
        _round_thresholds(step.estimator)
    return changed


def _adapt(estimator: Any, missing_text: str) -> None:
    if getattr(estimator, "flatten_transform", False):
        # skl2onnx refuses it, although it does not change what is predicted.
        estimator.flatten_transform = False
    if isinstance(getattr(estimator, "weights", None), list | tuple):
        # skl2onnx computes with the weights of a vote as with an array.
        estimator.weights = np.asarray(estimator.weights, np.float64)
    if hasattr(estimator, "transformers_"):
        # skl2onnx takes the values of a mask for names.
        estimator.transformers_ = [
            (name, inner, _with_positions(columns)) for name, inner, columns in estimator.transformers_
        ]
    if hasattr(estimator, "categories_"):
        estimator.categories_ = [_with_missing_text(known, missing_text) for known in estimator.categories_]
    if hasattr(estimator, "statistics_") and estimator.statistics_.dtype == object:
        estimator.missing_values = missing_text


def _with_positions(columns: Any) -> Any:
    """Return the positions that a mask selects; names, positions and slices as they are."""
    mask = np.asarray(columns)
    return np.flatnonzero(mask).tolist() if mask.dtype == np.bool_ else columns


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


def _round_thresholds(estimator: Any) -> None:
    # Of histogram gradient boosting, skl2onnx rounds thresholds down: right for 32-bit features, not for rounded ones.
    for predictors in getattr(estimator, "_predictors", ()):
        for predictor in predictors:
            thresholds = predictor.nodes["num_threshold"]
            predictor.nodes["num_threshold"] = thresholds.astype(np.float32)


def _with_missing_text(categories: Any, missing_text: str) -> Any:
    if categories.dtype != object:
        return categories
    texts = [missing_text if _is_missing(category) else category for category in categories]
    return np.array(texts, dtype=object)


def _is_missing(category: Any) -> bool:
    return category is None or (isinstance(category, float) and np.isnan(category))
