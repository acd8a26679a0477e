"""A version that differs too much from the served one waits for approval, or is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fix_project import SPEC, Sandbox, linear
from prescore.catalog.catalog import Catalog
from prescore.errors import NotAllowed
from prescore.run import materialize, review, tasks
from prescore.run.task_values import Approval, Request

LIMITS = """
[comparison]
vanished = { warn = 0.01, refuse = 0.1 }
[comparison.columns.score]
tolerance = 0.001
psi.warn = 0.001
mean_shift.refuse = 0.1
moved = { warn = 0.9, refuse = 1.0 }
"""
STATES = "select version, state, to_publish from prescore.versions order by version"
REQUEST = Request(publish=True, approval=False, full=False, trial_rows=None, as_of=None, due=None)
HOLDER = "a run"


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """A project with limits and a published version; its checks need no Great Expectations of their own."""
    sandbox.spec(SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :] + LIMITS)
    materialize.run(sandbox.job())
    return sandbox


def _results(project: Sandbox, version: int) -> dict[str, dict[str, Any]]:
    ((checks,),) = project.rows(f"select checks from prescore.versions where version = {version}")
    return {result["name"]: result for result in checks}


def test_an_unchanged_version_is_published(project: Sandbox) -> None:
    assert project.cli("run", "churn").code == 0
    assert project.rows(STATES) == [(1, "superseded", False), (2, "published", False)]
    results = _results(project, 2)
    assert {name: results[name]["observed"] for name in list(results)[-4:]} == {
        "vanished keys": 0,
        "rows whose score moved": 0,
        "PSI of score": 0,
        "shift of the mean of score": 0,
    }
    ((compared,),) = project.rows("select comparison from prescore.versions where version = 2")
    assert (compared["a"], compared["b"], compared["keys"]["common"]) == (1, 2, 1000)
    assert "movers" not in json.dumps(compared)


def test_a_version_above_a_warning_waits_until_it_is_published(project: Sandbox) -> None:
    project.onnx(linear([1.0, -0.5], 0.1))
    done = project.cli("run", "churn")
    assert done.code == 0, done.err
    assert "warning PSI of score: 0.0" in done.out
    assert "not published: it waits for approval; `prescore publish churn 2` approves and publishes it" in done.out
    assert "  checks   6 of 8 passed, 2 warnings\n" in done.out
    assert project.rows(STATES) == [(1, "published", False), (2, "checked", False)]
    waits = "waits for approval by `prescore publish churn 2`: rows whose score moved"
    # A later run that fails hides nothing of it.
    project.query("select * from read_parquet('data/customers.parquet') where false")
    assert project.cli("run", "churn").code == 4
    assert waits in project.cli("versions", "churn").out
    assert "1; 2 waits for approval" in project.cli("status").out
    assert f"version 2 {waits}" in project.cli("status", "churn").out
    status = json.loads(project.cli("status", "churn", "--json").out)
    awaits = json.loads(project.cli("versions", "churn", "--json").out)[1]["awaits"]
    assert (status["waiting_version"], status["awaits"]) == (2, awaits)
    assert [result["name"] for result in awaits] == ["rows whose score moved", "PSI of score"]
    with project.database.connect() as connection:
        catalog = Catalog(connection)
        lines = review.report(catalog, catalog.version("churn", 2)).markdown()
    required = [line for line in lines if line.startswith("**Approval is required, because the version differs:")]
    assert [name in line for name, line in zip(["rows whose score moved", "PSI of score"], required, strict=True)] == [
        True,
        True,
    ]
    started = project.cli("canary", "churn", "2", "--share", "0.1")
    assert started.out.splitlines()[0].endswith("`prescore promote churn` approves and publishes it.")
    assert started.out.splitlines()[1].startswith("It waits for approval: rows whose score moved: observed ")
    assert "It waits for approval: rows whose score moved" in project.cli("canary", "churn").out
    assert "1; canary 2 for 10% of the keys; 2 waits for approval" in project.cli("status").out
    assert waits in project.cli("versions", "churn").out
    promoted = project.cli("promote", "churn").out
    assert promoted.startswith("churn version 2 is approved and published. It waited for approval: rows whose score")
    events = "select event, reason like 'rows whose score moved: %; PSI of score: %' from prescore.events order by id"
    assert project.rows(events)[-2:] == [("approved", True), ("published", False)]
    assert project.rows(STATES)[:2] == [(1, "superseded", False), (2, "published", False)]
    assert "approval" not in project.cli("status", "churn").out + project.cli("versions", "churn").out


def test_a_version_above_a_limit_is_refused_until_the_limit_changes(project: Sandbox) -> None:
    project.onnx(linear([1.0, -0.5], 2.0))
    refused = project.cli("run", "churn")
    assert refused.code == 4
    assert "shift of the mean of score: observed 0." in refused.err
    assert "expected at most 0.1" in refused.err
    assert project.rows(STATES) == [(1, "published", False), (2, "refused", False)]
    project.edit("mean_shift.refuse = 0.1", "mean_shift.refuse = 0.9")
    assert project.cli("check-again", "churn", "2").code == 0
    assert project.cli("publish", "churn", "2").code == 0


@pytest.mark.parametrize(("customers", "code", "states"), [(985, 0, "checked"), (800, 4, "refused")])
def test_vanished_keys_have_limits(project: Sandbox, customers: int, code: int, states: str) -> None:
    project.edit("psi.warn = 0.001", "psi.warn = 0.5")
    project.query(f"select * from read_parquet('data/customers.parquet') where customer < {customers}")
    assert project.cli("run", "churn").code == code
    assert project.rows(STATES)[1] == (2, states, False)
    assert _results(project, 2)["vanished keys"]["observed"] == (1000 - customers) / 1000


def test_trials_and_backfills_are_not_compared(project: Sandbox) -> None:
    project.onnx(linear([1.0, -0.5], 2.0))
    assert project.cli("run", "churn", "--trial", "100").code == 0
    project.query("select * from read_parquet('data/customers.parquet') where customer < date_part('day', $as_of)")
    assert project.cli("run", "churn", "--as-of", "2026-01-05").code == 0
    assert project.rows("select state, comparison from prescore.versions where version > 1") == [("checked", None)] * 2


def test_a_spec_can_skip_the_comparison(project: Sandbox) -> None:
    project.edit("[comparison]\n", "[comparison]\nskip = true\n")
    project.onnx(linear([1.0, -0.5], 2.0))
    assert project.cli("run", "churn").code == 0
    assert project.rows("select state, comparison from prescore.versions where version = 2") == [("published", None)]


def test_a_number_without_values_is_a_warning(project: Sandbox) -> None:
    project.edit("[onnx]\n", '[passthrough]\nprice = "real"\n[onnx]\n')
    project.edit("psi.warn = 0.001", "psi.warn = 0.5\n[comparison.columns.price]\nks.refuse = 0.5")
    project.query("select *, 1::real as price from read_parquet('data/customers.parquet')")
    assert project.cli("run", "churn").code == 0
    project.query("select *, null::real as price from read_parquet('data/customers.parquet')")
    assert project.cli("run", "churn").code == 0
    result = _results(project, 3)["KS distance of price"]
    assert (result["passed"], result["warning"], result["observed"]) == (True, True, "no value to compare")
    assert project.rows(STATES)[2] == (3, "checked", False)


def test_a_scheduled_run_publishes_a_warned_version_only_when_it_is_approved(project: Sandbox) -> None:
    project.onnx(linear([1.0, -0.5], 0.1))
    root = str(project.root)
    (share,) = tasks.snapshot("churn", root, HOLDER, 1, REQUEST)
    tasks.score("churn", root, share)
    checked = tasks.check("churn", root, tasks.stage("churn", root, share))
    assert checked["warnings"]
    with pytest.raises(NotAllowed, match="needs approval"):
        tasks.publish("churn", root, HOLDER, checked, REQUEST, None)
    assert project.rows(STATES)[1] == (2, "checked", False)
    published = tasks.publish("churn", root, HOLDER, checked, REQUEST, Approval(version=2, user="ann"))
    assert published["withheld"] is None
    assert project.rows(STATES)[1] == (2, "published", False)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("[comparison]\nvanished = {}", "comparison.vanished: must have warn, refuse, or both"),
        ("[comparison]\nrows = { warn = 0.2, refuse = 0.1 }", "warn is 0.2 and must not be above refuse, 0.1"),
        ("[comparison.columns.price]\nks.warn = 0.1", "comparison.columns.price: the table has no column price"),
        ("[comparison]\nvanish = { warn = 0.1 }", "comparison.vanish"),
    ],
)
def test_invalid_limits_are_reported(sandbox: Sandbox, limits: str, message: str) -> None:
    sandbox.spec(SPEC + limits)
    done = sandbox.cli("validate", "churn")
    assert (done.code, message in done.err) == (2, True), done.err


def test_a_label_has_no_measure_of_numbers(sandbox: Sandbox) -> None:
    sandbox.edit("[onnx]\n", '[passthrough]\nname = "text"\n[onnx]\n')
    sandbox.edit("[freshness]", "[comparison.columns.name]\npsi.warn = 0.1\n[freshness]")
    done = sandbox.cli("validate", "churn")
    assert "comparison.columns.name.psi: name is text, which has no such measure; use changed" in done.err
