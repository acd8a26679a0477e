"""The toolkits that estimators come from, and the packages that an export needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from prescore.errors import Mistake, ModelInvalid

LIGHTGBM = "lightgbm"
XGBOOST = "xgboost"
CATBOOST = "catboost"
_PACKAGES = {
    LIGHTGBM: "lightgbm",
    XGBOOST: "xgboost",
    CATBOOST: "catboost",
    "cloudpickle": "cloudpickle",
}
_EXTRA = "pip install 'prescore[export]'"
# Toolkits that export by themselves.
_PAGES = {"torch": "pytorch.md", "keras": "keras.md"}


def toolkit(estimator: Any) -> str:
    """Return the package that an estimator's class is from, such as `sklearn` or `lightgbm`."""
    module: str = type(estimator).__module__
    return module.partition(".")[0]


def require_known(estimator: Any) -> None:
    """Raise Mistake for a model that exports by itself, and for an object that is not a model."""
    for kind in type(estimator).__mro__:
        page = _PAGES.get(kind.__module__.partition(".")[0])
        if page is not None:
            raise Mistake(
                f"{type(estimator).__name__} exports to ONNX by itself: docs/export/{page} has an example. Then write "
                "its examples with prescore.examples."
            )
    if not hasattr(estimator, "predict") and not hasattr(estimator, "transform"):
        raise Mistake(
            f"{type(estimator).__name__} has no method predict. Give a fitted estimator or pipeline of scikit-learn, "
            "LightGBM, XGBoost or CatBoost."
        )


def require_no_text_categories(estimator: Any) -> None:
    """Raise ModelInvalid for a CatBoost model that was trained with cat_features, which no export holds."""
    if toolkit(estimator) == CATBOOST and estimator.get_cat_feature_indices():
        raise ModelInvalid(
            "CatBoost does not export a model that was trained with cat_features. Compute the codes of the categories "
            "in the domain query, and train on them without cat_features; or encode the categories in a pipeline of "
            "scikit-learn, with LightGBM or XGBoost as its last step."
        )


def booster_estimator(booster: Any) -> Any:
    """Return the booster of LightGBM or XGBoost as an estimator of scikit-learn's kind."""
    return LightGBMBooster(booster) if toolkit(booster) == LIGHTGBM else xgboost_estimator(booster)


class LightGBMBooster:
    """A booster of LightGBM with the methods of an estimator, for predictions only."""

    def __init__(self, booster: Any) -> None:
        self._booster = booster
        objective = str(booster.dump_model()["objective"])
        if objective.startswith(("binary", "multiclass")):
            self.classes_ = np.arange(max(booster.num_model_per_iteration(), 2))
            self.predict_proba = self._probabilities

    def predict(self, rows: Any) -> Any:
        """Return the labels of a classification, or the numbers of a regression."""
        if hasattr(self, "classes_"):
            return self._probabilities(rows).argmax(axis=1)
        return self._booster.predict(rows)

    def _probabilities(self, rows: Any) -> Any:
        values = self._booster.predict(rows)
        return np.column_stack([1 - values, values]) if values.ndim == 1 else values


def xgboost_config(booster: Any) -> Any:
    """Return the configuration of an XGBoost booster: its objective, its numbers of classes and targets."""
    return json.loads(booster.save_config())


def xgboost_estimator(booster: Any) -> Any:
    """Return an XGBoost booster as the estimator of scikit-learn's kind that it was, or would have been."""
    import xgboost

    objective: str = xgboost_config(booster)["learner"]["learner_train_param"]["objective"]
    is_classifier = objective.startswith(("binary:", "multi:"))
    estimator = xgboost.XGBClassifier() if is_classifier else xgboost.XGBRegressor()
    estimator.load_model(booster.save_raw("ubj"))
    return estimator


def require_converters(estimator: Any) -> None:
    """Raise Mistake if the converter of an estimator is not installed; CatBoost has its own."""
    if toolkit(estimator) != CATBOOST:
        with installed("skl2onnx"):
            import skl2onnx  # noqa: F401 - whether it can be imported


@contextmanager
def installed(package: str) -> Iterator[None]:
    """Raise Mistake, with what to install, when an import in this block fails."""
    try:
        yield
    except ImportError as error:
        command = f"pip install {_PACKAGES[package]}" if package in _PACKAGES else _EXTRA
        raise Mistake(f"{package} is not installed, which this export needs ({error}). Run: {command}") from error
