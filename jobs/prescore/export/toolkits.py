"""The toolkits that estimators come from, and the packages that an export needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prescore.errors import Mistake

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


@contextmanager
def installed(package: str) -> Iterator[None]:
    """Raise Mistake, with what to install, when an import in this block fails."""
    try:
        yield
    except ImportError as error:
        command = f"pip install {_PACKAGES[package]}" if package in _PACKAGES else _EXTRA
        raise Mistake(f"{package} is not installed, which this export needs ({error}). Run: {command}") from error
