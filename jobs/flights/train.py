"""Train a model of late arrivals on January to September 2013, report on October to December, export it as ONNX.

Run as `python jobs/flights/train.py`. Nothing is written until ONNX Runtime and scikit-learn agree on every flight.
"""

import argparse
import contextlib
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import joblib  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

# Run as a script, Python looks in jobs/flights/ only.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from flights.data import ROOT, ensure_data, write_whole

TEXTS = ["carrier", "origin", "dest"]
TIMETABLE = ["weekday", "departure_minute", "arrival_minute", "distance", "departures_in_hour"]
AIRCRAFT = ["plane_age", "seats"]
WEATHER = ["temp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
NUMBERS = TIMETABLE + AIRCRAFT + WEATHER
FIRST_TEST_DAY = "2013-10-01"
TOLERANCE = 1e-5
# Named, so that a newer converter does not quietly ask for a newer ONNX Runtime.
OPSETS = {"": 18, "ai.onnx.ml": 3}
# The domain with what became of each flight: 1 late, 0 not, NULL never arrived (cancelled or diverted).
# Ordered, because the same rows in another order give a slightly different model.
LABELLED = """
    select domain.*, (result.arr_delay >= 15)::real as late
    from domain
    join (
        select carrier, flight, origin, make_date(year, month, day) as date, arr_delay
        from read_parquet('data/flights.parquet')
    ) as result using (carrier, flight, origin, date)
    order by date, carrier, flight, origin
"""
Floats = npt.NDArray[np.floating[Any]]


class Scores(NamedTuple):
    """How good a set of predictions is."""

    roc_auc: float
    log_loss: float
    brier: float
    mean: float


class Model(NamedTuple):
    """A fitted pipeline, the same as ONNX, and the greatest difference between their probabilities."""

    pipeline: Any
    onnx: bytes
    difference: float


class DisagreementError(Exception):
    """ONNX Runtime and scikit-learn answer differently: such a model must not be served."""


def read_flights(project: Path = ROOT) -> pd.DataFrame:
    """The domain, exactly as serving reads it, and `late`."""
    # From the project's folder, because DuckDB looks in the current one before it looks in file_search_path.
    with contextlib.chdir(project), duckdb.connect() as database:
        database.sql(Path("sql/domains/flight_delay.sql").read_text()).create_view("domain")
        flights: pd.DataFrame = database.sql(LABELLED).df()
    return flights


def features(flights: pd.DataFrame) -> pd.DataFrame:
    """The model's inputs. Numbers as float32, as ONNX takes them: a tree's thresholds then separate the same rows."""
    return flights[TEXTS + NUMBERS].astype(dict.fromkeys(TEXTS, object) | dict.fromkeys(NUMBERS, np.float32))


def split(flights: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Flights that arrived: January to September to learn from, October to December to be judged on."""
    arrived = flights[flights["late"].notna()]
    later = arrived["date"] >= pd.Timestamp(FIRST_TEST_DAY)
    return arrived[~later], arrived[later]


def new_pipeline(seed: int, iterations: int) -> Any:
    """Histogram gradient boosting: it takes missing numbers as they come. An unseen text becomes -1."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("texts", encoder, TEXTS), ("numbers", "passthrough", NUMBERS)])
    # No early stopping: it would judge itself on random days among those it trains on. Each split looks at
    # seven columns in ten, which makes the trees less alike and lets another seed give another model.
    trees = HistGradientBoostingClassifier(
        max_iter=iterations, max_features=0.7, early_stopping=False, random_state=seed
    )
    return Pipeline([("columns", columns), ("trees", trees)])


def export(pipeline: Any) -> bytes:
    """The pipeline as ONNX: an input a column, probabilities as one matrix."""
    inputs = [(name, StringTensorType([None, 1])) for name in TEXTS]
    inputs += [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    with warnings.catch_warnings():
        # skl2onnx 1.20 hands protobuf booleans for integers: protobuf takes them until 7.34, and we stay below 7.
        warnings.filterwarnings("ignore", "Field onnx.AttributeProto.ints: Expected an int, got a boolean")
        model = to_onnx(
            pipeline, initial_types=inputs, options={"zipmap": False}, target_opset=OPSETS, name="flight_delay"
        )
    return bytes(model.SerializeToString())


def run_onnx(model: bytes, inputs: pd.DataFrame) -> tuple[npt.NDArray[Any], Floats]:
    """ONNX Runtime's labels and probabilities."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(
        ["label", "probabilities"], {name: inputs[[name]].to_numpy() for name in inputs.columns}
    )
    return labels, probabilities


def prove_agreement(pipeline: Any, model: bytes, inputs: pd.DataFrame) -> float:
    """The greatest difference between the two over all rows; an error if it is above the tolerance."""
    expected = pipeline.predict_proba(inputs)
    labels, answered = run_onnx(model, inputs)
    # NaN, should there be one, passes through max().
    difference = float(np.abs(answered - expected).max())
    tie = np.abs(expected[:, 1] - 0.5) <= TOLERANCE
    wrong = int(((labels != (expected[:, 1] > 0.5)) & ~tie).sum())
    if not difference <= TOLERANCE or wrong:
        raise DisagreementError(
            f"ONNX Runtime and scikit-learn differ by up to {difference:.2g} in probability (at most {TOLERANCE:g} is "
            f"allowed) and in {wrong:,} labels, over {len(inputs):,} flights. No model was written."
        )
    return difference


def train(flights: pd.DataFrame, seed: int, iterations: int) -> Model:
    """Fit on the first nine months, convert, and prove that both answer alike for every flight of the domain."""
    learn, _ = split(flights)
    pipeline = new_pipeline(seed, iterations).fit(features(learn), learn["late"].astype(int))
    model = export(pipeline)
    return Model(pipeline, model, prove_agreement(pipeline, model, features(flights)))


def score(late: pd.Series, predicted: Floats) -> Scores:
    """Compare predictions with what happened."""
    return Scores(
        roc_auc_score(late, predicted), log_loss(late, predicted), brier_score_loss(late, predicted), predicted.mean()
    )


def carrier_and_hour(learn: pd.DataFrame, judge: pd.DataFrame) -> Floats:
    """The baseline: how often this carrier's flights of this hour were late; the overall rate where there were none."""
    rates = learn.groupby(["carrier", learn["departure_minute"] // 60])["late"].mean()
    keys = pd.MultiIndex.from_arrays([judge["carrier"], judge["departure_minute"] // 60])
    return np.asarray(rates.reindex(keys).fillna(learn["late"].mean()), dtype=np.float64)


def calibration(late: pd.Series, predicted: Floats, groups: Any) -> list[str]:
    """Mean predicted beside observed, a line a group: an average over all of them can hide errors that cancel out."""
    frame = pd.DataFrame({"predicted": predicted, "observed": late.to_numpy()})
    means = frame.groupby(np.asarray(groups)).mean()
    return [f"  {row.Index:<10}  {row.predicted:>9.3f}  {row.observed:>8.3f}" for row in means.itertuples()]


def report(flights: pd.DataFrame, model: Model) -> str:
    """What the model can do on the three months it has not seen, beside the simplest honest alternative."""
    learn, judge = split(flights)
    late = judge["late"]
    predicted = model.pipeline.predict_proba(features(judge))[:, 1]
    ours, base = score(late, predicted), score(late, carrier_and_hour(learn, judge))
    return "\n".join(
        [
            f"learned from {len(learn):,} flights, January to September 2013: {learn['late'].mean():.1%} came late",
            f"judged on {len(judge):,} flights, October to December: {late.mean():.1%} came late",
            "late: 15 minutes or more after the scheduled arrival",
            f"left out of both, but scored: {flights['late'].isna().sum():,} flights cancelled or diverted",
            "",
            "                 model  rate by carrier and hour",
            f"ROC AUC       {ours.roc_auc:>8.3f}  {base.roc_auc:>24.3f}   (0.5 is guessing, 1 is perfect)",
            f"log loss      {ours.log_loss:>8.3f}  {base.log_loss:>24.3f}   (less is better)",
            f"Brier score   {ours.brier:>8.3f}  {base.brier:>24.3f}   (less is better)",
            f"mean          {ours.mean:>8.3f}  {base.mean:>24.3f}   (observed: {late.mean():.3f})",
            "",
            "month        predicted  observed",
            *calibration(late, predicted, judge["date"].dt.month),
            "fifth of the answers, from the least likely to be late",
            *calibration(late, predicted, pd.qcut(predicted, 5, labels=False, duplicates="drop") + 1),
            "",
            f"ONNX Runtime and scikit-learn agree on all {len(flights):,} flights, to {model.difference:.1g}",
        ]
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train flight_delay and write it as ONNX.")
    parser.add_argument("--seed", type=int, default=1, help="which columns each split looks at (default: 1)")
    parser.add_argument("--iterations", "--trees", type=int, default=100, help="how many trees (default: 100)")
    parser.add_argument("--out", type=Path, default=ROOT / "models/flight_delay.onnx", help="the ONNX file")
    parser.add_argument("--keep-pipeline", type=Path, metavar="FILE", help="keep scikit-learn's pipeline too (joblib)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Train, report, write."""
    options, started = parse(arguments), time.monotonic()
    ensure_data()
    flights = read_flights()
    try:
        model = train(flights, options.seed, options.iterations)
    except DisagreementError as problem:
        print(problem, file=sys.stderr)
        return 1
    print(report(flights, model))
    write_whole(options.out, lambda path: path.write_bytes(model.onnx))
    if options.keep_pipeline:
        write_whole(options.keep_pipeline, lambda path: joblib.dump(model.pipeline, path))
    print(f"wrote {os.path.relpath(options.out)} in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
