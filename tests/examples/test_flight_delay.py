"""The flight example end to end: every published score equals the one scikit-learn computes from the CSV files."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import prescore
from fix_api import serving
from fix_project import Sandbox
from prescore_api.http.app import ServerSettings, build

# The example is not part of the installed package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))
from flights import broken, data, train
from flights.data import ROOT

WEATHER = ["temp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]


def _features_from_csv() -> pd.DataFrame:
    """Return keys and features, computed by pandas alone and independently of the domain query."""
    folder = data.package_data()
    flights = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv")
    planes = pd.read_csv(folder / "planes.csv").set_index("tailnum")
    hour = pd.to_datetime(flights["time_hour"], utc=True)
    weather["valid_for"] = pd.to_datetime(weather["time_hour"], utc=True) + pd.Timedelta(hours=1)
    observed = weather.drop_duplicates(["origin", "valid_for"]).set_index(["origin", "valid_for"])[WEATHER]
    observed.loc[observed["wind_speed"] >= 200, "wind_speed"] = np.nan
    weather_of_flights = observed.reindex(pd.MultiIndex.from_arrays([flights["origin"], hour])).reset_index(drop=True)
    date = pd.to_datetime(flights[["year", "month", "day"]])
    numbers = pd.DataFrame(
        {
            "weekday": date.dt.day_of_week + 1,
            "departure_minute": flights["hour"] * 60 + flights["minute"],
            "arrival_minute": flights["sched_arr_time"] // 100 * 60 + flights["sched_arr_time"] % 100,
            "distance": flights["distance"],
            "departures_in_hour": flights.groupby(["origin", hour])["flight"].transform("size"),
            "plane_age": flights["year"] - planes["year"].reindex(flights["tailnum"]).to_numpy(),
            "seats": planes["seats"].reindex(flights["tailnum"]).to_numpy(),
        }
    ).join(weather_of_flights)
    texts = flights[["carrier", "origin", "dest"]].astype(object)
    keys = flights[["flight"]].assign(date=date.dt.date)
    return texts.join(numbers.astype(np.float32)).join(keys)


@pytest.fixture
def flights(sandbox: Sandbox) -> Sandbox:
    """Return a sandbox with the flight example and its data, but no model yet."""
    for name in ("specs/flight_delay.toml", "sql/domains/flight_delay.sql"):
        shutil.copy(ROOT / name, sandbox.root / name)
    # A chunk then has as many rows as a request for live answers may have.
    sandbox.settings("chunk_rows = 10_000\n")
    first_check = '[[checks]]\nname = "probabilities are probabilities"'
    sandbox.edit(first_check, f"[live]\nallowed = true\n\n{first_check}", "flight_delay")
    data.ensure_data(sandbox.root)
    return sandbox


def _train(flights: Sandbox) -> Any:
    rows = train.read_flights(flights.root)
    model = train.train(rows, seed=1, iterations=100)
    flights.onnx(model.onnx, "flight_delay")
    train.write_examples(model.pipeline, rows, flights.root / "models/flight_delay.onnx")
    return model.pipeline


def _require_the_same_live_and_embedded(flights: Sandbox, served: pd.DataFrame) -> None:
    """Score every flight again, live and in this process, in the chunks of the run: bit by bit what the table holds."""
    key = ["carrier", "flight", "origin", "date"]
    outputs = ["late_probability", "late"]
    scorer = prescore.Scorer.from_version("flight_delay", project=flights.root)
    row = flights.rows("select snapshot_location from prescore.versions where version = 1")[0]
    store = flights.root / ".prescore" / "store"
    snapshot = pq.ParquetFile(store / row[0])
    embedded, live = [], []
    app = build(flights.database, ServerSettings(open_to_all=True, store=store))
    with serving(app) as client:
        for number in range(snapshot.num_row_groups):
            chunk = snapshot.read_row_group(number).combine_chunks().to_batches()[0]
            keys = chunk.select(key).to_pandas()
            embedded.append(keys.join(scorer.score(chunk.to_pandas())[outputs]))
            rows = [{"features": features} for features in chunk.select(list(scorer.features)).to_pylist()]
            content = json.dumps({"rows": rows}, separators=(",", ":"))
            answers = client.post("/v1/predictions/flight_delay/score", content=content).json()["answers"]
            assert {(answer["version"], answer["source"]) for answer in answers} == {(1, "live")}
            live.append(keys.join(pd.DataFrame([answer["prediction"] for answer in answers])))
    for scored in (pd.concat(embedded), pd.concat(live)):
        compared = served.merge(scored, on=key, validate="one_to_one", suffixes=("", "_again"))
        assert len(compared) == 336_776
        probability = compared["late_probability"].astype(np.float32)
        assert (probability == compared["late_probability_again"].astype(np.float32)).all()
        assert (compared["late"] == compared["late_again"]).all()


def test_every_score_equals_scikit_learns_and_broken_models_change_none(flights: Sandbox) -> None:
    pipeline = _train(flights)
    run = flights.cli("run", "flight_delay", "--json")
    assert run.code == 0, run.err
    report = json.loads(run.out)
    assert (report["rows"], report["published"], report["rejected"]) == (336_776, True, 0)
    assert flights.rows("select count(*) from predictions.flight_delay") == [(336_776,)]

    trial = flights.cli("run", "flight_delay", "--trial", "1000", "--json")
    assert (trial.code, json.loads(trial.out)["rows"]) == (0, 1000), trial.err

    expected = _features_from_csv()
    names = [*train.TEXTS, *train.NUMBERS]
    expected["expected"] = pipeline.predict_proba(expected[names])[:, 1]
    served = pd.DataFrame(
        flights.rows("select carrier, flight, origin, date, late_probability, late from predictions.flight_delay"),
        columns=["carrier", "flight", "origin", "date", "late_probability", "late"],
    )
    compared = served.merge(expected, on=["carrier", "flight", "origin", "date"], validate="one_to_one")
    assert len(compared) == 336_776
    assert (compared["late_probability"] - compared["expected"]).abs().max() < 1e-5
    is_clear = (compared["expected"] - 0.5).abs() > 1e-5
    assert (compared["late"] == (compared["expected"] > 0.5))[is_clear].all()

    _require_the_same_live_and_embedded(flights, served)

    for kind in broken.KINDS:
        good = flights.root / "models/flight_delay.onnx"
        examples = good.with_suffix(".examples.parquet")
        contents = {path: path.read_bytes() for path in (good, examples)}
        broken.break_model(kind, good, good)
        # With the good model's examples, the broken one is not even scored.
        broken_examples = examples.read_bytes()
        examples.write_bytes(contents[examples])
        assert "does not reproduce its examples" in flights.cli("run", "flight_delay").err
        examples.write_bytes(broken_examples)
        refused = flights.cli("run", "flight_delay", "--json")
        for path, content in contents.items():
            path.write_bytes(content)
        assert refused.code == 4
        assert json.loads(refused.out)["served"] == 1
    (reason,) = flights.rows("select reason from prescore.events where version = 3")[-1]
    assert (
        "observed 51,695 rejected rows, for example: Prediction late_probability is NaN or infinite (carrier=" in reason
    )
    assert flights.rows("select distinct version from predictions.flight_delay") == [(1,)]
