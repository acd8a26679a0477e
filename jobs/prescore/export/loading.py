"""Estimators from files: pickles, and the model files of LightGBM, XGBoost and CatBoost."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from prescore.errors import Mistake
from prescore.export import toolkits

PICKLES = {".joblib", ".pkl", ".pickle", ".cloudpickle"}
"""Files that run their code when they are loaded."""
_KINDS = (
    ".joblib, .pkl, .pickle or .cloudpickle for any estimator, .txt for LightGBM, .json or .ubj for XGBoost, and .cbm "
    "for CatBoost"
)


def load(path: Path) -> Any:
    """Return the estimator in a file. Loading a pickle runs the code in it.

    Raises Mistake if there is no such file, if it is of another kind, or if its toolkit is not installed.
    """
    require_file(path)
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        return _load_pickle(path)
    loaders = {
        ".txt": _load_lightgbm,
        ".json": _load_json,
        ".ubj": _load_xgboost,
        ".cbm": _load_catboost,
    }
    if suffix not in loaders:
        raise Mistake(f"{path.name} is not a file that holds an estimator: use {_KINDS}.")
    try:
        return loaders[suffix](path)
    except Mistake:
        raise
    # Toolkits raise their own errors, without a common base class.
    except Exception as error:
        raise Mistake(f"{path.name} could not be loaded: {error}") from error


def require_file(path: Path) -> None:
    """Raise Mistake if there is no such file."""
    if not path.is_file():
        raise Mistake(f"There is no file {path}.")


def _load_pickle(path: Path) -> Any:
    try:
        if path.suffix.lower() == ".cloudpickle":
            with toolkits.installed("cloudpickle"):
                import cloudpickle

            return cloudpickle.loads(path.read_bytes())
        with toolkits.installed("joblib"):
            import joblib
        return joblib.load(path)
    except ModuleNotFoundError as error:
        raise Mistake(
            f"{path.name} needs the package {error.name}, which is not installed. Install the packages of training, in "
            "the same versions."
        ) from error
    except (AttributeError, EOFError, ImportError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise Mistake(
            f"{path.name} could not be loaded: {error}. It may be damaged, or need the package versions or the "
            "functions of the program that wrote it. Call prescore.export_onnx there instead."
        ) from error


def _load_lightgbm(path: Path) -> Any:
    with toolkits.installed(toolkits.LIGHTGBM):
        import lightgbm
    return lightgbm.Booster(model_file=str(path))


def _load_json(path: Path) -> Any:
    if "learner" not in json.loads(path.read_text()):
        raise Mistake(
            f"{path.name} is not a model of XGBoost. LightGBM's save_model writes .txt, CatBoost's .cbm by default."
        )
    return _load_xgboost(path)


def _load_xgboost(path: Path) -> Any:
    with toolkits.installed(toolkits.XGBOOST):
        import xgboost
    return toolkits.xgboost_estimator(xgboost.Booster(model_file=str(path)))


def _load_catboost(path: Path) -> Any:
    with toolkits.installed(toolkits.CATBOOST):
        import catboost
    model = catboost.CatBoost()
    model.load_model(str(path))
    loss = str(model.get_all_params().get("loss_function", ""))
    is_classifier = loss in {"Logloss", "CrossEntropy"} or loss.startswith("MultiClass")
    estimator = catboost.CatBoostClassifier() if is_classifier else catboost.CatBoostRegressor()
    estimator.load_model(str(path))
    return estimator
