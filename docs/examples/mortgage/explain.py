"""The same contributions from the estimators of scikit-learn: what the model files are proven against."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from contributions import NOTHING, REASONS
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import Pipeline

Explain = Callable[[pd.DataFrame], np.ndarray]
"""Features of shape [N, F] → contributions of shape [N, 1 + F], the base first."""


def of_line(model: Pipeline, reference: pd.DataFrame) -> Explain:
    """Explain a logistic regression on scaled features."""
    scaler, regression = model
    base = model.decision_function(reference).mean()
    means = scaler.transform(reference).mean(axis=0)

    def explain(rows: pd.DataFrame) -> np.ndarray:
        changes = regression.coef_[0] * (scaler.transform(rows) - means)
        return np.column_stack([np.full(len(rows), base), changes])

    return explain


def of_trees(model: GradientBoostingClassifier, reference: pd.DataFrame) -> Explain:
    """Explain boosted trees, one split after the other."""
    base = model.decision_function(reference).mean()
    known = reference.to_numpy()

    def explain(rows: pd.DataFrame) -> np.ndarray:
        changes = np.zeros((len(rows), 1 + rows.shape[1]))
        changes[:, 0] = base
        for (regressor,) in model.estimators_:
            tree = regressor.tree_
            # The mean of a node is that of the leaves that the reference reaches from there.
            through = regressor.decision_path(known)
            leaf_values = tree.value[regressor.apply(known), 0, 0]
            counts = through.sum(axis=0).A1
            means = model.learning_rate * (through.T @ leaf_values) / np.maximum(counts, 1)
            nodes = np.zeros(len(rows), int)
            values = rows.to_numpy()
            while (inner := tree.children_left[nodes] >= 0).any():
                at, place = nodes[inner], np.flatnonzero(inner)
                left = values[place, tree.feature[at]] <= tree.threshold[at]
                nodes[inner] = np.where(left, tree.children_left[at], tree.children_right[at])
                np.add.at(changes, (place, 1 + tree.feature[at]), means[nodes[inner]] - means[at])
        return changes

    return explain


def reasons(contributions: np.ndarray, names: list[str]) -> np.ndarray:
    """Return the names of the features that raise the score of each row most, of shape [N, REASONS]."""
    changes = contributions[:, 1:].astype(np.float32)
    places = np.argsort(-changes, axis=1, kind="stable")[:, :REASONS]
    raises_score = np.take_along_axis(changes, places, axis=1) > 0
    return np.where(raises_score, np.array(names)[places], NOTHING)
