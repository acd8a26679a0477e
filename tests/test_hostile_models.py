"""Broken models and changing sources: each fault has a message and an exit code, and readers see no change."""

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
    broken = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    sandbox.onnx(bytes(broken.SerializeToString()))


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


def _enormous_keys(sandbox: Sandbox) -> None:
    sandbox.edit('customer = "bigint"', 'name = "text"')
    noise = ["".join(hashlib.sha512(f"{i} {j}".encode()).hexdigest() for j in range(8000)) for i in range(3)]
    sandbox.data(customers(3).append_column("name", pa.array(noise)))
    sandbox.query("select name, visits, spend from read_parquet('data/customers.parquet')")


FAULTS: list[tuple[Callable[[Sandbox], None], int, str]] = [
    (_unknown_operator, 2, "cannot be loaded as an ONNX model"),
    (_one_row_for_all, 2, "Output score has 1 row for 6"),
    (_text_for_score, 2, "score is tensor(string), which cannot become real"),
    (_same_column_twice, 2, "Column spend appears more than once"),
    (_enormous_keys, 2, "too long for Postgres to index"),
]


@pytest.mark.parametrize(("fault", "code", "message"), FAULTS, ids=[fault.__name__[1:] for fault, _, _ in FAULTS])
def test_a_fault_is_reported_and_changes_nothing_for_readers(
    sandbox: Sandbox, fault: Callable[[Sandbox], None], code: int, message: str
) -> None:
    assert sandbox.cli("run", "churn").code == 0
    before = sandbox.rows(SERVED)
    fault(sandbox)
    done = sandbox.cli("run", "churn", "--no-publish")
    assert (done.code, message in done.err, "Traceback" in done.err) == (code, True, False), done.err
    assert sandbox.rows(SERVED) == before
    assert sandbox.rows("select published_version from prescore.models") == [(1,)]


@pytest.mark.parametrize("how", ["by another file", "in place"])
def test_a_run_reads_its_source_once_even_if_the_file_is_replaced_meanwhile(sandbox: Sandbox, how: str) -> None:
    sandbox.data(customers(1000, seed=1), "tomorrow")
    path, new = sandbox.root / "data/customers.parquet", sandbox.root / "data/tomorrow.parquet"

    def replace(step: str, _rows: int, _total: int | None) -> None:
        if how == "by another file" and new.exists():
            new.replace(path)
        # Overwriting the file while the snapshot is being taken would make the domain query fail, as it should.
        elif how == "in place" and step == "score":
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


def test_a_model_file_that_is_replaced_during_a_run_only_affects_the_next_run(sandbox: Sandbox) -> None:
    job = sandbox.job()
    materialize.run(job)
    before = sandbox.rows("select customer, score from predictions.churn order by customer")
    job.on_progress = lambda *_: sandbox.onnx(linear([5.0, 5.0]))
    assert materialize.run(job).version == 2
    assert sandbox.rows("select customer, score from predictions.churn order by customer") == before
