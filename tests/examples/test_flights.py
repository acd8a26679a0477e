"""The flight example without prescore and Postgres: data, domain, training and the two broken models."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import duckdb
import joblib
import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest

# The example is not part of the installed package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
from flights import broken, data, train
from flights.data import ROOT

FLIGHTS = 336_776
KEY = ["carrier", "flight", "origin", "date"]
KNOWN_AFTER_DEPARTURE = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]


def run_domain_query(project: Path) -> pd.DataFrame:
    with contextlib.chdir(project), duckdb.connect() as database:
        rows: pd.DataFrame = database.sql(Path("sql/domains/flight_delay.sql").read_text()).df()
    return rows.sort_values(KEY, ignore_index=True)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flights")
    shutil.copytree(ROOT / "sql/domains", folder / "sql/domains")
    data.ensure_data(folder)
    return folder


@pytest.fixture(scope="session")
def rows(project: Path) -> pd.DataFrame:
    return run_domain_query(project)


@pytest.fixture(scope="session")
def altered(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project whose flights lack what is only known after departure.

    Its weather has every observation twice, with the hour since 1970 as the temperature.
    """
    folder = tmp_path_factory.mktemp("altered")
    shutil.copytree(project, folder, dirs_exist_ok=True)
    with contextlib.chdir(project), duckdb.connect() as database:
        flights = database.sql(
            f"select * exclude ({', '.join(KNOWN_AFTER_DEPARTURE)}) from read_parquet('data/flights.parquet')"
        )
        flights.write_parquet(str(folder / "data/flights.parquet"))
        weather = database.sql(
            "select * replace (epoch(time_hour) / 3600 + extra as temp)"
            " from read_parquet('data/weather.parquet'), (values (0), (0.25)) as copies(extra)"
        )
        weather.write_parquet(str(folder / "data/weather.parquet"))
    return folder


@pytest.fixture(scope="session")
def flights(project: Path) -> pd.DataFrame:
    return train.read_flights(project)


@pytest.fixture(scope="session")
def model(flights: pd.DataFrame) -> train.Model:
    return train.train(flights, seed=1, iterations=10)


@pytest.fixture(scope="session")
def good(model: train.Model, flights: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "good.onnx"
    path.write_bytes(model.onnx)
    train.write_examples(model.pipeline, flights.iloc[::100], path)
    return path


def signature(path: Path) -> list[tuple[str, str, Any]]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [(field.name, field.type, field.shape) for field in [*session.get_inputs(), *session.get_outputs()]]


def test_data_files_keep_types_and_nulls(project: Path) -> None:
    with contextlib.chdir(project), duckdb.connect() as database:
        types = dict(
            database.sql("select column_name, column_type from (describe from 'data/flights.parquet')").fetchall()
        )
        cancelled = database.sql("select count(*) from 'data/flights.parquet' where dep_time is null").fetchall()
    assert types["arr_delay"] == "SMALLINT"
    assert types["time_hour"] == "TIMESTAMP WITH TIME ZONE"
    assert cancelled == [(8255,)]


def test_data_files_are_written_once_and_no_others_are_left(project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.ensure_data(project)}
    assert {path: path.stat().st_mtime_ns for path in data.ensure_data(project)} == before
    assert sorted((project / "data").iterdir()) == sorted(before)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        data.write_whole(target, fail)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("model.onnx", "old")]


def test_the_domain_has_every_flight_once(rows: pd.DataFrame) -> None:
    assert len(rows) == FLIGHTS
    assert not rows.duplicated(KEY).any()
    assert not rows[[*KEY, "dest", "scheduled_departure"]].isna().any(axis=None)


def test_the_domain_and_the_spec_have_the_same_columns(rows: pd.DataFrame) -> None:
    spec = tomllib.loads((ROOT / "specs/flight_delay.toml").read_text())
    features = train.TEXTS + train.NUMBERS
    assert spec["onnx"]["inputs"] == {name: name for name in features}
    assert list(spec["key"]) == KEY
    assert set(rows.columns) == {*KEY, *spec["passthrough"], *features}
    assert set(spec["onnx"]["nullable"]) == {name for name in features if rows[name].isna().any()}


def test_the_domain_does_not_depend_on_what_is_known_after_departure(rows: pd.DataFrame, altered: Path) -> None:
    assert not set(KNOWN_AFTER_DEPARTURE) & set(rows.columns)
    pd.testing.assert_frame_equal(run_domain_query(altered).drop(columns="temp"), rows.drop(columns="temp"))


def test_weather_is_an_hour_old_and_never_duplicates_a_flight(rows: pd.DataFrame, altered: Path) -> None:
    domain = run_domain_query(altered)
    assert len(domain) == FLIGHTS
    hour = domain["scheduled_departure"].dt.floor("h").dt.tz_localize("America/New_York").dt.tz_convert("UTC")
    hours_since_1970 = (hour - pd.Timestamp(0, tz="UTC")) // pd.Timedelta("1h")
    age = (hours_since_1970 - domain["temp"])[rows["temp"].notna()]
    assert (age == 1).all()


def test_the_split_is_by_date_and_omits_flights_that_never_arrived(flights: pd.DataFrame) -> None:
    training, test = train.split(flights)
    assert training["date"].max() < pd.Timestamp("2013-10-01") <= test["date"].min()
    assert len(training) + len(test) + 9_430 == FLIGHTS


def test_the_onnx_model_agrees_with_scikit_learn_on_every_flight(flights: pd.DataFrame, model: train.Model) -> None:
    inputs = train.features(flights)
    labels, probabilities = train.run_onnx(model.onnx, inputs)
    expected = model.pipeline.predict_proba(inputs)
    assert len(labels) == FLIGHTS
    assert np.abs(probabilities - expected).max() <= 1e-5
    assert model.difference <= 1e-5


def test_the_report_shows_a_model_better_than_the_baseline(flights: pd.DataFrame, model: train.Model) -> None:
    lines = train.report(flights, model).splitlines()
    ours, base = next(line.split()[2:4] for line in lines if line.startswith("ROC AUC"))
    assert float(ours) > float(base) > 0.5


def test_retraining_reproduces_the_file_and_another_seed_does_not(flights: pd.DataFrame) -> None:
    sample = flights.iloc[:: FLIGHTS // 5000]
    first, again, other = (train.train(sample, seed, iterations=3).onnx for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_model_is_not_written_if_its_export_predicts_differently(
    flights: pd.DataFrame, good: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    broken.break_model("constant", good, tmp_path / "other.onnx")
    monkeypatch.setattr(train, "ensure_data", list)
    monkeypatch.setattr(train, "read_flights", lambda: flights.iloc[::50])
    monkeypatch.setattr(train, "export", lambda _: (tmp_path / "other.onnx").read_bytes())
    assert train.main(["--iterations", "2", "--out", str(tmp_path / "out.onnx")]) == 1
    assert "No model was written" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


def test_training_writes_the_model_and_the_pipeline(
    flights: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "ensure_data", list)
    monkeypatch.setattr(train, "read_flights", lambda: flights.iloc[::50])
    out, kept = tmp_path / "models/out.onnx", tmp_path / "pipeline.joblib"
    assert train.main(["--trees", "2", "--out", str(out), "--keep-pipeline", str(kept)]) == 0
    assert "ROC AUC" in capsys.readouterr().out
    inputs = train.features(flights.iloc[:1000])
    expected = joblib.load(kept).predict_proba(inputs)
    assert np.abs(train.run_onnx(out.read_bytes(), inputs)[1] - expected).max() <= 1e-5


@pytest.mark.parametrize("kind", ["nan", "constant"])
def test_a_broken_model_has_the_signature_of_the_good_one(kind: str, good: Path, tmp_path: Path) -> None:
    broken.break_model(kind, good, tmp_path / "broken.onnx")
    assert signature(tmp_path / "broken.onnx") == signature(good)


def test_the_nan_model_predicts_nan_for_long_flights_only(
    flights: pd.DataFrame, model: train.Model, good: Path, tmp_path: Path
) -> None:
    broken.break_model("nan", good, tmp_path / "nan.onnx")
    sample = flights.iloc[::100]
    inputs = train.features(sample)
    _, probabilities = train.run_onnx((tmp_path / "nan.onnx").read_bytes(), inputs)
    _, good_probabilities = train.run_onnx(model.onnx, inputs)
    long = (sample["distance"] > broken.LONG_MILES).to_numpy()
    assert np.isnan(probabilities[long]).all()
    assert (probabilities[~long] == good_probabilities[~long]).all()
    assert 0.1 < long.mean() < 0.2


@pytest.mark.parametrize("count", [1, 2, 3000])
def test_the_constant_model_predicts_a_constant(count: int, flights: pd.DataFrame, good: Path, tmp_path: Path) -> None:
    broken.break_model("constant", good, tmp_path / "constant.onnx")
    inputs = train.features(flights.iloc[:count])
    labels, probabilities = train.run_onnx((tmp_path / "constant.onnx").read_bytes(), inputs)
    assert labels.tolist() == [0] * count
    assert probabilities.shape == (count, 2)
    assert (probabilities[:, 1] == np.float32(broken.CONSTANT_PROBABILITY)).all()
