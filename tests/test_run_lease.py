"""Tasks that are cleared one by one, long after their run: none of them keeps the model's lease."""

from __future__ import annotations

import pytest

from fix_airflow import Airflow
from fix_project import SPEC, Sandbox, linear
from prescore.versions import lease

STATES = "select version, state from prescore.versions order by version"
LEASES = "select holder from prescore.leases where expires_at >= now()"
SECONDS_LEFT = "select extract(epoch from expires_at - now())::float from prescore.leases"
TASKS = [("snapshot", -1), ("score", 0), ("score", 1), ("stage", -1), ("check", -1), ("publish", -1)]


@pytest.fixture
def ended_run(airflow: Airflow, sandbox: Sandbox) -> Airflow:
    """Airflow after a run of the churn model that published version 1."""
    sandbox.spec(SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :])
    assert airflow.run()["state"] == "success"
    return airflow


def _take_lease_for_another_run(sandbox: Sandbox) -> None:
    with sandbox.database.connect() as connection:
        lease.acquire(connection, "churn", watched=False, seconds=600, holder="another run")


def test_a_task_that_is_cleared_alone_needs_no_lease_or_releases_it(ended_run: Airflow, sandbox: Sandbox) -> None:
    _take_lease_for_another_run(sandbox)
    for task, index in TASKS[1:]:
        assert _repeat(ended_run, task, index) == "success"
        assert (task, sandbox.rows(LEASES)) == (task, [("another run",)])
    assert sandbox.rows(STATES) == [(1, "published")]
    with sandbox.database.connect() as connection:
        lease.release_held_by(connection, "churn", "another run")
    for task, index in TASKS:
        assert _repeat(ended_run, task, index) == "success"
        assert (task, sandbox.rows(LEASES)) == (task, [])
    assert sandbox.rows(STATES) == [(1, "superseded"), (2, "published")]


def _repeat(ended_run: Airflow, task: str, index: int) -> str:
    """Run a task of the run again, and return its state."""
    name = f"{task}[{index}]" if index >= 0 else task
    return str(ended_run.run_task(task, index)["states"][name])


def test_the_lease_is_kept_for_other_tasks_that_were_cleared_and_missed_by_them(
    ended_run: Airflow, sandbox: Sandbox
) -> None:
    ended_run.clear("score", 1)
    ended_run.run_task("snapshot")
    ((seconds_left,),) = sandbox.rows(SECONDS_LEFT)
    # No task is left to release the lease, so it must expire soon by itself.
    assert lease.EXPIRY_SECONDS / 2 < seconds_left <= lease.EXPIRY_SECONDS
    ended_run.clear("release_lease")
    ended_run.run_task("score", 0)
    ((seconds_left,),) = sandbox.rows(SECONDS_LEFT)
    assert lease.EXPIRY_SECONDS < seconds_left <= lease.TASK_EXPIRY_SECONDS
    ended_run.run_task("release_lease")
    assert sandbox.rows(LEASES) == []
    # Another run may have resumed the version.
    _take_lease_for_another_run(sandbox)
    ended_run.log()
    assert _repeat(ended_run, "score", 1) == "failed"
    assert "Trigger a new run, which resumes what can be resumed, or clear the snapshot task" in ended_run.log()
    assert sandbox.rows(LEASES) == [("another run",)]


def test_a_skipped_publication_keeps_no_lease(airflow: Airflow, sandbox: Sandbox) -> None:
    assert airflow.run(when_checked="keep for later")["state"] == "success"
    assert airflow.run_task("publish")["states"]["publish"] == "skipped"
    assert sandbox.rows(LEASES) == []


def test_a_cleared_check_leaves_a_refused_version_refused(airflow: Airflow, sandbox: Sandbox) -> None:
    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    assert airflow.run()["states"]["check"] == "failed"
    sandbox.edit("max_value = 1\n", "max_value = 1000\n")
    airflow.log()
    assert airflow.run_task("check")["states"]["check"] == "failed"
    assert "If the checks were wrong, change them and run `prescore check-again churn 1`" in airflow.log()
    assert sandbox.rows(STATES) == [(1, "refused")]
    assert sandbox.rows(LEASES) == []
