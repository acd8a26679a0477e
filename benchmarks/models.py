"""The two models of the benchmarks, trained with scikit-learn and exported to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

import prescore

KINDS = ("trees", "logistic")
_OPSETS = {"": 18, "ai.onnx.ml": 3}
_SAMPLE = 20_000


def train(folder: Path, kind: str, features: int, depth: int = 6) -> None:
    """Train a model on random rows; write KIND.onnx, its examples, and KIND.joblib for the hand-written script."""
    random = np.random.default_rng(7)
    matrix = random.uniform(-1, 1, (_SAMPLE, features)).astype(np.float32)
    model = _model(kind, depth).fit(matrix, _labels(matrix, random))
    exported = to_onnx(model, matrix[:1], options={"zipmap": False}, target_opset=_OPSETS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{kind}.onnx").write_bytes(_name_input(exported).SerializeToString())
    frame = pd.DataFrame(matrix, columns=[f"f{i:02d}" for i in range(features)])
    outputs = {"probability": ("predict_proba", True)}
    prescore.examples(model, frame, file=folder / f"{kind}.examples.parquet", outputs=outputs)
    joblib.dump(model, folder / f"{kind}.joblib")


def _model(kind: str, depth: int) -> Any:
    if kind == "trees":
        return GradientBoostingClassifier(n_estimators=100, max_depth=depth, random_state=7)
    return LogisticRegression(max_iter=1000)


def _labels(matrix: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return random labels with a curved and noisy boundary, so that the trees grow to their full depth."""
    odds = 2 * matrix[:, 0] + 3 * matrix[:, 1] * matrix[:, 2] + np.sin(4 * matrix[:, 3]) + matrix[:, 4:].sum(axis=1)
    labels: npt.NDArray[np.bool_] = random.uniform(size=len(matrix)) < 1 / (1 + np.exp(-odds))
    return labels


def _name_input(exported: Any) -> Any:
    """Rename the input of a model to `features`; return the model."""
    old = exported.graph.input[0].name
    exported.graph.input[0].name = "features"
    for node in exported.graph.node:
        node.input[:] = ["features" if name == old else name for name in node.input]
    return exported
