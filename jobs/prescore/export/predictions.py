"""What an estimator itself predicts for the rows of a frame."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from prescore.draft.outputs import DraftOutput
from prescore.errors import ModelInvalid
from prescore.export import layout, toolkits
from prescore.export.columns import feature_names
from prescore.scoring.graph import Graph

if TYPE_CHECKING:
    import pandas as pd

Values = np.ndarray[Any, Any]


class Predictions:
    """The predictions of an estimator for a frame that has its features alone, each computed once."""

    def __init__(self, estimator: Any, frame: pd.DataFrame) -> None:
        self._estimator = estimator
        self._rows = _as_trained(estimator, frame)

    @property
    def has_scores(self) -> bool:
        """Whether a classifier computes more than labels."""
        return not hasattr(self._estimator, "classes_") or hasattr(self._estimator, "predict_proba")

    @cached_property
    def labels(self) -> Values:
        """The result of `predict`, or of `transform` for an estimator that only transforms."""
        return self._call("predict" if hasattr(self._estimator, "predict") else "transform")

    @cached_property
    def scores(self) -> Values:
        """The floats that an estimator computes beside its labels, or its numbers if it is a regressor."""
        for method in ("predict_proba", "decision_function", "score_samples"):
            if hasattr(self._estimator, method):
                return self._call(method)
        if hasattr(self._estimator, "cluster_centers_"):
            return self._call("transform")
        return self.labels

    def expected(self, output: DraftOutput, graph: Graph) -> Values:
        """Return what an output of the model must be: one value, or one list of values, for each row."""
        if output.values.dtype.kind != "f":
            return _column(self.labels, output.fields.get("index"))
        label = output.fields.get("class")
        if label is None:
            return _column(self.scores, output.fields.get("index"))
        classes = graph.labels(output.fields["from"]) or ()
        return self.scores[:, classes.index(label)]

    def _call(self, method: str) -> Values:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _dense(getattr(self._estimator, method)(self._rows))


def require_fitted(estimator: Any) -> None:
    """Raise ModelInvalid for an estimator that was not fitted."""
    is_fitted = getattr(estimator, "is_fitted", None)
    if toolkits.toolkit(estimator) == toolkits.CATBOOST and is_fitted is not None:
        fitted = is_fitted()
    else:
        fitted = type(estimator).__name__ == "Booster" or _is_fitted(estimator)
    if not fitted:
        raise ModelInvalid(f"{type(estimator).__name__} is not fitted. Call fit before you export it.")


def _is_fitted(estimator: Any) -> bool:
    with toolkits.installed("scikit-learn"):
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    except TypeError:
        return True
    return True


def _as_trained(estimator: Any, frame: pd.DataFrame) -> Any:
    """Return the rows in the form in which an estimator was trained: a frame, an array or a series of texts."""
    if layout.takes_series(estimator):
        return frame.iloc[:, 0]
    # scikit-learn warns when an estimator that was fitted without column names is given some.
    is_unnamed = hasattr(estimator, "n_features_in_") and not feature_names(estimator)
    return frame.to_numpy() if is_unnamed else frame


def _column(values: Values, index: int | None) -> Values:
    if index is not None:
        return values[:, index]
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _dense(values: Any) -> Values:
    if hasattr(values, "toarray"):
        values = values.toarray()
    return np.asarray(values)
