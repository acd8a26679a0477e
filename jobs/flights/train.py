"""Train a model of late arrivals on January to September 2013, test it on October to December, export it as ONNX.

Run it as `python jobs/flights/train.py`. It only writes a model on whose predictions for every flight ONNX Runtime and
scikit-learn agree.
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
import joblib
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

# When this file runs as a script, Python only searches jobs/flights/.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import prescore
from flights.data import ROOT, ensure_data, write_whole

TEXTS = ["carrier", "origin", "dest"]
TIMETABLE = ["weekday", "departure_minute", "arrival_minute", "distance", "departures_in_hour"]
AIRCRAFT = ["plane_age", "seats"]
WEATHER = ["temp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
NUMBERS = TIMETABLE + AIRCRAFT + WEATHER
FIRST_TEST_DAY = "2013-10-01"
TOLERANCE = 1e-5
# Pinned, because a newer converter would otherwise silently require a newer ONNX Runtime.
OPSETS = {"": 18, "ai.onnx.ml": 3}
# The domain with the outcome of each flight: 1 for late, 0 for on time, NULL for cancelled or diverted.
# The order is fixed, because the same rows in another order train a slightly different model.
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
    """Quality measures of a set of predictions."""

    roc_auc: float
    log_loss: float
    brier: float
    mean: float


class Model(NamedTuple):
    """A fitted pipeline, its ONNX export, and the largest difference between their probabilities."""

    pipeline: Any
    onnx: bytes
    difference: float


class DisagreementError(Exception):
    """ONNX Runtime and scikit-learn make different predictions, so the model must not be served."""


def read_flights(project: Path = ROOT) -> pd.DataFrame:
    """Return the rows of the domain query that `prescore run` scores, with the outcome in a column `late`."""
    # DuckDB resolves relative paths in the current folder before it searches file_search_path.
    with contextlib.chdir(project), duckdb.connect() as database:
        database.sql(Path("sql/domains/flight_delay.sql").read_text()).create_view("domain")
        flights: pd.DataFrame = database.sql(LABELLED).df()
    return flights


def features(flights: pd.DataFrame) -> pd.DataFrame:
    """Return the inputs of the model: text columns, and numbers as float32.

    The ONNX model takes float32 too, so that the thresholds of its trees separate the same rows.
    """
    types = dict.fromkeys(TEXTS, object) | dict.fromkeys(NUMBERS, np.float32)
    inputs = flights[TEXTS + NUMBERS]
    return inputs.astype(types)


def split(flights: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the flights that arrived, split by date: January to September for training, then the rest for testing."""
    arrived = flights[flights["late"].notna()]
    later = arrived["date"] >= pd.Timestamp(FIRST_TEST_DAY)
    return arrived[~later], arrived[later]


def new_pipeline(seed: int, iterations: int) -> Any:
    """Return an unfitted histogram gradient boosting model, which accepts NaN. It encodes an unknown text as -1."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("texts", encoder, TEXTS), ("numbers", "passthrough", NUMBERS)])
    # Early stopping would validate on random days of the training period. Each split considers 70 % of the columns,
    # which makes the trees less alike, and makes the model depend on the seed.
    trees = HistGradientBoostingClassifier(
        max_iter=iterations, max_features=0.7, early_stopping=False, random_state=seed
    )
    return Pipeline([("columns", columns), ("trees", trees)])


def export(pipeline: Any) -> bytes:
    """Return the pipeline as ONNX: one input per column, and the probabilities as one matrix."""
    inputs = [(name, StringTensorType([None, 1])) for name in TEXTS]
    inputs += [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    with warnings.catch_warnings():
        # skl2onnx 1.20 passes booleans as integers, which protobuf accepts before 7.34. Our lock file is below 7.
        warnings.filterwarnings("ignore", "Field onnx.AttributeProto.ints: Expected an int, got a boolean")
        model = to_onnx(
            pipeline, initial_types=inputs, options={"zipmap": False}, target_opset=OPSETS, name="flight_delay"
        )
    return bytes(model.SerializeToString())


def run_onnx(model: bytes, inputs: pd.DataFrame) -> tuple[npt.NDArray[Any], Floats]:
    """Return the labels and probabilities that ONNX Runtime computes: shapes [N] and [N, 2]."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    columns = {name: inputs[[name]].to_numpy() for name in inputs.columns}
    labels, probabilities = session.run(["label", "probabilities"], columns)
    return labels, probabilities


def prove_agreement(pipeline: Any, model: bytes, inputs: pd.DataFrame) -> float:
    """Return the largest difference in probability; raise DisagreementError if it or a label is out of tolerance."""
    expected = pipeline.predict_proba(inputs)
    labels, probabilities = run_onnx(model, inputs)
    # A NaN is the maximum of any array that holds it, and fails the comparison below.
    difference = float(np.abs(probabilities - expected).max())
    # Near one half, a difference within the tolerance can change the label.
    late_probability = expected[:, 1]
    is_clear = np.abs(late_probability - 0.5) > TOLERANCE
    is_wrong = is_clear & (labels != (late_probability > 0.5))
    wrong = int(is_wrong.sum())
    if not difference <= TOLERANCE or wrong:
        raise DisagreementError(
            f"ONNX Runtime and scikit-learn differ by up to {difference:.2g} in probability (at most {TOLERANCE:g} is "
            f"allowed) and in {wrong:,} labels, over {len(inputs):,} flights. No model was written."
        )
    return difference


def train(flights: pd.DataFrame, seed: int, iterations: int) -> Model:
    """Fit a model on the first nine months and export it; raise DisagreementError if the export differs."""
    training, _ = split(flights)
    labels = training["late"].astype(int)
    pipeline = new_pipeline(seed, iterations)
    pipeline.fit(features(training), labels)
    model = export(pipeline)
    difference = prove_agreement(pipeline, model, features(flights))
    return Model(pipeline, model, difference)


def write_examples(pipeline: Any, flights: pd.DataFrame, model_file: Path) -> None:
    """Write flights with the pipeline's own predictions beside the model file, which must reproduce them."""
    prescore.examples(
        pipeline,
        features(flights),
        file=model_file.with_suffix(".examples.parquet"),
        outputs={"late_probability": ("predict_proba", 1), "late": "predict"},
    )


def score(late: pd.Series, predicted: Floats) -> Scores:
    """Measure predicted probabilities against the outcomes."""
    return Scores(
        roc_auc=roc_auc_score(late, predicted),
        log_loss=log_loss(late, predicted),
        brier=brier_score_loss(late, predicted),
        mean=predicted.mean(),
    )


def predict_baseline(training: pd.DataFrame, test: pd.DataFrame) -> Floats:
    """Return the share of late flights with the same carrier and hour, or the overall share where there were none."""
    training_hour = training["departure_minute"] // 60
    test_hour = test["departure_minute"] // 60
    rates = training.groupby(["carrier", training_hour])["late"].mean()
    keys = pd.MultiIndex.from_arrays([test["carrier"], test_hour])
    overall = training["late"].mean()
    predicted = rates.reindex(keys).fillna(overall)
    return np.asarray(predicted, dtype=np.float64)


def calibration(late: pd.Series, predicted: Floats, groups: Any) -> list[str]:
    """Return one line per group with the mean prediction and the observed rate.

    An average over all groups can hide errors that cancel each other out.
    """
    frame = pd.DataFrame({"predicted": predicted, "observed": late.to_numpy()})
    means = frame.groupby(np.asarray(groups)).mean()
    return [f"  {row.Index:<10}  {row.predicted:>9.3f}  {row.observed:>8.3f}" for row in means.itertuples()]


def report(flights: pd.DataFrame, model: Model) -> str:
    """Return a text that compares the model with a simple baseline on the three test months."""
    training, test = split(flights)
    late = test["late"]
    predicted = model.pipeline.predict_proba(features(test))[:, 1]
    ours = score(late, predicted)
    base = score(late, predict_baseline(training, test))
    return "\n".join(
        [
            f"trained on {len(training):,} flights, January to September: {training['late'].mean():.1%} arrived late",
            f"tested on {len(test):,} flights, October to December: {late.mean():.1%} arrived late",
            "late means 15 or more minutes after the scheduled arrival",
            f"not used in either, but scored: {flights['late'].isna().sum():,} cancelled or diverted flights",
            "",
            "                 model  rate by carrier and hour",
            f"ROC AUC       {ours.roc_auc:>8.3f}  {base.roc_auc:>24.3f}   (0.5 is guessing, 1 is perfect)",
            f"log loss      {ours.log_loss:>8.3f}  {base.log_loss:>24.3f}   (lower is better)",
            f"Brier score   {ours.brier:>8.3f}  {base.brier:>24.3f}   (lower is better)",
            f"mean          {ours.mean:>8.3f}  {base.mean:>24.3f}   (observed: {late.mean():.3f})",
            "",
            "month        predicted  observed",
            *calibration(late, predicted, test["date"].dt.month),
            "fifth of the flights, from the lowest predictions to the highest",
            *calibration(late, predicted, pd.qcut(predicted, 5, labels=False, duplicates="drop") + 1),
            "",
            f"ONNX Runtime and scikit-learn agree on all {len(flights):,} flights, to {model.difference:.1g}",
        ]
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the arguments of the command line."""
    parser = argparse.ArgumentParser(description="Train flight_delay and write it as ONNX.")
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    parser.add_argument("--iterations", "--trees", type=int, default=100, help="number of trees (default: 100)")
    parser.add_argument("--out", type=Path, default=ROOT / "models/flight_delay.onnx", help="the ONNX file to write")
    parser.add_argument(
        "--keep-pipeline", type=Path, metavar="FILE", help="also write the scikit-learn pipeline (joblib)"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Train a model, print a report, and write the model; return the exit code."""
    options = parse(arguments)
    started = time.monotonic()
    ensure_data()
    flights = read_flights()
    try:
        model = train(flights, options.seed, options.iterations)
    except DisagreementError as error:
        print(error, file=sys.stderr)
        return 1
    print(report(flights, model))
    write_whole(options.out, lambda path: path.write_bytes(model.onnx))
    write_examples(model.pipeline, flights, options.out)
    if options.keep_pipeline:
        write_whole(options.keep_pipeline, lambda path: joblib.dump(model.pipeline, path))
    print(f"wrote {os.path.relpath(options.out)} in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
