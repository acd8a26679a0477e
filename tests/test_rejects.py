"""Rejected rows: one bad row does not cost its chunk, and too many cost the version."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from fix_project import Sandbox, model
from prescore.errors import Busy
from prescore.run import failure
from prescore.scoring import rejects

_SHAPES = [("features", TensorProto.FLOAT, [None, 2])], [("score", TensorProto.FLOAT, [None, 1])]
CUSTOMERS = "read_parquet('data/customers.parquet')"
BAD_ROWS = f"""
select case when customer = 7 then null else customer end as customer,
       case when customer in (15, 515) then null else visits end as visits,
       case when customer = 23 then 16777217 else 1 end as spend
from {CUSTOMERS}
"""


def _allow(sandbox: Sandbox, limit: float) -> None:
    sandbox.edit("[domain]", f"max_rejects = {limit}\n[domain]")


def _rejects(sandbox: Sandbox) -> list[tuple[Any, ...]]:
    return sandbox.rows(
        "select key ->> 'customer', chunk, column_name, reason from prescore.rejects order by (key ->> 'customer')::int"
    )


def _logarithm() -> bytes:
    """Return a model with score = log(visits): NaN below zero, minus infinity at zero."""
    nodes = [
        helper.make_node("Gather", ["features", "first"], ["visits"], axis=1),
        helper.make_node("Log", ["visits"], ["score"]),
    ]
    constants = {"first": np.array([0], np.int64)}
    return model(nodes, *_SHAPES, constants)


def _table() -> bytes:
    """Return a model with score = visits / 899, read from a table of 900 entries: it fails for larger values."""
    nodes = [
        helper.make_node("Gather", ["features", "first"], ["visits"], axis=1),
        helper.make_node("Cast", ["visits"], ["entry"], to=TensorProto.INT64),
        helper.make_node("Gather", ["entries", "entry"], ["score"]),
    ]
    constants = {"first": np.array([0], np.int64), "entries": np.linspace(0, 1, 900, dtype=np.float32)}
    return model(nodes, *_SHAPES, constants)


def test_bad_rows_of_the_domain_are_rejected_and_the_others_are_served(sandbox: Sandbox) -> None:
    sandbox.query(BAD_ROWS)
    _allow(sandbox, 4)
    report = json.loads(sandbox.cli("run", "churn", "--json").out)
    assert (report["published"], report["rows"], report["rejected"]) == (True, 996, 4)
    (without_key,) = [row for row in _rejects(sandbox) if row[0] is None]
    assert without_key[1:3] == (None, "customer")
    with_key = [(key, column) for key, _, column, _ in _rejects(sandbox) if key is not None]
    assert with_key == [("15", "visits"), ("23", "spend"), ("515", "visits")]
    assert sandbox.rows("select count(*) from predictions.churn where customer in (7, 15, 23, 515)") == [(0,)]
    assert "16777217" in next(reason for key, _, _, reason in _rejects(sandbox) if key == "23")
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["rows"]["observed"] == 996
    assert checks["rejects"]["observed"].startswith("4 rejected rows, for example: Feature visits is null")


def test_a_fraction_allows_exactly_that_share_of_the_rows() -> None:
    assert [rejects.allowed_count(limit, 100) for limit in (0.29, 0.07, 0.57, 0.0, 29)] == [29, 7, 57, 0, 29]


@pytest.mark.parametrize(("limit", "code"), [(3, 4), (4, 0), (0.0039, 4), (0.004, 0)])
def test_the_limit_is_a_number_of_rows_or_a_fraction(sandbox: Sandbox, limit: float, code: int) -> None:
    sandbox.query(BAD_ROWS)
    _allow(sandbox, limit)
    done = sandbox.cli("run", "churn")
    assert done.code == code, done.err
    if code:
        assert "rejects: observed 4 rejected rows" in done.err
        assert "expected at most 3" in done.err
        assert "raise max_rejects in the spec" in done.err
        assert len(_rejects(sandbox)) == 4
    assert sandbox.rows("select rejected, state from prescore.versions") == [(4, "failed" if code else "published")]


def test_validate_reports_how_many_rows_a_run_would_reject(sandbox: Sandbox) -> None:
    sandbox.query(BAD_ROWS)
    refused = sandbox.cli("validate", "churn")
    assert (refused.code, "observed 4 rejected rows" in refused.err) == (4, True)
    _allow(sandbox, 4)
    assert sandbox.cli("validate", "churn").out.endswith("1,000 rows, of which 4 would be rejected\n")
    (result,) = json.loads(sandbox.cli("validate", "--json").out)
    assert (result["rows"], result["rejected"]) == (1000, 4)


def test_rows_with_predictions_that_are_not_finite_are_rejected(sandbox: Sandbox) -> None:
    sandbox.onnx(_logarithm())
    sandbox.query(
        "select customer, case customer when 7 then -1 when 450 then 0 else 2 end::float as visits, spend "
        f"from {CUSTOMERS}"
    )
    refused = sandbox.cli("run", "churn")
    assert refused.code == 4
    assert (
        "rejects: observed 2 rejected rows, for example: Prediction score is NaN or infinite (customer=450)"
        in refused.err
    )
    _allow(sandbox, 2)
    report = json.loads(sandbox.cli("run", "churn", "--json").out)
    assert (report["published"], report["rows"], report["rejected"]) == (True, 998, 2)
    recorded = sandbox.rows(
        "select key ->> 'customer', chunk, column_name from prescore.rejects where version = 2 order by 2"
    )
    assert recorded == [("7", 0, "score"), ("450", 4, "score")]
    ledger = sandbox.rows(
        "select rows, rejected from prescore.chunks where version = 2 and chunk in (0, 1) order by chunk"
    )
    assert ledger == [(99, 1), (100, 0)]


@pytest.mark.parametrize(("kind", "misfit"), [("integer", "3e9"), ("smallint", "1e9"), ("bigint", "'inf'::float")])
def test_a_prediction_that_does_not_fit_its_output_rejects_only_its_row(
    sandbox: Sandbox, kind: str, misfit: str
) -> None:
    nodes = [helper.make_node("Gather", ["features", "first"], ["score"], axis=1)]
    sandbox.onnx(model(nodes, *_SHAPES, {"first": np.array([0], np.int64)}))
    sandbox.edit('type = "real"', f'type = "{kind}"')
    sandbox.query(
        f"select customer, case customer when 7 then {misfit} else 1 end::float as visits, spend from {CUSTOMERS}"
    )
    _allow(sandbox, 1)
    done = sandbox.cli("run", "churn", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["published"], report["rows"], report["rejected"]) == (True, 999, 1)
    ((key, *_, reason),) = _rejects(sandbox)
    assert (key, "fix the model" in reason, "domain" in reason) == ("7", True, False), reason


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_probability_cannot_be_stored_as_an_integer(sandbox: Sandbox, command: str) -> None:
    sandbox.edit('type = "real"', 'type = "integer"')
    done = sandbox.cli(command, "churn")
    assert (done.code, "a float type in the spec, such as real." in done.err) == (2, True), done.err
    assert "domain" not in done.err


@pytest.mark.parametrize("key", ["'infinity'::date", "'20000-01-01'::date"])
def test_a_row_with_a_key_that_python_cannot_represent_is_rejected_like_any_other(sandbox: Sandbox, key: str) -> None:
    sandbox.edit('customer = "bigint"', 'day = "date"')
    sandbox.query(
        f"select case customer when 7 then {key} else date '2024-01-01' + customer::integer end as day, "
        f"case customer when 7 then null else visits end as visits, spend from {CUSTOMERS}"
    )
    _allow(sandbox, 1)
    report = json.loads(sandbox.cli("run", "churn", "--json").out)
    assert (report["published"], report["rejected"]) == (True, 1)


def test_a_version_is_not_resumed_when_not_all_rejects_of_its_chunks_were_recorded(sandbox: Sandbox) -> None:
    sandbox.settings("chunk_rows = 3000\n")
    sandbox.onnx(_logarithm())
    sandbox.query(f"select customer + 1000 * i as customer, -1::float as visits, spend from {CUSTOMERS}, range(2) r(i)")

    sandbox.interrupted("finish_table")
    assert sandbox.rows("select count(*) from prescore.rejects") == [(1000,)]
    _allow(sandbox, 5000)
    # A new version, which records every reject.
    assert sandbox.cli("run", "churn").code == 4
    assert sandbox.rows("select version, count(*) from prescore.rejects group by version order by version") == [
        (1, 1000),
        (2, 2000),
    ]


def test_rows_on_which_the_model_fails_do_not_cost_their_chunk(sandbox: Sandbox) -> None:
    sandbox.onnx(_table())
    sandbox.query(
        f"select customer, customer::float as visits, spend from {CUSTOMERS} where customer < 902 or customer = 950"
    )
    _allow(sandbox, 3)
    report = json.loads(sandbox.cli("run", "churn", "--json").out)
    assert (report["published"], report["rows"], report["rejected"]) == (True, 900, 3)
    assert [(key, column) for key, _, column, _ in _rejects(sandbox)] == [("900", None), ("901", None), ("950", None)]
    assert all("models/churn.onnx failed in ONNX Runtime: " in reason for *_, reason in _rejects(sandbox))
    scores = dict(sandbox.rows("select customer, score from predictions.churn"))
    assert scores == pytest.approx({customer: customer / 899 for customer in range(900)}, abs=1e-6)


def test_a_model_that_fails_on_most_rows_is_an_error_of_the_model(sandbox: Sandbox) -> None:
    sandbox.onnx(_table())
    sandbox.settings("chunk_rows = 2000\n")
    sandbox.query(
        "select customer + 1000 * i as customer, if(customer < 100, 1, 901)::float as visits, spend "
        f"from {CUSTOMERS}, range(2) r(i)"
    )
    done = sandbox.cli("run", "churn", "--json")
    assert (done.code, json.loads(done.out)["error"]["code"]) == (2, "model_failed")
    assert "The model fails on more than 1,000 rows of one chunk" in done.err


def test_a_domain_with_only_rejects_is_refused_whatever_the_limit(sandbox: Sandbox) -> None:
    sandbox.query(f"select null::bigint as customer, visits, spend from {CUSTOMERS}")
    _allow(sandbox, 1000)
    done = sandbox.cli("run", "churn")
    assert done.code == 4, done.err
    assert "The domain of churn has no row that can be scored" in done.err
    assert "rejects: observed 1,000 rejected rows" in done.err


def test_a_version_without_rows_fails_the_check_that_it_has_rows(sandbox: Sandbox) -> None:
    sandbox.onnx(_logarithm())
    sandbox.query(f"select customer, -1::float as visits, spend from {CUSTOMERS}")
    _allow(sandbox, 1000)
    done = sandbox.cli("run", "churn")
    assert (done.code, "rows: observed 0; expected at least 1" in done.err) == (4, True), done.err


def test_a_domain_is_not_read_to_its_end_once_its_refusal_is_certain(sandbox: Sandbox) -> None:
    sandbox.query(f"select null::bigint as customer, visits, spend from {CUSTOMERS}, range(20)")
    done = sandbox.cli("run", "churn")
    assert done.code == 4
    (recorded,) = sandbox.rows("select count(*) from prescore.rejects")[0]
    assert 1000 < recorded < 20_000
    assert f"rejects: observed {recorded:,} rejected rows" in done.err
    assert sandbox.rows("select rejected from prescore.versions") == [(recorded,)]


def test_rejects_are_deleted_with_their_version(sandbox: Sandbox) -> None:
    sandbox.query(BAD_ROWS)
    assert sandbox.cli("run", "churn").code == 4
    _allow(sandbox, 4)
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "0s"\ncandidates = "0s"')
    for _ in range(2):
        assert sandbox.cli("run", "churn").code == 0
    assert sandbox.rows("select version, count(*) from prescore.rejects group by version order by version") == [(3, 4)]


@pytest.mark.parametrize("limit", ["-1", "1.0", "true", '"1%"', "nan"])
def test_a_limit_that_is_not_valid_is_an_error(sandbox: Sandbox, limit: str) -> None:
    sandbox.edit("[domain]", f"max_rejects = {limit}\n[domain]")
    done = sandbox.cli("validate", "churn")
    assert (done.code, "max_rejects: must be a number of rows, such as 10, or a fraction" in done.err) == (2, True), (
        done.err
    )


def test_a_version_is_not_resumed_when_not_all_rejects_of_its_domain_were_recorded(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.query(f"select customer, if(i = 0, visits, null) as visits, spend from {CUSTOMERS}, range(4) r(i)")
    _allow(sandbox, 0.1)

    def killed(*_: object) -> None:
        raise Busy("the process was killed")

    with monkeypatch.context() as patched:
        patched.setattr(failure, "give_up", killed)
        assert sandbox.cli("run", "churn").code == 4
    assert sandbox.rows("select count(*) from prescore.rejects") == [(rejects.KEPT_WHEN_REFUSED,)]
    sandbox.edit("max_rejects = 0.1", "max_rejects = 0.9")
    report = json.loads(sandbox.cli("run", "churn", "--json").out)
    assert (report["version"], report["published"], report["rejected"]) == (2, True, 3000)
    assert sandbox.rows("select count(*) from prescore.rejects where version = 2") == [(3000,)]


def _negative_visits(sandbox: Sandbox) -> None:
    sandbox.onnx(_logarithm())
    sandbox.query(f"select customer, (-1 - customer)::real as visits, spend from {CUSTOMERS}")


def test_validate_rejects_predictions_as_a_run_does(sandbox: Sandbox) -> None:
    _negative_visits(sandbox)
    reason = "rejected rows, for example: Prediction score is NaN or infinite (customer=0); expected at most 0"
    for command in ("validate", "run"):
        result = sandbox.cli(command, "churn")
        assert (result.code, reason in result.err) == (4, True), result.err
    assert sandbox.rows("select rejected from prescore.versions") == [(1000,)]


def test_validate_warns_if_each_prediction_that_it_tries_is_rejected(sandbox: Sandbox) -> None:
    """The sample is too small to be certain that more than a share of the domain is rejected."""
    _negative_visits(sandbox)
    _allow(sandbox, 0.9)
    result = sandbox.cli("validate", "churn")
    assert result.code == 0
    assert "predictions that were tried would be rejected: Prediction score is NaN or infinite (cust" in result.err
    assert "1,000 rows, of which" in result.out


def test_validate_counts_every_prediction_that_the_domain_has(sandbox: Sandbox) -> None:
    sandbox.spec(
        'max_rejects = 2\n[domain]\nquery = "sql/domains/churn.sql"\n[key]\ncustomer = "bigint"\n'
        '[outputs]\nspend = { type = "real" }\n'
    )
    sandbox.query(f"select customer, if(customer in (5, 999), 'nan', spend)::real as spend from {CUSTOMERS}")
    assert "1,000 rows, of which 2 would be rejected" in sandbox.cli("validate", "churn").out
    assert sandbox.cli("run", "churn").code == 0
    sandbox.edit("max_rejects = 2", "max_rejects = 1")
    assert sandbox.cli("validate", "churn").code == 4


def test_a_model_that_fails_on_every_row_is_a_mistake(sandbox: Sandbox) -> None:
    sandbox.onnx(_table())
    sandbox.query(f"select customer, (1000 + customer)::real as visits, spend from {CUSTOMERS}")
    for command in ("validate", "run"):
        result = sandbox.cli(command, "churn")
        assert result.code == 2, result.err
        assert "The model fails on each of 6" in result.err
