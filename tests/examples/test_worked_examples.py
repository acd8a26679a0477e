"""The worked examples in docs/examples: Airflow reads their DAG files, and their checks refuse what is broken.

tests/examples/test_example_pages.py executes their pages.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import xgboost
from sklearn import ensemble, linear_model

import prescore
from doc_pages import ROOT, blocks
from fix_airflow import Airflow
from prescore.catalog.database import Database

EXAMPLES = sorted(path.parent for path in (ROOT / "docs/examples").glob("*/prescore.toml"))
UPKEEP = {"prescore_watch", "prescore_retire"}
CHURN = [
    (
        "tenure in days",
        "sql/domains/churn.sql",
        [("tenure::real", "(tenure * 30)::real")],
        "the share of leavers is plausible",
    ),
    (
        "exchanged columns",
        "sql/domains/churn.sql",
        [("tenure::real as tenure", "monthly_charges::real as tenure"), ("monthly_charges::real as m", "tenure as m")],
        "customers who can leave any month do leave",
    ),
    (
        "renamed contracts",
        "sql/domains/churn.sql",
        [("    contract,", "    upper(contract) as contract,")],
        "the contracts are those of training",
    ),
    (
        "a constant model",
        "train.py",
        [("num_leaves=8", "num_leaves=8, min_child_samples=9999")],
        "scores differ between customers",
    ),
    (
        "trained on half of the customers",
        "train.py",
        [("fit(train, train_left)", "fit(train[half := train['contract'] == 'Month-to-month'], train_left[half])")],
        "customers with two-year contracts stay",
    ),
]
CREDIT = [
    (
        "exchanged columns",
        "sql/domains/credit.sql",
        [('"Amount"::real', '"Expenses"::real'), ('"Expenses"::real as e', '"Amount"::real as e')],
        "the share of defaults is plausible",
    ),
    ("no incomes", "sql/domains/credit.sql", [('"Income"::real', "null::real")], "incomes are known"),
    (
        "a model that has lost a column",
        "train.py",
        [("fit(train, train_status)", "fit(train.assign(income=100.0), train_status)")],
        "every important column is a reason for some loan",
    ),
    (
        "a constant model",
        "train.py",
        [("LogisticRegression(", "LogisticRegression(C=1e-9, ")],
        "scores differ between loans",
    ),
    (
        "trained on half of the loans",
        "train.py",
        [("fit(train, train_status)", "fit(train[half := train['home'] == 'owner'], train_status[half])")],
        "the share of defaults is plausible",
    ),
]
DEMAND = [
    (
        "exchanged columns",
        "sql/domains/demand.sql",
        [("select *\nfrom features", "select * replace (price as units_season, units_season as price)\nfrom features")],
        "the mean is plausible",
    ),
    (
        "no sales a year ago",
        "sql/domains/demand.sql",
        [
            (
                "from read_parquet('data/sales.parquet')",
                "from 'data/sales.parquet' where week > $as_of - interval 26 weeks",
            )
        ],
        "Too many rows",
    ),
    (
        "a shop is missing",
        "sql/domains/demand.sql",
        [("where known_at", "where shop <> 7 and known_at")],
        "all 20 shops are present",
    ),
    (
        "a horizon of the wrong length",
        "train.py",
        [("between 1 following and 4 following", "between 1 following and 1 following")],
        "longer horizons have more units",
    ),
    (
        "trained on half of the products",
        "train.py",
        [("model.fit(train[", "train = train[train['units_quarter'] < 28]\nmodel.fit(train[")],
        "forecasts differ between products and shops",
    ),
]
BREAKS = [
    (example, *broken)
    for example, listed in {"churn": CHURN, "credit": CREDIT, "demand": DEMAND}.items()
    for broken in listed
]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from the name of an example to a copy in which `train.py` has run, once for all tests."""

    @cache
    def train(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        shutil.copytree(ROOT / "docs/examples" / name, folder, dirs_exist_ok=True)
        _execute(folder)
        return folder

    return train


def _execute(folder: Path) -> None:
    # Two threads of OpenMP that wait for each other are slow where other tests run.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, capture_output=True, env=environment)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_airflow_reads_the_dag_file(example: Path, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_PROJECT", raising=False)
    loaded = airflow.load(example / "dags")
    assert loaded["errors"] == {}
    models = {path.stem for path in (example / "specs").glob("*.toml")}
    assert set(loaded["dags"]) == {f"prescore_{model}" for model in models} | UPKEEP


def test_runs_of_the_credit_example_ask_for_approval(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESCORE_PROJECT", raising=False)
    dag = airflow.load(ROOT / "docs/examples/credit/dags")["dags"]["prescore_credit"]
    assert dag["params"]["when_checked"] == "ask for approval"
    assert dag["answer_timeouts"] == {"approve": "5 days, 0:00:00"}


@pytest.mark.parametrize(
    ("example", "file", "replacements", "check"),
    [(example, *broken) for example, _, *broken in BREAKS],
    ids=[f"{example}: {name}" for example, name, *_ in BREAKS],
)
def test_what_is_broken_is_refused(
    trained: Callable[[str], Path],
    tmp_path: Path,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    example: str,
    file: str,
    replacements: list[tuple[str, str]],
    check: str,
) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", database.url)
    project = tmp_path / example
    shutil.copytree(trained(example), project)
    text = (project / file).read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    (project / file).write_text(text)
    if file.endswith(".py"):
        _execute(project)
    with pytest.raises(prescore.Refused, match=check):
        prescore.Project(project, progress=False).run(example)


class Mortgage:
    """The mortgage example after `train.py`: its modules and its data."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        self.folder = folder
        self.contributions: Any = importlib.import_module("contributions")
        self.explain: Any = importlib.import_module("explain")
        self.features: pd.DataFrame = importlib.import_module("train").features
        self.denied: Any = importlib.import_module("train").denied

    def contribution(self, file: Path) -> np.ndarray[Any, Any]:
        """Return the contributions of all applications, of shape [N, 1 + F]."""
        session = onnxruntime.InferenceSession(file)
        found: np.ndarray[Any, Any]
        (found,) = session.run(["contributions"], {session.get_inputs()[0].name: self.features.to_numpy()})
        return found.astype(float)


@pytest.fixture
def mortgage(trained: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Mortgage:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Mortgage(trained("mortgage"), monkeypatch)


def test_contributions_equal_those_of_scikit_learn(mortgage: Mortgage) -> None:
    train: Any = importlib.import_module("train")
    for name, model, explain in (
        ("linear", train.line, mortgage.explain.of_line),
        ("trees", train.trees, mortgage.explain.of_trees),
    ):
        expected = explain(model, train.train)(mortgage.features)
        found = mortgage.contribution(mortgage.folder / f"models/mortgage_{name}.onnx")
        np.testing.assert_allclose(found, expected, atol=2e-6)
        np.testing.assert_allclose(expected.sum(axis=1), model.decision_function(mortgage.features), atol=1e-5)


ESTIMATORS = [
    linear_model.LogisticRegression(max_iter=1000),
    ensemble.GradientBoostingClassifier(n_estimators=20),
    ensemble.HistGradientBoostingClassifier(max_iter=20),
    lightgbm.LGBMClassifier(n_estimators=20, verbose=-1),
    xgboost.XGBClassifier(n_estimators=20),
    ensemble.RandomForestClassifier(20, max_depth=6),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_contributions_add_up_to_the_score(mortgage: Mortgage, tmp_path: Path, estimator: Any) -> None:
    estimator.fit(mortgage.features, mortgage.denied)
    file = tmp_path / "model.onnx"
    prescore.export_onnx(estimator, mortgage.features, file)
    mortgage.contributions.add_to(file, mortgage.features.to_numpy(), list(mortgage.features.columns))
    found = mortgage.contribution(file)
    probability = estimator.predict_proba(mortgage.features)[:, 1].astype(float)
    is_forest = isinstance(estimator, ensemble.RandomForestClassifier)
    score = probability if is_forest else np.log(probability / (1 - probability))
    np.testing.assert_allclose(found.sum(axis=1), score, atol=1e-3)
    assert found[:, 0] == pytest.approx(score.mean(), abs=1e-3)


def test_a_missing_contribution_is_refused_without_examples(
    mortgage: Mortgage, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", database.url)
    project = tmp_path / "mortgage"
    shutil.copytree(mortgage.folder, project)
    (project / "prescore.toml").write_text("")
    spec = project / "specs/mortgage_trees.toml"
    text = spec.read_text().replace('[onnx.examples]\nfile = "models/mortgage_trees.examples.parquet"\n', "")
    spec.write_text(text.replace("columns = [1, 2, 3,", "columns = [1, 2,"))
    with pytest.raises(prescore.Refused, match=r"the contributions add up to the score: observed 2,3\d\d unexpected"):
        prescore.Project(project, progress=False).run("mortgage_trees")


def test_the_guide_to_reasons_shows_lines_of_the_example() -> None:
    files = [path for path in (ROOT / "docs/examples/mortgage").rglob("*.*") if path.suffix in (".py", ".toml")]
    known = {line.strip() for path in files for line in path.read_text().splitlines()}
    for block in blocks(ROOT / "docs/how-to/reasons.md"):
        assert set(block.text.splitlines()) <= known
