"""Examples: a model that does not reproduce what its training code computed is refused, with the likely cause."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import prescore
from fix_project import Sandbox, customers, linear, model
from prescore.errors import Mistake, ModelInvalid
from prescore.run import materialize

FILE = "models/churn.examples.parquet"
OPSETS = {"": 18, "ai.onnx.ml": 3}


def _sigmoid(rows: pd.DataFrame) -> dict[str, Any]:
    """Return what the churn model's training code computes."""
    return {"score": 1 / (1 + np.exp(0.5 * rows["spend"] - rows["visits"]))}


def _frame(rows: int = 500, seed: int = 1) -> pd.DataFrame:
    frame: pd.DataFrame = customers(rows, seed).to_pandas()
    return frame.drop(columns="customer")


def _with_examples(sandbox: Sandbox, function: Callable[[pd.DataFrame], Any] = _sigmoid, extra: str = "") -> None:
    prescore.examples(function, _frame(), n=200, file=sandbox.root / FILE)
    sandbox.edit("[onnx.inputs]", f'[onnx.examples]\nfile = "{FILE}"\n{extra}\n[onnx.inputs]')


def _refusal(sandbox: Sandbox) -> str:
    """Return the message with which both commands refuse the model before anything is scored."""
    messages = set()
    for command in ("validate", "run"):
        result = sandbox.cli(command, "churn")
        assert result.code == 2, result.out
        messages.add(result.err)
    (message,) = messages
    assert "does not reproduce its examples" in message
    assert sandbox.rows("select count(*) from prescore.versions") == [(0,)], "nothing was written"
    return message


def test_a_model_that_reproduces_its_examples_is_published_and_the_catalog_says_which(sandbox: Sandbox) -> None:
    _with_examples(sandbox)
    assert sandbox.cli("validate", "churn").err == ""
    result = sandbox.cli("run", "churn", "--json")
    report = json.loads(result.out)
    assert (report["published"], report["warnings"], result.err) == (True, [], "")
    fingerprint = hashlib.sha256((sandbox.root / FILE).read_bytes()).hexdigest()
    assert sandbox.rows("select examples_fingerprint from prescore.versions") == [(fingerprint,)]


def test_exchanged_columns_are_refused_and_named(sandbox: Sandbox) -> None:
    frame = _frame()
    frame.loc[5:9, "visits"] = np.nan
    prescore.examples(_sigmoid, frame, n=200, file=sandbox.root / FILE)
    settings = f'nullable = ["visits"]\nexamples = {{ file = "{FILE}" }}\n'
    sandbox.edit("[onnx.inputs]", f"{settings}\n[onnx.inputs]")
    sandbox.edit('["visits", "spend"]', '["spend", "visits"]')
    message = _refusal(sandbox)
    assert "197 of 200 rows differ from" in message
    assert 'All rows fit with this order under [onnx.inputs]:\n  features = ["visits", "spend"]' in message
    assert message.count("expected") == 3, "the three worst rows are shown"
    sandbox.edit('[onnx.inputs]\nfeatures = ["spend", "visits"]\n', "")
    sandbox.edit(settings, f'inputs = ["spend", "visits"]\n{settings}')
    assert 'with this order under [onnx]:\n  inputs = ["visits", "spend"]' in sandbox.cli("validate", "churn").err


def test_inputs_that_take_each_others_columns_are_named_too(sandbox: Sandbox) -> None:
    concat = helper.make_node("Concat", ["visits", "spend"], ["features"], axis=1)
    nodes = [concat, helper.make_node("Gemm", ["features", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["score"])]
    places = [(name, TensorProto.FLOAT, [None, 1]) for name in ("visits", "spend", "score")]
    sandbox.onnx(model(nodes, places[:2], places[2:], {"w": np.array([[1.0], [-0.5]], np.float32)}))
    _with_examples(sandbox)
    sandbox.edit('features = ["visits", "spend"]', 'visits = "spend"\nspend = "visits"')
    assert 'with this line under [onnx], which gives every input the column of its name:\n  inputs = "by name"' in (
        _refusal(sandbox)
    )


@pytest.mark.parametrize("is_unordered", [False, True], ids=["two", "all"])
def test_columns_in_any_wrong_order_are_named(sandbox: Sandbox, is_unordered: bool) -> None:
    """No exchange of two columns helps where all are in another order: the order of the file does."""
    names = [f"f{i}" for i in range(12)]
    values = np.random.default_rng(3).normal(size=(400, 12)).astype(np.float32)
    frame = pd.DataFrame(values, columns=names)
    labels = (values[:, :6] > 0).sum(axis=1) % 2 == (values[:, 7] > 0.3)
    forest = RandomForestClassifier(10, random_state=1).fit(frame, labels)
    exported = to_onnx(
        forest,
        initial_types=[("features", FloatTensorType([None, 12]))],
        options={"zipmap": False},
        target_opset=OPSETS,
    )
    sandbox.onnx(exported.SerializeToString())
    sandbox.data(pa.Table.from_pandas(frame.assign(customer=range(400)), preserve_index=False))
    sandbox.query("select * from read_parquet('data/customers.parquet')")
    path = sandbox.root / FILE
    prescore.examples(forest, frame, file=path, outputs={"score": ("predict_proba", True)})
    order = [*names[5:], *names[:5]]
    if not is_unordered:
        order = ["f1", "f0", *names[2:]]
        table = pa.parquet.read_table(path)
        pa.parquet.write_table(table.select(sorted(table.column_names, reverse=True)), path)
    sandbox.edit('["visits", "spend"]', json.dumps(order))
    sandbox.edit('from = "score"', 'from = "probabilities", class = 1')
    sandbox.edit("[onnx.inputs]", f'[onnx.examples]\nfile = "{FILE}"\n[onnx.inputs]')
    assert f"under [onnx.inputs]:\n  features = {json.dumps(names)}" in _refusal(sandbox)


@pytest.mark.parametrize("wanted", [0.875, None], ids=["value", "NaN"])
def test_a_damaged_row_of_the_examples_is_not_blamed_on_its_missing_value(
    sandbox: Sandbox, wanted: float | None
) -> None:
    zero = helper.make_node("Where", ["gaps", "none", "features"], ["filled"])
    nodes = [helper.make_node("IsNaN", ["features"], ["gaps"]), zero]
    nodes += [helper.make_node("Gemm", ["filled", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["score"])]
    constants = {"w": np.array([[1.0], [-0.5]], np.float32), "none": np.array([0], np.float32)}
    features, score = ("features", TensorProto.FLOAT, [None, 2]), ("score", TensorProto.FLOAT, [None, 1])
    sandbox.onnx(model(nodes, [features], [score], constants))
    frame = _frame().astype(np.float64)
    frame.loc[::3, "visits"] = np.nan
    frame["score"] = _sigmoid(frame.fillna(0))["score"]
    frame.loc[300, "score"] = wanted
    (sandbox.root / "models").mkdir(exist_ok=True)
    frame.to_parquet(sandbox.root / FILE)
    sandbox.edit("[onnx.inputs]", f'nullable = ["visits"]\n[onnx.examples]\nfile = "{FILE}"\n[onnx.inputs]')
    message = _refusal(sandbox)
    assert "1 of 500 rows differs from" in message
    assert f"expected {wanted or 'no value (NULL or NaN)'}" in message
    reason = "The other 499 rows fit, so this row of the examples may be damaged: write the file again"
    assert (reason if wanted else "the training code computed no score for these rows") in message


def test_a_wrong_index_is_refused_and_the_right_one_is_named(sandbox: Sandbox) -> None:
    frame = _frame()
    labels = frame["visits"] > frame["spend"]
    classifier = LogisticRegression().fit(frame.to_numpy(), labels)
    exported = to_onnx(
        classifier, initial_types=[("features", FloatTensorType([None, 2]))], options={"zipmap": False}, target_opset=18
    )
    sandbox.onnx(exported.SerializeToString())
    prescore.examples(
        classifier, frame, file=sandbox.root / FILE, outputs={"score": ("predict_proba", True), "leaves": "predict"}
    )
    sandbox.edit(
        'score = { from = "score"',
        'leaves = { from = "label", type = "boolean" }\nscore = { from = "probabilities", index = 0',
    )
    sandbox.edit("[onnx.inputs]", f'[onnx.examples]\nfile = "{FILE}"\n[onnx.inputs]')
    message = _refusal(sandbox)
    assert 'outputs.score: the examples fit from = "probabilities", index = 1' in message
    sandbox.edit("index = 0", "index = 1")
    assert materialize.run(sandbox.job()).published


def test_lost_directions_of_missing_values_are_recognized(sandbox: Sandbox) -> None:
    """skl2onnx exports a forest that was trained on gaps without the direction that a gap takes."""
    random = np.random.default_rng(5)
    frame = pd.DataFrame(random.normal(size=(2000, 2)).astype(np.float32), columns=["visits", "spend"])
    frame.loc[random.random(2000) < 0.3, "visits"] = np.nan
    labels = frame["visits"].isna() | (frame["spend"] > 0.5)
    forest = RandomForestClassifier(20, random_state=1).fit(frame, labels)
    exported = to_onnx(
        forest, initial_types=[("features", FloatTensorType([None, 2]))], options={"zipmap": False}, target_opset=OPSETS
    )
    sandbox.onnx(exported.SerializeToString())
    prescore.examples(forest, frame, file=sandbox.root / FILE, outputs={"score": ("predict_proba", True)})
    sandbox.edit('from = "score"', 'from = "probabilities", class = 1')
    sandbox.edit("[onnx.inputs]", f'nullable = ["visits"]\n[onnx.examples]\nfile = "{FILE}"\n[onnx.inputs]')
    message = _refusal(sandbox)
    assert "Every row that differs has one, and no complete row differs" in message
    assert "Fill visits before training" in message


def test_log_odds_for_probabilities_are_recognized(sandbox: Sandbox) -> None:
    gemm = helper.make_node("Gemm", ["features", "w"], ["score"])
    weights = {"w": np.array([[1.0], [-0.5]], np.float32)}
    features, score = ("features", TensorProto.FLOAT, [None, 2]), ("score", TensorProto.FLOAT, [None, 1])
    sandbox.onnx(model([gemm], [features], [score], weights))
    _with_examples(sandbox)
    assert "the model returns log-odds as score, and the examples have probabilities" in _refusal(sandbox)


def test_a_threshold_between_two_doubles_is_refused_for_its_precision(sandbox: Sandbox) -> None:
    """Both are the same number in the model's float32, so that it scores their rows alike."""
    random = np.random.default_rng(2)
    frame = pd.DataFrame(1000.0 + random.normal(size=(500, 2)) * 1e-4, columns=["visits", "spend"])
    compare = [
        helper.make_node("Gather", ["features", "column"], ["visits"], axis=1),
        helper.make_node("Greater", ["visits", "threshold"], ["above"]),
        helper.make_node("Cast", ["above"], ["score"], to=TensorProto.FLOAT),
    ]
    constants = {"column": np.array([0], np.int64), "threshold": np.array([1000.00001], np.float32)}
    features, score = ("features", TensorProto.FLOAT, [None, 2]), ("score", TensorProto.FLOAT, [None, 1])
    sandbox.onnx(model(compare, [features], [score], constants))
    prescore.examples(lambda rows: {"score": (rows["visits"] > 1000.00001) * 1.0}, frame, file=sandbox.root / FILE)
    sandbox.edit("[onnx.inputs]", f'[onnx.examples]\nfile = "{FILE}"\n[onnx.inputs]')
    message = _refusal(sandbox)
    assert "The model takes visits, spend with fewer digits than the examples have" in message


@pytest.mark.parametrize(("tolerance", "code"), [("", 2), ("tolerance = { score = 0.01 }", 0)])
def test_a_tolerance_accepts_a_model_that_is_barely_off(sandbox: Sandbox, tolerance: str, code: int) -> None:
    _with_examples(sandbox, lambda rows: {"score": _sigmoid(rows)["score"] * 1.001}, tolerance)
    result = sandbox.cli("validate", "churn")
    assert result.code == code, result.err
    if code:
        assert "off by at most 0.001 of their size. If that is good enough, set onnx.examples.tolerance" in result.err


def test_small_numbers_are_compared_by_their_own_size(sandbox: Sandbox) -> None:
    """A default rate of one in a million must not be published as two."""
    scale = helper.make_node("Mul", ["p", "small"], ["score"])
    nodes = [helper.make_node("Gemm", ["features", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["p"]), scale]
    constants = {"w": np.array([[1.0], [-0.5]], np.float32), "small": np.array([2e-6], np.float32)}
    features, score = ("features", TensorProto.FLOAT, [None, 2]), ("score", TensorProto.FLOAT, [None, 1])
    sandbox.onnx(model(nodes, [features], [score], constants))
    _with_examples(sandbox, lambda rows: {"score": _sigmoid(rows)["score"] * 1e-6})
    assert "200 of 200 rows differ" in _refusal(sandbox)


@pytest.mark.parametrize(
    ("function", "extra", "message"),
    [
        (
            lambda rows: rows[["visits"]] * 0,
            "",
            "has a column visits already. If it is a feature, give the output another name",
        ),
        (lambda _: np.zeros(3), "", "has the shape (3,) for 200 rows"),
    ],
    ids=["a feature", "rows"],
)
def test_what_is_no_output_is_not_written(
    sandbox: Sandbox, function: Callable[[Any], Any], extra: str, message: str
) -> None:
    with pytest.raises(Mistake) as error:
        _with_examples(sandbox, function, extra)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("table", "extra", "message"),
    [
        ({"visits": [1.0], "score": [0.5]}, "", "have no column for spend; they have visits, score"),
        ({"visits": [1.0], "spend": [1.0], "p": [0.5]}, "", 'onnx.examples.columns = { score = "…" }'),
        ({"visits": [1.0], "spend": [1.0], "p": [0.5]}, 'columns = { score = "q" }', "has no column q"),
        ({"visits": [None], "spend": [1.0], "score": [0.5]}, "", "has a missing feature that onnx.nullable does not"),
        ({"visits": ["x"], "spend": [1.0], "score": [0.5]}, "", "column visits is text, and cannot become real"),
        (
            {"visits": [1.0], "spend": [1.0], "score": [[0.5]]},
            "",
            "outputs.score: the spec has the type real, but column score of the examples",
        ),
        ({"visits": pa.array([], pa.float32())}, "", "have no rows"),
        (pa.table([[1.0], [2.0]], names=["a", "a"]), "", "have two columns of one name"),
    ],
    ids=["feature", "output", "column", "missing", "type", "type of an output", "empty", "twice"],
)
def test_examples_that_do_not_fit_are_refused(sandbox: Sandbox, table: Any, extra: str, message: str) -> None:
    (sandbox.root / "models").mkdir(exist_ok=True)
    rows = table if isinstance(table, pa.Table) else pa.table(table)
    pa.parquet.write_table(rows, sandbox.root / FILE)
    sandbox.edit("[onnx.inputs]", f'[onnx.examples]\nfile = "{FILE}"\n{extra}\n[onnx.inputs]')
    result = sandbox.cli("validate", "churn")
    assert (result.code, message in result.err) == (2, True), result.err


def test_a_file_of_examples_that_is_missing_or_damaged_is_reported(sandbox: Sandbox) -> None:
    sandbox.edit("[onnx.inputs]", f'[onnx.examples]\nfile = "{FILE}"\n[onnx.inputs]')
    assert "Cannot read the examples" in sandbox.cli("validate", "churn").err
    (sandbox.root / FILE).write_bytes(b"PAR1")
    assert "bytes). Write them again where the model is trained" in sandbox.cli("validate", "churn").err


def test_a_spec_without_examples_is_warned_about_and_can_be_forbidden(sandbox: Sandbox) -> None:
    for command in ("validate", "run"):
        result = sandbox.cli(command, "churn")
        assert result.code == 0
        assert "prescore: warning: churn: The spec has no examples" in result.err
    sandbox.settings("chunk_rows = 100\nrequire_examples = true\n")
    result = sandbox.cli("run", "churn")
    assert result.code == 2
    assert "has no examples, and prescore.toml requires them" in result.err


def test_other_examples_do_not_make_another_version(sandbox: Sandbox) -> None:
    """They decide whether the model may be used, and not what it predicts."""
    _with_examples(sandbox)
    sandbox.interrupted("finish_table")
    prescore.examples(_sigmoid, _frame(seed=9), n=100, file=sandbox.root / FILE)
    report = materialize.run(sandbox.job())
    assert (report.version, report.resumed, report.published) == (1, True, True)
    fingerprint = hashlib.sha256((sandbox.root / FILE).read_bytes()).hexdigest()
    assert sandbox.rows("select examples_fingerprint from prescore.versions") == [(fingerprint,)]


def test_examples_hold_the_ends_of_each_column_and_missing_values(sandbox: Sandbox) -> None:
    frame = _frame(5000)
    frame.loc[17, "visits"] = 99.0
    frame.loc[18, "spend"] = np.nan
    path = prescore.examples(_sigmoid, frame, n=50, file=sandbox.root / FILE)
    written = pd.read_parquet(path)
    assert len(written) == 50
    assert written["visits"].max() == 99.0
    assert written["spend"].isna().sum() == 1
    assert list(written.columns) == ["visits", "spend", "score"]


def test_an_estimators_outputs_have_names_of_their_own(sandbox: Sandbox) -> None:
    frame = _frame()
    labels = np.where(frame["visits"] > 0, "gold", "none")
    classifier = LogisticRegression().fit(frame, labels)
    written = pd.read_parquet(prescore.examples(classifier, frame, file=sandbox.root / FILE))
    assert list(written.columns) == ["visits", "spend", "prediction", "probability_gold", "probability_none"]
    both = LogisticRegression().fit(frame, np.where(frame["visits"] > 0, "a-b", "a b"))
    written = pd.read_parquet(prescore.examples(both, frame, file=sandbox.root / FILE))
    assert list(written.columns[-2:]) == ["probability_a b", "probability_a-b"]
    with pytest.raises(Mistake, match="predict_proba has no class 'silver'; the model's classes are gold, none"):
        prescore.examples(classifier, frame, file=sandbox.root / FILE, outputs={"p": ("predict_proba", "silver")})
    with pytest.raises(Mistake, match="LogisticRegression has no method score_samples"):
        prescore.examples(classifier, frame, file=sandbox.root / FILE, outputs={"p": "score_samples"})


def test_a_model_that_fails_on_its_examples_says_so(sandbox: Sandbox) -> None:
    proto = onnx.load_from_string(linear([1.0, -0.5]))
    proto.graph.node.insert(0, helper.make_node("Reshape", ["features", "shape"], ["reshaped"]))
    proto.graph.node[1].input[0] = "reshaped"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([7, 2], np.int64), "shape"))
    sandbox.onnx(proto.SerializeToString())
    _with_examples(sandbox)
    with pytest.raises(ModelInvalid, match="The model fails on its examples"):
        materialize.run(sandbox.job())


def test_a_damaged_value_does_not_hide_the_differences_of_the_others(sandbox: Sandbox) -> None:
    def damaged(rows: pd.DataFrame) -> dict[str, Any]:
        scores = np.array(_sigmoid(rows)["score"])
        scores[7] = 1e9
        return {"score": scores}

    _with_examples(sandbox, damaged)
    assert "1 of 200 rows differs" in _refusal(sandbox)
    sandbox.edit('["visits", "spend"]', '["spend", "visits"]')
    message = _refusal(sandbox)
    assert re.search(r"(19\d|200) of 200 rows differ", message), message


def test_a_few_large_values_do_not_raise_the_tolerance_of_the_others(sandbox: Sandbox) -> None:
    """The mean of the expected values is 100,000 here, and most are below 10."""
    weights = {"w": np.array([[1e6], [3.0], [2.0]], np.float32)}
    gemm = helper.make_node("Gemm", ["features", "w"], ["score"])
    features, score = ("features", TensorProto.FLOAT, [None, 3]), ("score", TensorProto.FLOAT, [None, 1])
    sandbox.onnx(model([gemm], [features], [score], weights))
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.uniform(1, 2, (500, 3)).astype(np.float32), columns=["rare", "visits", "spend"])
    frame["rare"] = (random.random(500) < 0.1).astype(np.float32)
    compute = lambda rows: {"score": rows.to_numpy(np.float64) @ [1e6, 3.0, 2.0]}  # noqa: E731
    prescore.examples(compute, frame, file=sandbox.root / FILE)
    sandbox.data(pa.Table.from_pandas(frame.assign(customer=range(500)), preserve_index=False))
    sandbox.query("select * from read_parquet('data/customers.parquet')")
    sandbox.edit("max_value = 1\n", "max_value = 10_000_000\n")
    sandbox.edit('["visits", "spend"]', '["rare", "spend", "visits"]')
    sandbox.edit("[onnx.inputs]", f'[onnx.examples]\nfile = "{FILE}"\n[onnx.inputs]')
    assert 'features = ["rare", "visits", "spend"]' in _refusal(sandbox)
    sandbox.edit('["rare", "spend", "visits"]', '["rare", "visits", "spend"]')
    assert sandbox.cli("validate", "churn").code == 0


class _Forgetful:
    """An estimator that, like LightGBM, knows the names of its features and does not look at those of a frame."""

    feature_name_ = ("visits", "spend")

    def predict(self, rows: pd.DataFrame) -> Any:
        return rows.iloc[:, 0] - 10 * rows.iloc[:, 1]


def test_a_frame_is_given_to_the_model_in_the_order_of_training(sandbox: Sandbox) -> None:
    frame = _frame()
    path = prescore.examples(_Forgetful(), frame[["spend", "visits"]], file=sandbox.root / FILE)
    written = pd.read_parquet(path)
    assert np.allclose(written["prediction"], written["visits"] - 10 * written["spend"])
    with pytest.raises(Mistake, match="but the model was trained on visits, spend"):
        prescore.examples(_Forgetful(), frame.rename(columns={"spend": "cost"}), file=sandbox.root / FILE)


@pytest.mark.parametrize(
    ("frame", "n", "outputs", "message"),
    [
        (np.zeros((3, 2)), 10, None, "frame is ndarray. Give a pandas DataFrame"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), 10, None, "The frame has two columns of one name"),
        (pd.DataFrame({"a": []}), 10, None, "The frame has no rows"),
        (pd.DataFrame({"a": [1]}), 0, None, "n is 0. Give a number of rows, at least 1"),
        (pd.DataFrame({"a": [1]}), 10, {}, "Map outputs of the spec to what computes them"),
    ],
    ids=["array", "names", "rows", "n", "outputs"],
)
def test_what_cannot_become_examples_is_a_mistake(
    sandbox: Sandbox, frame: Any, n: int, outputs: Any, message: str
) -> None:
    with pytest.raises(Mistake) as error:
        prescore.examples(lambda rows: np.zeros(len(rows)), frame, n, file=sandbox.root / FILE, outputs=outputs)
    assert message in str(error.value)


def test_an_output_that_prescore_cannot_read_does_not_hide_the_difference(sandbox: Sandbox) -> None:
    proto = onnx.load_from_string(linear([1.0, -0.5]))
    proto.graph.node.append(helper.make_node("SplitToSequence", ["features"], ["parts"]))
    proto.graph.output.append(helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None))
    sandbox.onnx(proto.SerializeToString())
    _with_examples(sandbox, lambda rows: {"score": rows["visits"] * 0.0 + 0.3})
    assert "200 of 200 rows differ" in _refusal(sandbox)


def test_rows_are_numbered_as_in_the_file(sandbox: Sandbox) -> None:
    """Those with a missing feature are left out, as a run would reject them."""
    (sandbox.root / "models").mkdir(exist_ok=True)
    rows = pa.table({"visits": [None, None, 0.0], "spend": [1.0, 1.0, 0.0], "score": [0.9, 0.9, 0.9]})
    pa.parquet.write_table(rows, sandbox.root / FILE)
    sandbox.edit("[onnx.inputs]", f'[onnx.examples]\nfile = "{FILE}"\n[onnx.inputs]')
    message = _refusal(sandbox)
    assert "1 of 1 row differs from" in message
    assert "row 2: score is 0.5, expected 0.8999999761581421" in message


@pytest.mark.parametrize(
    ("labels", "code"), [([1, 0], 0), ([True, False], 0), ([1.0, 0.0], 0), ([1, -1], 2), ([2, 1], 2)]
)
def test_only_0_and_1_are_labels_of_booleans(sandbox: Sandbox, labels: list[Any], code: int) -> None:
    negative = helper.make_node("Less", ["visits", "zero"], ["score"])
    visits, score = ("visits", TensorProto.FLOAT, [None]), ("score", TensorProto.BOOL, [None])
    sandbox.onnx(model([negative], [visits], [score], {"zero": np.array([0], np.float32)}))  # type: ignore[list-item]
    sandbox.spec((sandbox.root / "specs/churn.toml").read_text().split("[[checks]]")[0])
    sandbox.edit('features = ["visits", "spend"]', 'visits = "visits"')
    sandbox.edit('type = "real"', 'type = "boolean"')
    pa.parquet.write_table(pa.table({"visits": [-1.0, 1.0], "score": labels}), sandbox.root / FILE)
    sandbox.edit("[onnx.inputs]", f'[onnx.examples]\nfile = "{FILE}"\n[onnx.inputs]')
    result = sandbox.cli("validate", "churn")
    assert (result.code, "cannot become boolean exactly" in result.err) == (code, code == 2), result.err
