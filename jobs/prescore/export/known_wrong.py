"""Estimators whose exporters are known to write another model: why, and what to train instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prescore.export import steps, toolkits

_ALTERNATIVE = "docs/export/known-wrong.md lists such exports, and what was measured."


def cause(estimator: Any) -> str | None:
    """Return a sentence on why an estimator's file predicts something else; None if the cause is not known."""
    for step in steps.walk(estimator):
        for kind, applies, reason in _CAUSES:
            if type(step.estimator).__name__.startswith(kind) and applies(step.estimator):
                return f"Likely cause: {step} {reason} {_ALTERNATIVE}"
    return None


def _parameter(name: str, *values: Any) -> Callable[[Any], bool]:
    return lambda estimator: estimator.get_params().get(name) in values


def _other_sigmoid(estimator: Any) -> bool:
    return bool(estimator.get_params().get("sigmoid", 1) != 1)


def _loss(name: str) -> Callable[[Any], bool]:
    return lambda estimator: str(estimator.get_all_params().get("loss_function", "")) == name


def _has_two_classes(estimator: Any) -> bool:
    return len(estimator.classes_) == 2


def _has_several_targets(estimator: Any) -> bool:
    config = toolkits.xgboost_config(estimator.get_booster())
    return int(config["learner"]["learner_model_param"].get("num_target", "1")) > 1


def _has_categories(estimator: Any) -> bool:
    is_categorical = getattr(estimator, "is_categorical_", None)
    return is_categorical is not None and bool(is_categorical.any())


def _has_groups_of_words(estimator: Any) -> bool:
    return bool(estimator.ngram_range[1] > 1 and estimator.analyzer == "word")


def _calibrates_pipeline(estimator: Any) -> bool:
    return any(hasattr(calibrated.estimator, "steps") for calibrated in estimator.calibrated_classifiers_)


def _always(_estimator: Any) -> bool:
    return True


_GROUPS_OF_WORDS = (
    "has an ngram_range of several words, which ONNX groups otherwise around apostrophes, hyphens, single letters and "
    'stop_words. Train with token_pattern="[a-zA-Z0-9_]+", without stop_words.'
)
# The beginning of a class's name, whether it is meant, and the rest of the sentence.
_CAUSES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "LGBM",
        _parameter("boosting_type", "rf"),
        'has boosting_type="rf", whose trees are summed in ONNX. Train with "gbdt" or "dart".',
    ),
    ("LGBM", _parameter("linear_tree", True), "has linear_tree=True, which ONNX does not hold. Leave it out."),
    (
        "LGBM",
        _parameter("reg_sqrt", True),
        "has reg_sqrt=True, which the export leaves out. Train on the square root, and square in SQL.",
    ),
    ("LGBM", _parameter("zero_as_missing", True), "has zero_as_missing=True. Use NaN in place of 0."),
    ("LGBM", _parameter("objective", "multiclassova", "ova"), 'has one model a class. Train with "multiclass".'),
    ("LGBMClassifier", _other_sigmoid, "has another sigmoid than 1. Leave it out."),
    (
        "XGBRegressor",
        _parameter("objective", "reg:logistic", "binary:logistic"),
        "has a logistic objective, whose sigmoid the export leaves out. Train XGBClassifier, for targets of 0 and 1.",
    ),
    (
        "XGBClassifier",
        _parameter("objective", "multi:softmax"),
        "has the objective multi:softmax, which computes no probabilities in ONNX. Train with multi:softprob.",
    ),
    (
        "XGBRegressor",
        _has_several_targets,
        "has several targets in one model. Train MultiOutputRegressor(XGBRegressor(…)), which exports right.",
    ),
    ("CatBoost", _loss("MultiClassOneVsAll"), "has the loss MultiClassOneVsAll. Train with MultiClass."),
    ("KNeighbors", _parameter("weights", "distance"), 'has weights="distance". Train with weights="uniform".'),
    ("KNNImputer", _always, "is exported inexactly. Use SimpleImputer."),
    (
        "CalibratedClassifierCV",
        _calibrates_pipeline,
        'calibrates a pipeline. Put it last instead: make_pipeline(…, CalibratedClassifierCV(…, method="sigmoid")).',
    ),
    ("CalibratedClassifierCV", _parameter("method", "isotonic"), 'calibrates isotonically. Use method="sigmoid".'),
    ("LinearDiscriminantAnalysis", _has_two_classes, "has two classes. Train LogisticRegression."),
    ("SGDClassifier", _parameter("loss", "modified_huber"), 'has loss="modified_huber". Train with "log_loss".'),
    (
        "TunedThresholdClassifierCV",
        _always,
        "loses its threshold. Export its estimator_, and compare the probability where it is read.",
    ),
    ("HistGradientBoosting", _has_categories, "has categorical_features. Encode them with OneHotEncoder before it."),
    ("Normalizer", _parameter("norm", "max"), 'has norm="max". Use "l2".'),
    ("TfidfVectorizer", _has_groups_of_words, _GROUPS_OF_WORDS),
    ("CountVectorizer", _has_groups_of_words, _GROUPS_OF_WORDS),
    (
        "TfidfVectorizer",
        _parameter("sublinear_tf", True),
        "has sublinear_tf=True, which is exported inexactly. Leave it out.",
    ),
)
