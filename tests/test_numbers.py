"""Published numbers are the toolkit's, whatever the chunks, the workers, the resume point and the order of the rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import prescore
from fix_project import Sandbox
from fix_soak import SOAK
from prescore.errors import Busy
from prescore.run import materialize
from prescore.steps import stage
from prescore.versions.options import RunOptions

TEXT, NUMBERS = "plan", ["visits", "spend", "age"]
# Every example may have other columns than the one before it.
OPTIONS = RunOptions(allow_breaking=True)
PLANS = np.array(["free", "team", "à la carte"])


class Toolkit(NamedTuple):
    """A fitted estimator, its ONNX file, and how a spec and the toolkit name its outputs."""

    estimator: Any
    content: bytes
    outputs: str
    parts: dict[str, Any]


def _rows(size: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(size, 3)).astype(np.float32), columns=NUMBERS)
    frame.loc[random.random(size) < 0.2, "age"] = np.nan
    frame[TEXT] = PLANS[random.integers(0, 3, size)]
    return frame


def _columns(scale: bool) -> ColumnTransformer:
    numbers = StandardScaler() if scale else "passthrough"
    return ColumnTransformer([("plan", OneHotEncoder(), [TEXT]), ("numbers", numbers, NUMBERS[:2])], sparse_threshold=0)


def _linear(labels: np.ndarray[Any, Any]) -> Any:
    return Pipeline([("columns", _columns(scale=True)), ("model", LogisticRegression())]), labels > 0


def _forest(labels: np.ndarray[Any, Any]) -> Any:
    classes = np.array(["bronze", "silver", "gold"])[np.digitize(labels, [-0.5, 0.5])]
    return Pipeline(
        [("columns", _columns(scale=False)), ("model", RandomForestClassifier(15, random_state=1))]
    ), classes


def _network(labels: np.ndarray[Any, Any]) -> Any:
    network = MLPRegressor(hidden_layer_sizes=(8,), max_iter=200, tol=1e-3, random_state=1)
    return Pipeline([("columns", _columns(scale=True)), ("model", network)]), labels


def _boosting(labels: np.ndarray[Any, Any]) -> Any:
    gaps = ColumnTransformer([("numbers", "passthrough", NUMBERS)])
    return Pipeline([("columns", gaps), ("model", HistGradientBoostingRegressor(max_iter=10))]), labels


def _classes(*labels: Any) -> tuple[str, dict[str, Any]]:
    lines, parts = [], {}
    for i, label in enumerate(labels):
        text = int(label) if isinstance(label, bool) else label
        lines.append(f'p{i} = {{ from = "probabilities", class = "{text}", type = "real" }}')
        parts[f"p{i}"] = ("predict_proba", label)
    return "\n".join(lines), parts


_VALUE = ('value = { from = "variable", type = "real" }', {"value": "predict"})
KINDS: dict[str, tuple[Callable[[Any], Any], tuple[str, dict[str, Any]]]] = {
    "linear": (_linear, _classes(False, True)),
    "forest": (_forest, _classes("bronze", "gold", "silver")),
    "network": (_network, _VALUE),
    "boosting": (_boosting, _VALUE),
}


@cache
def _toolkit(kind: str) -> Toolkit:
    build, (outputs, parts) = KINDS[kind]
    frame = _rows(800, seed=1)
    labels = frame["visits"] - 0.5 * frame["spend"] + (frame[TEXT] == "team")
    estimator, target = build(labels.to_numpy())
    with warnings.catch_warnings():
        # A network that is not fully trained is compared as well as any.
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(frame, target)
    inputs = [(name, FloatTensorType([None, 1])) for name in NUMBERS] + [(TEXT, StringTensorType([None, 1]))]
    used = inputs if kind != "boosting" else inputs[:3]
    # A column that the pipeline drops is not an input of the model.
    used = [pair for pair in used if kind == "boosting" or pair[0] != "age"]
    options = {"zipmap": False} if hasattr(estimator, "predict_proba") else {}
    with warnings.catch_warnings():
        # skl2onnx 1.20 passes booleans as integers.
        warnings.filterwarnings("ignore", "Field onnx.AttributeProto.ints: Expected an int, got a boolean")
        exported = to_onnx(estimator, initial_types=used, options=options, target_opset={"": 18, "ai.onnx.ml": 3})
    return Toolkit(estimator, exported.SerializeToString(), outputs, parts)


def _spec(outputs: str, nullable: str) -> str:
    return f"""
[domain]
query = "sql/domains/churn.sql"
[key]
customer = "bigint"
[onnx]
file = "models/churn.onnx"
inputs = "by name"
nullable = [{nullable}]
[onnx.examples]
file = "models/churn.examples.parquet"
[outputs]
{outputs}
"""


@given(
    kind=st.sampled_from(sorted(KINDS)),
    size=st.integers(1, 400),
    chunk_rows=st.integers(1, 150).map(lambda rows: max(rows, 7)),
    workers=st.integers(1, 3),
    interrupted_after=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
# Shrinking would run a failing example for minutes.
@settings(max_examples=60 if SOAK else 8, phases=[Phase.explicit, Phase.generate])
def test_published_values_equal_the_toolkits(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    size: int,
    chunk_rows: int,
    workers: int,
    interrupted_after: int,
    seed: int,
) -> None:
    toolkit = _toolkit(kind)
    frame = _rows(size, seed)
    sandbox.settings(f"chunk_rows = {chunk_rows}\nworkers = {workers}\n")
    sandbox.onnx(toolkit.content)
    path = sandbox.root / "models/churn.examples.parquet"
    prescore.examples(toolkit.estimator, _rows(100, seed + 1), file=path, outputs=toolkit.parts)
    sandbox.spec(_spec(toolkit.outputs, '"age"' if kind == "boosting" else ""))
    order = np.random.default_rng(seed).permutation(size)
    table = pa.Table.from_pandas(frame.assign(customer=range(size)).iloc[order], preserve_index=False)
    sandbox.data(table)
    sandbox.query("select * from read_parquet('data/customers.parquet')")
    _interrupt(sandbox, monkeypatch, interrupted_after)
    assert materialize.run(sandbox.job(), OPTIONS).published
    names = ", ".join(toolkit.parts)
    published = np.array(sandbox.rows(f"select {names} from predictions.churn order by customer"), np.float64)
    assert published.shape == (size, len(toolkit.parts))
    assert np.allclose(published, _expected(toolkit, frame), rtol=1e-4, atol=1e-5)


def _interrupt(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    """Start a run that stops once some chunks are in the ledger, if there are more."""
    copied = count()
    copy_chunk = stage.copy_chunk

    def copy_or_stop(*arguments: Any) -> None:
        if next(copied) >= chunks:
            raise Busy("the run was interrupted")
        copy_chunk(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "copy_chunk", copy_or_stop)
        with suppress(Busy):
            materialize.run(sandbox.job(), OPTIONS)


def _expected(toolkit: Toolkit, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    if "value" in toolkit.parts:
        return np.asarray(toolkit.estimator.predict(frame))[:, None]
    columns = {str(label): i for i, label in enumerate(toolkit.estimator.classes_)}
    probabilities = toolkit.estimator.predict_proba(frame)
    order = [columns[str(label)] for _, label in toolkit.parts.values()]
    return np.asarray(probabilities)[:, order]
