"""Tasks that somebody clears one by one, long after their run: none of them keeps the model's lease."""

from __future__ import annotations

import pytest

from fix_airflow import Airflow
from fix_project import SPEC, Sandbox, linear
from prescore.versions import lease

STATES = "select version, state from prescore.versions order by version"
LEASES = "select holder from prescore.leases where expires_at >= now()"
TASKS = [("snapshot", -1), *(("score", n) for n in range(4)), ("stage", -1), ("check", -1), ("publish", -1)]


@pytest.fixture
def ended(airflow: Airflow, sandbox: Sandbox) -> Airflow:
    """A run of the churn model has published version 1."""
    sandbox.spec(SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :])
    assert airflow.run()["state"] == "success"
    return airflow


def test_a_task_with_nothing_left_to_do_is_in_nobodys_way(ended: Airflow, sandbox: Sandbox) -> None:
    with sandbox.database.connect() as connection:
        lease.acquire(connection, "churn", watched=False, seconds=600, holder="another run")
    for task, index in TASKS[1:]:
        name = f"{task}[{index}]" if index >= 0 else task
        assert (name, ended.again(task, index)["states"][name]) == (name, "success")
        assert sandbox.rows(LEASES) == [("another run",)]
    assert sandbox.rows(STATES) == [(1, "published")]


def test_a_task_that_is_cleared_alone_gives_the_lease_back(ended: Airflow, sandbox: Sandbox) -> None:
    for task, index in TASKS:
        name = f"{task}[{index}]" if index >= 0 else task
        assert (name, ended.again(task, index)["states"][name]) == (name, "success")
        assert (name, sandbox.rows(LEASES)) == (name, [])
    assert sandbox.rows(STATES) == [(1, "superseded"), (2, "published")]


def test_the_lease_is_kept_for_those_that_were_cleared_as_well(ended: Airflow, sandbox: Sandbox) -> None:
    lasts = "select extract(epoch from expires_at - now())::float from prescore.leases"
    ended.cleared("score", 1)
    ended.again("snapshot")
    (soon,) = sandbox.rows(lasts)[0]
    # Nobody else gives it back.
    assert lease.EXPIRY_SECONDS / 2 < soon <= lease.EXPIRY_SECONDS
    ended.cleared("release_lease")
    ended.again("score", 0)
    (long,) = sandbox.rows(lasts)[0]
    assert lease.EXPIRY_SECONDS < long <= lease.TASK_EXPIRY_SECONDS
    ended.again("release_lease")
    assert sandbox.rows(LEASES) == []


def test_what_another_run_may_have_gone_on_with_is_told(ended: Airflow, sandbox: Sandbox) -> None:
    ended.again("snapshot")
    with sandbox.database.connect() as connection:
        lease.acquire(connection, "churn", watched=False, seconds=600, holder="another run")
    ended.log()
    assert ended.again("stage")["states"]["stage"] == "failed"
    assert "A new run goes on with what is still of use: trigger one, or clear the snapshot task" in ended.log()
    assert sandbox.rows(LEASES) == [("another run",)]


def test_a_skipped_publication_keeps_no_lease(airflow: Airflow, sandbox: Sandbox) -> None:
    assert airflow.run(when_checked="keep for later")["state"] == "success"
    assert airflow.again("publish")["states"]["publish"] == "skipped"
    assert sandbox.rows(LEASES) == []


def test_a_refused_version_stays_refused(airflow: Airflow, sandbox: Sandbox) -> None:
    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    assert airflow.run()["states"]["check"] == "failed"
    sandbox.edit("max_value = 1\n", "max_value = 1000\n")
    airflow.log()
    assert airflow.again("check")["states"]["check"] == "failed"
    assert "A refused version stays refused, whatever its spec says by now" in airflow.log()
    assert sandbox.rows(STATES) == [(1, "refused")]
    assert sandbox.rows(LEASES) == []
