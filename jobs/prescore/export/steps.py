"""The steps of a pipeline: every estimator inside of another one, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from prescore.errors import ModelInvalid
from prescore.export import functions, toolkits

ENCODERS = {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}
"""Steps that take categories."""
VECTORIZERS = {"TfidfVectorizer", "CountVectorizer"}
"""Steps that take texts."""
_CONTAINERS = {"Pipeline", "ColumnTransformer", "FeatureUnion", "CastTransformer"}
_COMPUTE_IT = (
    "Compute the feature in the domain query instead, and train with the result of the same query; or train with a "
    "step that has a converter."
)
# A step's class → what to do without it.
_ADVICE = {
    "TransformedTargetRegressor": "Train on the transformed target, and transform the predictions in SQL.",
    "HashingVectorizer": "Use TfidfVectorizer.",
    "RegressorChain": "Use MultiOutputRegressor.",
    "FixedThresholdClassifier": "Export its estimator, and compare the probability where it is read.",
    "TunedThresholdClassifierCV": "Export its estimator_, and compare the probability where it is read.",
}
_GENERAL_ADVICE = (
    "Replace it by a step that has one, compute what it does in the domain query, or register a converter of your own "
    "with skl2onnx.update_registered_converter before the export."
)


@dataclass(frozen=True)
class Step:
    """An estimator, and its place, such as `preprocess / numbers`; the place of the whole is empty."""

    place: str
    estimator: Any

    def __str__(self) -> str:
        name = type(self.estimator).__name__
        return f"{name} in step {self.place}" if self.place else name


def walk(estimator: Any, place: str = "") -> Iterator[Step]:
    """Yield an estimator and every fitted estimator inside of it."""
    yield Step(place, estimator)
    for name, inner in _inner(estimator):
        yield from walk(inner, f"{place} / {name}" if place else name)


def last(estimator: Any) -> Any:
    """Return the last step of a pipeline, also of one in a pipeline; any other estimator itself."""
    while getattr(estimator, "steps", None):
        estimator = estimator.steps[-1][1]
    return estimator


def computes_numbers(transformer: Any) -> bool:
    """Return whether a transformer of a ColumnTransformer computes with numbers, and so with their precision."""
    if not hasattr(transformer, "transform"):
        return False
    kinds = {type(step.estimator).__name__ for step in walk(transformer)}
    return not kinds & (ENCODERS | VECTORIZERS) and not kinds <= {"FunctionTransformer"}


def require_no_functions(estimator: Any) -> None:
    """Raise ModelInvalid for a step that calls a function of Python other than some of NumPy."""
    for step in walk(estimator):
        if type(step.estimator).__name__ == "TransformedTargetRegressor":
            raise ModelInvalid(f"{step} has no converter to ONNX. {_ADVICE['TransformedTargetRegressor']}")
        if type(step.estimator).__name__ == "FunctionTransformer" and not functions.is_known(step.estimator):
            function = getattr(step.estimator.func, "__name__", repr(step.estimator.func))
            raise ModelInvalid(f"{step} calls the Python function {function}, which ONNX cannot hold. {_COMPUTE_IT}")


def require_convertible(estimator: Any, failure: str) -> None:
    """Raise ModelInvalid for a step that has no converter, and that the text of a failure names or could mean."""
    from skl2onnx._supported_operators import sklearn_operator_name_map

    unknown = []
    for step in walk(estimator):
        kind = type(step.estimator)
        if kind not in sklearn_operator_name_map and kind.__name__ not in _CONTAINERS:
            unknown.append(step)
    named = [step for step in unknown if type(step.estimator).__name__ in failure]
    if named or "Unable to find" in failure:
        for step in named or unknown:
            advice = _ADVICE.get(type(step.estimator).__name__, _GENERAL_ADVICE)
            raise ModelInvalid(f"{step} has no converter to ONNX. {advice}")


def is_catboost_pipeline(estimator: Any) -> bool:
    """Return whether an estimator is a pipeline that ends in CatBoost, which has no converter inside of one."""
    inner = getattr(estimator, "steps", [])
    return bool(inner) and toolkits.toolkit(inner[-1][1]) == toolkits.CATBOOST


def _inner(estimator: Any) -> Iterator[tuple[str, Any]]:
    """Yield the estimators that one holds, with their names: the fitted ones, or those of a pipeline."""
    attributes = vars(estimator) if hasattr(estimator, "__dict__") else {}
    found: list[tuple[str, Any]] = []
    for name, value in attributes.items():
        if name.endswith("_"):
            found += _named(value)
    if not found:
        found += _named(attributes.get("steps"))
        found += _named(attributes.get("transformer_list"))
    yield from found


def _named(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the estimators in an attribute: it is one itself, or has lists or (name, estimator, …) tuples of them."""
    if _is_list(value):
        if isinstance(value, tuple) and value and isinstance(value[0], str):
            name = value[0]
        for inner in value:
            yield from _named(inner, name)
    elif hasattr(value, "get_params") and not isinstance(value, type):
        yield name or type(value).__name__, value


def _is_list(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return bool(value.dtype == object)
    return isinstance(value, list | tuple)
