"""Models and sources that go wrong on their way: each a message and an exit code, and nothing changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from fix_project import Sandbox, customers, linear, model
from prescore.run import materialize

FEATURES = [("features", TensorProto.FLOAT, [None, 2])]
SCORE = [("score", TensorProto.FLOAT, [None, 1])]
SERVED = "select customer, version, score from predictions.churn order by customer"


def _unknown_operator(sandbox: Sandbox) -> None:
    node = helper.make_node("Divine", ["features"], ["score"])
    values = [[helper.make_tensor_value_info(*value) for value in listed] for listed in (FEATURES, SCORE)]
    graph = helper.make_graph([node], "augury", *values)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    sandbox.onnx(bytes(made.SerializeToString()))


def _one_row_for_all(sandbox: Sandbox) -> None:
    nodes = [helper.make_node("ReduceMean", ["features", "axes"], ["score"], keepdims=1)]
    sandbox.onnx(model(nodes, FEATURES, SCORE, {"axes": np.array([0, 1])}))


def _text_for_score(sandbox: Sandbox) -> None:
    nodes = [helper.make_node("Cast", ["features"], ["score"], to=TensorProto.STRING)]
    sandbox.onnx(model(nodes, FEATURES, [("score", TensorProto.STRING, [None, 2])]))
    sandbox.edit('from = "score"', 'from = "score", index = 0')


def _same_column_twice(sandbox: Sandbox) -> None:
    sandbox.settings('chunk_rows = 100\n[sources]\nhere = "env:PRESCORE_DATABASE_URL"\n')
    sandbox.edit("[domain]", '[domain]\nsource = "here"')
    sandbox.query("select 1::bigint as customer, 1::real as visits, 2::real as spend, 3::real as spend")


def _absurd_keys(sandbox: Sandbox) -> None:
    sandbox.edit('customer = "bigint"', 'name = "text"')
    noise = ["".join(hashlib.sha512(f"{i} {j}".encode()).hexdigest() for j in range(8000)) for i in range(3)]
    sandbox.data(customers(3).append_column("name", pa.array(noise)))
    sandbox.query("select name, visits, spend from read_parquet('data/customers.parquet')")


MISHAPS: list[tuple[Callable[[Sandbox], None], int, str]] = [
    (_unknown_operator, 2, "cannot be loaded as an ONNX model"),
    (_one_row_for_all, 2, "Output score has 1 rows for 100 rows of input"),
    (_text_for_score, 2, "score is tensor(string), which is no real"),
    (_same_column_twice, 2, "column spend stands twice in the query"),
    (_absurd_keys, 2, "too long for Postgres to index"),
]


@pytest.mark.parametrize(("mishap", "code", "message"), MISHAPS, ids=[m[0].__name__[1:] for m in MISHAPS])
def test_a_mishap_is_told_and_changes_nothing(
    sandbox: Sandbox, mishap: Callable[[Sandbox], None], code: int, message: str
) -> None:
    assert sandbox.cli("run", "churn").code == 0
    before = sandbox.rows(SERVED)
    mishap(sandbox)
    done = sandbox.cli("run", "churn", "--no-publish")
    assert (done.code, message in done.err, "Traceback" in done.err) == (code, True, False), done.err
    assert sandbox.rows(SERVED) == before
    assert sandbox.rows("select published_version from prescore.models") == [(1,)]


@pytest.mark.parametrize("how", ["by another file", "in place"])
def test_a_source_that_is_replaced_during_the_run_is_read_once(sandbox: Sandbox, how: str) -> None:
    sandbox.data(customers(1000, seed=1), "tomorrow")
    path, new = sandbox.root / "data/customers.parquet", sandbox.root / "data/tomorrow.parquet"

    def replace(step: str, _rows: int, _total: int | None) -> None:
        if how == "by another file" and new.exists():
            new.replace(path)
        elif (
            how == "in place" and step == "score"
        ):  # earlier it is the reader's to notice: see the domain query's failure
            # From each scoring thread, at once or not.
            path.write_bytes(new.read_bytes())

    undisturbed = materialize.run(sandbox.job())
    before = sandbox.rows("select customer, score from predictions.churn order by customer")
    job = sandbox.job()
    job.on_progress = replace
    disturbed = materialize.run(job)
    assert (disturbed.version, disturbed.rows) == (undisturbed.version + 1, 1000)
    assert sandbox.rows("select customer, score from predictions.churn order by customer") == before
    materialize.run(sandbox.job())
    assert sandbox.rows("select customer, score from predictions.churn order by customer") != before


def test_a_model_that_is_replaced_during_the_run_scores_the_next_one(sandbox: Sandbox) -> None:
    job = sandbox.job()
    materialize.run(job)
    before = sandbox.rows("select customer, score from predictions.churn order by customer")
    job.on_progress = lambda *_: sandbox.onnx(linear([5.0, 5.0]))
    assert materialize.run(job).version == 2
    assert sandbox.rows("select customer, score from predictions.churn order by customer") == before
