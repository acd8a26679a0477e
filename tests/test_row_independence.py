"""A row's score depends on that row alone: a model that mixes rows, or chance, is refused before anything is scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from fix_project import Sandbox, Value, customers, model
from prescore.errors import NotAllowed
from prescore.run import materialize, registration
from prescore.versions.options import RunOptions

FLOAT = TensorProto.FLOAT
FEATURES = ("features", FLOAT, [None, 2])
SCORE = ("score", FLOAT, [None, 1])
PICK = helper.make_node("Gemm", ["x", "w"], ["z"])
OUT = helper.make_node("Sigmoid", ["z"], ["score"])
WEIGHTS = {"w": np.array([[0.5], [-0.25]], np.float32)}


def _mixing(*nodes: Any, **constants: Any) -> bytes:
    """Return the churn model with nodes between its features and its weights: `features` in, `x` out."""
    return model([*nodes, PICK, OUT], [FEATURES], [SCORE], WEIGHTS | constants)


def _batch_norm() -> bytes:
    statistics = [np.array(values, np.float32) for values in ([1, 1], [0, 0], [0, 0], [1, 1])]
    names = ["scale", "bias", "mean", "var"]
    node = helper.make_node("BatchNormalization", ["features", *names], ["x", "m", "v"], training_mode=1)
    return _mixing(node, **dict(zip(names, statistics, strict=True)))


def _dropout() -> bytes:
    return _mixing(
        helper.make_node("Dropout", ["features", "ratio", "training"], ["x"]),
        ratio=np.array(0.5, np.float32),
        training=np.array(True),
    )


def _quantized() -> bytes:
    """Return a model with a dynamically quantized layer, as onnxruntime's quantize_dynamic writes it."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["features"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
    ]
    return _mixing(*nodes)


def _reduction() -> bytes:
    return _mixing(
        helper.make_node("ReduceMean", ["features", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["features", "mean"], ["x"]),
        axes=np.array([0], np.int64),
    )


def _softmax() -> bytes:
    return _mixing(helper.make_node("Softmax", ["features"], ["x"], axis=0))


def _random() -> bytes:
    noise = helper.make_node("RandomNormalLike", ["features"], ["noise"])
    return _mixing(noise, helper.make_node("Add", ["features", "noise"], ["x"]))


def _broadcast() -> bytes:
    """Return a model that adds inputs [n] and [n, 1]: the result is [n, n]."""
    add = helper.make_node("Add", ["a", "b"], ["score"])
    return model([add], [("a", FLOAT, [None]), ("b", FLOAT, [None, 1])], [("score", FLOAT, [None, None])])


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (_batch_norm(), "BatchNormalization in training mode"),
        (_dropout(), "Dropout in training mode"),
        (_quantized(), "DynamicQuantizeLinear, dynamic quantization"),
        (_reduction(), "ReduceMean combines all rows of a call"),
        (_softmax(), "Softmax works along axis 0"),
        (_random(), "RandomNormalLike returns random numbers"),
    ],
    ids=["batch_norm", "dropout", "quantized", "reduction", "softmax", "random"],
)
def test_a_model_that_mixes_rows_is_refused_with_the_operator_that_does(
    sandbox: Sandbox, content: bytes, cause: str
) -> None:
    sandbox.onnx(content)
    for command in ("validate", "run"):
        result = sandbox.cli(command, "churn")
        assert result.code == 2, result.out
        assert "does not score each row by itself" in result.err
        assert cause in result.err
        assert "onnx.allow_batch_dependence = true" in result.err
    (row,) = sandbox.rows("select state, snapshot_rows from prescore.versions")
    assert row == ("failed", None), "nothing of the domain was frozen"


def test_a_broadcast_over_the_rows_is_refused(sandbox: Sandbox) -> None:
    sandbox.onnx(_broadcast())
    sandbox.edit('features = ["visits", "spend"]', 'a = "visits"\nb = "spend"')
    sandbox.edit('from = "score"', 'from = "score", index = 0')
    result = sandbox.cli("validate", "churn")
    assert result.code == 2
    assert "does not score each row by itself" in result.err


def test_probabilities_of_rare_events_may_be_off_by_their_rounding(sandbox: Sandbox) -> None:
    """ONNX Runtime scores many rows with another kernel than one: 1e-6 becomes 1.1e-6."""
    random = np.random.default_rng(0)
    names = [f"x{i}" for i in range(20)]
    values = random.normal(scale=3, size=(64, 20)).astype(np.float32)
    weights = random.normal(size=20)
    node = helper.make_node(
        "LinearClassifier",
        ["features"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        coefficients=[*-weights, *weights],
        intercepts=[14.0, -14.0],
        classlabels_ints=[0, 1],
        post_transform="LOGISTIC",
        multi_class=1,
    )
    outputs: list[Value] = [("label", TensorProto.INT64, [None]), ("probabilities", FLOAT, [None, 2])]
    sandbox.onnx(model([node], [("features", FLOAT, [None, 20])], outputs))
    columns = {name: values[:, i] for i, name in enumerate(names)}
    sandbox.data(pa.table({"customer": np.arange(64), **columns}))
    sandbox.query("select * from read_parquet('data/customers.parquet')")
    sandbox.edit('["visits", "spend"]', str(names).replace("'", '"'))
    sandbox.edit('from = "score"', 'from = "probabilities", class = 1')
    done = sandbox.cli("validate", "churn")
    assert done.code == 0, done.err


def test_one_large_row_does_not_hide_that_the_others_are_changed(sandbox: Sandbox) -> None:
    table = customers()
    visits = table.column("visits").to_numpy().copy()
    visits[0] = 1e4
    sandbox.data(table.set_column(1, "visits", pa.array(visits)))
    sandbox.onnx(_quantized())
    assert sandbox.cli("validate", "churn").code == 2


@pytest.mark.parametrize("content", [_batch_norm(), _reduction()], ids=["batch_norm", "reduction"])
def test_rows_that_are_alike_do_not_hide_that_a_model_mixes_them(sandbox: Sandbox, content: bytes) -> None:
    """The first chunks of a sorted domain may have nothing but zeros: minus their mean, they are zeros still."""
    sandbox.onnx(content)
    sandbox.query(
        "select customer, if(customer < 500, 0, visits)::real as visits, if(customer < 500, 0, spend)::real as spend "
        "from read_parquet('data/customers.parquet') order by customer"
    )
    result = sandbox.cli("validate", "churn")
    assert (result.code, "when they are scored beside other rows" in result.err) == (2, True), result.err


def test_dynamic_quantization_is_right_where_each_row_has_a_call_of_its_own(sandbox: Sandbox) -> None:
    sandbox.onnx(_quantized())
    assert "with onnx.batch_rows = 1" in sandbox.cli("validate", "churn").err
    sandbox.edit('file = "models/churn.onnx"', 'file = "models/churn.onnx"\nbatch_rows = 1')
    assert materialize.run(sandbox.job()).published
    before = sandbox.rows("select customer, score from predictions.churn order by customer")
    sandbox.settings("chunk_rows = 7\n")
    assert materialize.run(sandbox.job(), RunOptions(full=True)).published
    assert sandbox.rows("select customer, score from predictions.churn order by customer") == before


def test_a_model_that_mixes_integers_is_refused(sandbox: Sandbox) -> None:
    """The neighbours of rows that are alike get other integers, too."""
    nodes = [
        helper.make_node("ReduceMax", ["features"], ["largest"], keepdims=1),
        helper.make_node("Sub", ["largest", "features"], ["score"]),
    ]
    integers = TensorProto.INT64
    sandbox.onnx(model(nodes, [("features", integers, [None])], [("score", integers, [None])]))
    sandbox.edit('features = ["visits", "spend"]', 'features = "visits"')
    sandbox.edit('type = "real"', 'type = "bigint"')
    sandbox.query("select customer, customer // 900 as visits from read_parquet('data/customers.parquet')")
    result = sandbox.cli("validate", "churn")
    assert (result.code, "ReduceMax combines all rows of a call" in result.err) == (2, True), result.err


def test_a_model_that_is_accepted_knowingly_keeps_its_chunks(sandbox: Sandbox) -> None:
    """Another division into chunks gives other scores, so that it must be another version."""
    sandbox.onnx(_reduction())
    sandbox.edit('file = "models/churn.onnx"', 'file = "models/churn.onnx"\nallow_batch_dependence = true')
    sandbox.interrupted("score_chunks")
    sandbox.settings("chunk_rows = 200\n")
    assert materialize.run(sandbox.job()).version == 2
    sandbox.interrupted("score_chunks", RunOptions(full=True))
    report = materialize.run(sandbox.job())
    assert (report.version, report.resumed, report.published) == (3, True, True)


def test_the_chunks_of_an_ordinary_model_may_change_before_it_is_resumed(sandbox: Sandbox) -> None:
    sandbox.interrupted("score_chunks")
    sandbox.settings("chunk_rows = 200\n")
    report = materialize.run(sandbox.job())
    assert (report.version, report.resumed) == (1, True)


def test_a_version_is_never_finished_by_another_onnx_runtime(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.interrupted("score_chunks")
    (runtime,) = sandbox.rows("select runtime from prescore.versions")[0]
    assert runtime.startswith("ONNX Runtime 1.")
    for module in (materialize, registration):
        monkeypatch.setattr(module, "RUNTIME", "ONNX Runtime 99.0")
    with pytest.raises(NotAllowed, match=r"was started with ONNX Runtime 1.* this process has ONNX Runtime 99\.0"):
        materialize.load_predictor(sandbox.job(), 1)
    report = materialize.run(sandbox.job())
    assert (report.version, report.resumed) == (2, False)


def test_rows_on_which_the_model_fails_are_rejects_and_no_proof_of_mixing(sandbox: Sandbox) -> None:
    """Gather fails for an index outside of its table, alone and together with other rows."""
    table = numpy_helper.from_array(np.arange(2, dtype=np.float32), "table")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["features"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "index"], ["score"]),
        ],
        "test",
        [helper.make_tensor_value_info("features", FLOAT, [None])],
        [helper.make_tensor_value_info("score", FLOAT, [None])],
        [table],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(proto)
    sandbox.onnx(proto.SerializeToString())
    sandbox.edit('features = ["visits", "spend"]', 'features = "visits"')
    sandbox.spec("max_rejects = 5\n" + (sandbox.root / "specs/churn.toml").read_text())
    ids = np.arange(1000)
    visits = (ids % 2).astype(np.float32)
    visits[[0, 500]] = 7
    sandbox.data(pa.table({"customer": ids, "visits": visits, "spend": visits}))
    report = materialize.run(sandbox.job())
    assert (report.rejected, report.published) == (2, True)


def test_an_operator_that_mixes_rows_is_refused_even_if_a_sample_does_not_show_it(sandbox: Sandbox) -> None:
    """One rare, large row changes the scale of all others, wherever it is in the domain."""
    table = customers()
    same = pa.array(np.ones(1000, np.float32))
    sandbox.data(table.set_column(1, "visits", same).set_column(2, "spend", same))
    sandbox.onnx(_quantized())
    result = sandbox.cli("validate", "churn")
    assert (result.code, "DynamicQuantizeLinear, dynamic quantization" in result.err) == (2, True)
