"""What an estimator itself predicts for the rows of a frame."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from prescore.draft.outputs import DraftOutput
from prescore.errors import Mistake, ModelInvalid
from prescore.export import known_wrong, layout, steps, toolkits
from prescore.export.columns import feature_names
from prescore.scoring.graph import Graph

if TYPE_CHECKING:
    import pandas as pd

Values = np.ndarray[Any, Any]


class Predictions:
    """The predictions of an estimator for a frame that has its features alone, each computed once."""

    def __init__(self, estimator: Any, frame: pd.DataFrame) -> None:
        if type(estimator).__name__ == "Booster":
            estimator = toolkits.booster_estimator(estimator)
        self._estimator = estimator
        self._rows = _as_trained(estimator, frame)

    @property
    def known_cause(self) -> str | None:
        """Why the file of this estimator may predict something else, if its exporter is known to be wrong."""
        return known_wrong.cause(self._estimator)

    @property
    def has_scores(self) -> bool:
        """Whether there are floats to publish beside labels; some classifiers and all clusterers have none."""
        if hasattr(steps.last(self._estimator), "cluster_centers_"):
            return False
        return not hasattr(self._estimator, "classes_") or hasattr(self._estimator, "predict_proba")

    @property
    def classes(self) -> list[list[str | int]]:
        """The classes of each target of a classifier as ONNX has them; none for any other estimator."""
        known = getattr(self._estimator, "classes_", None)
        if known is None:
            return []
        listed = known if isinstance(known, list) else [known]
        return [[_as_label(value) for value in np.asarray(classes).tolist()] for classes in listed]

    @property
    def targets(self) -> int:
        """The number of targets: the columns of what `predict` returns."""
        return self.labels.shape[1] if self.labels.ndim == 2 else 1

    @cached_property
    def labels(self) -> Values:
        """The result of `predict`, or of `transform` for an estimator that only transforms."""
        values = self._call("predict" if hasattr(self._estimator, "predict") else "transform")
        return np.asarray(values)

    @cached_property
    def scores(self) -> list[Values]:
        """The floats beside the labels, for each target of a classifier; the numbers of a regressor."""
        for method in ("predict_proba", "decision_function"):
            if hasattr(self._estimator, method):
                values = self._call(method)
                return [np.asarray(part) for part in values] if isinstance(values, list) else [np.asarray(values)]
        return [self.labels]

    def expected(self, output: DraftOutput, graph: Graph, sources: Sequence[str]) -> Values:
        """Return what an output of the model must be: one value, or one list of values, for each row.

        `sources` are the model's outputs of floats, in their order. Raises ModelInvalid if the estimator computes
        values of another shape.
        """
        index = output.fields.get("index")
        computed = self.labels
        if output.values.dtype.kind == "f":
            source = output.fields["from"]
            label = output.fields.get("class")
            if label is not None:
                index = (graph.labels(source) or ()).index(label)
            computed = self._scores_of(source, sources)
        values = _column(computed, index)
        if values is None or values.shape != output.values.shape:
            raise ModelInvalid(
                f"Output {output.name} of the model has the shape {output.values.shape}, but "
                f"{type(self._estimator).__name__} computes values of the shape {computed.shape} for it. Its converter "
                "writes another output than predict, predict_proba or transform. Export another estimator."
            )
        return values

    def _scores_of(self, source: str, sources: Sequence[str]) -> Values:
        """Return the floats that one of the model's outputs must be."""
        if len(self.scores) == 1:
            return self.scores[0]
        if len(self.scores) != len(sources):
            raise ModelInvalid(
                f"The model has the outputs {', '.join(sources)}, but {type(self._estimator).__name__} computes "
                f"probabilities for {len(self.scores)} targets. Export one model for each target."
            )
        return self.scores[sources.index(source)]

    def _call(self, method: str) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values = getattr(self._estimator, method)(self._rows)
        # Toolkits raise anything for rows that do not fit.
        except Exception as error:
            raise Mistake(_failure(self._estimator, method, error)) from error
        return values.toarray() if hasattr(values, "toarray") else values


def _failure(estimator: Any, method: str, error: Exception) -> str:
    text = str(error).strip()
    advice = "Give rows with the columns and the dtypes of training."
    if "unknown categories" in text:
        advice = (
            'Train with OneHotEncoder(handle_unknown="ignore"), which a domain with new values needs as well, or leave '
            "these rows out of the data."
        )
    return f"{type(estimator).__name__}.{method} failed for the rows: {text[:500]}\n{advice}"


def require_fitted(estimator: Any) -> None:
    """Raise ModelInvalid for an estimator that was not fitted."""
    if not _is_fitted(estimator):
        raise ModelInvalid(f"{type(estimator).__name__} is not fitted. Call fit before you export it.")


def _is_fitted(estimator: Any) -> bool:
    if toolkits.toolkit(estimator) == toolkits.CATBOOST:
        return bool(estimator.is_fitted())
    with toolkits.installed("scikit-learn"):
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    except TypeError:
        # A booster always is.
        return True
    return True


def _as_trained(estimator: Any, frame: pd.DataFrame) -> Any:
    """Return the rows in the form in which an estimator was trained: a frame, an array or a series of texts."""
    if layout.takes_series(estimator):
        return frame.iloc[:, 0]
    # scikit-learn warns when an estimator that was fitted without column names is given some.
    is_unnamed = hasattr(estimator, "n_features_in_") and not feature_names(estimator)
    return frame.to_numpy() if is_unnamed else frame


def _as_label(value: Any) -> str | int:
    return value if isinstance(value, str) else int(value)


def _column(values: Values, index: int | None) -> Values | None:
    """Return a column of a matrix, or all values without an index; None if there is no such column."""
    if index is not None:
        return values[:, index] if values.ndim == 2 and index < values.shape[1] else None
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
