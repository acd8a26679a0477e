"""Whole runs under a real Airflow: triggered as the UI does, watched, killed, approved."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from acceptance.fix_standalone import DAG, Airflow, store, until
from acceptance.nightly import cron_far_from_now
from fix_project import SPEC, linear

LEASES = "select count(*) from prescore.leases where expires_at > now()"
TABLE = "select to_regclass('prescore_versions.churn_v2') is not null"
SERVED = "select version, count(*) as n, count(distinct customer) as customers from predictions.churn group by version"


def test_a_triggered_run_publishes_every_row(standalone: Airflow) -> None:
    run = standalone.run()
    assert standalone.project.rows(SERVED) == [(1, 1000, 1000)]
    states = standalone.states(run)
    assert set(states.values()) == {"success"}
    assert sum(task.startswith("score[") for task in states) == 4
    events = standalone.client.get("/assets/events", params={"source_run_id": run}).json()["asset_events"]
    assert [(event["extra"]["version"], event["extra"]["rows"]) for event in events] == [(1, 1000)]


def test_a_killed_score_task_is_retried(standalone: Airflow) -> None:
    standalone.run()
    with standalone.project.database.connect() as blocking:
        run = standalone.trigger(full=True)
        until(lambda: standalone.project.rows(TABLE) == [(True,)], "the version's table exists")
        with blocking.transaction():
            blocking.execute("lock table prescore_versions.churn_v2 in share mode")
            victims = until(lambda: _scoring(standalone), "a task has the snapshot open and is blocked")
            os.kill(victims[0].pid, signal.SIGKILL)
            victims[0].wait(30)
    assert standalone.wait_for_end(run) == "success"
    assert standalone.project.rows(SERVED) == [(2, 1000, 1000)]
    chunks = "select count(*) as n, count(distinct chunk) as chunks from prescore.chunks where version = 2"
    assert standalone.project.rows(chunks) == [(10, 10)]
    response = standalone.client.get(f"/dags/{DAG}/dagRuns/{run}/taskInstances")
    tries = [ti["try_number"] for ti in response.json()["task_instances"] if ti["task_id"] == "score"]
    assert max(tries) == 2


def test_a_version_that_fails_its_checks_is_not_published(standalone: Airflow) -> None:
    standalone.run()
    standalone.project.onnx(linear([1.0, -0.5], add=5.0))
    run = standalone.trigger()
    assert standalone.wait_for_end(run) == "failed"
    assert {task: standalone.states(run)[task] for task in ("check", "publish", "release_lease")} == {
        "check": "failed",
        "publish": "upstream_failed",
        "release_lease": "success",
    }
    assert "Version 1 is still served." in standalone.log(run, "check")
    assert standalone.project.rows(SERVED) == [(1, 1000, 1000)]
    assert standalone.client.get("/assets/events", params={"source_run_id": run}).json()["asset_events"] == []


@pytest.mark.parametrize("answer", ["Approve", "Reject"])
def test_approval_publishes_and_rejection_skips_the_publication(standalone: Airflow, answer: str) -> None:
    standalone.run()
    standalone.project.onnx(linear([1.0, -0.5], 0.1))
    run = _run_until_approval(standalone)
    request = _approval_request(standalone, run)
    assert request["subject"] == "Publish churn version 2?"
    assert "| scores are probabilities | 0 unexpected values | 0 to 1 |" in request["body"]
    assert "Keys compared with version 1, which is served: 0 added, 0 vanished, 1,000 common" in request["body"]
    assert standalone.project.rows(LEASES) == [(0,)]
    _respond(standalone, run, answer)
    assert standalone.wait_for_end(run) == "success"
    decision = "approved" if answer == "Approve" else "rejected"
    events = "select event, actor, reason from prescore.events where version = 2 and actor = 'admin' order by id"
    published = [("published", "admin", None)] if answer == "Approve" else []
    assert standalone.project.rows(events) == [(decision, "admin", "by admin in Airflow"), *published]
    assert standalone.states(run)["publish"] == ("success" if answer == "Approve" else "skipped")
    assert standalone.project.rows(SERVED) == [(2 if answer == "Approve" else 1, 1000, 1000)]


def test_an_approved_version_is_not_published_if_another_one_is_served_by_then(standalone: Airflow) -> None:
    standalone.run()
    run = _run_until_approval(standalone)
    # The run that waits for approval does not block a later run.
    standalone.run(full=True)
    _respond(standalone, run, "Approve")
    assert standalone.wait_for_end(run) == "failed"
    log = standalone.log(run, "publish")
    assert "churn version 2 was compared with version 1, and version 3 is served now" in log
    assert standalone.project.rows(SERVED) == [(3, 1000, 1000)]


def test_a_cleared_run_shows_no_question_about_another_version(standalone: Airflow) -> None:
    standalone.run()
    run = _run_until_approval(standalone)
    standalone.project.onnx(linear([1.0, -0.5], 0.1))
    _clear(standalone, run, "snapshot", include_downstream=True)
    assert standalone.wait_for_end(run) == "failed"
    assert standalone.project.rows("select max(version) from prescore.versions") == [(3,)]
    log = standalone.log(run, "approve")
    assert "Airflow keeps the first question of a run, and shows 'Publish churn version 2?'" in log
    assert standalone.project.rows(SERVED) == [(1, 1000, 1000)]
    assert standalone.project.rows(LEASES) == [(0,)]


def test_an_approval_that_is_marked_as_success_publishes_nothing(standalone: Airflow) -> None:
    standalone.run()
    run = _run_until_approval(standalone)
    task = f"/dags/{DAG}/dagRuns/{run}/taskInstances/approve"
    standalone.client.patch(task, json={"new_state": "success"}).raise_for_status()
    assert standalone.wait_for_end(run) == "failed"
    assert "churn version 2 needs approval, and its approve task has no answer" in standalone.log(run, "publish")
    assert standalone.project.rows(SERVED) == [(1, 1000, 1000)]


def test_a_run_that_is_marked_as_failed_fails_and_releases_the_lease(standalone: Airflow) -> None:
    standalone.run()
    with standalone.project.database.connect() as blocking:
        run = standalone.trigger(full=True)
        until(lambda: standalone.project.rows(TABLE) == [(True,)], "the version's table exists")
        with blocking.transaction():
            blocking.execute("lock table prescore_versions.churn_v2 in share mode")
            until(lambda: _scoring(standalone), "a task has the snapshot open and is blocked")
            standalone.client.patch(f"/dags/{DAG}/dagRuns/{run}", json={"state": "failed"}).raise_for_status()
            until(lambda: standalone.states(run)["publish"] == "skipped", "the run is marked")
    assert standalone.wait_for_end(run) == "failed"
    assert "Nothing was published, because these tasks were skipped:" in standalone.log(run, "release_lease")
    assert standalone.project.rows(LEASES) == [(0,)]
    assert standalone.project.rows(SERVED) == [(1, 1000, 1000)]


def test_a_task_that_is_cleared_alone_leaves_the_lease_free(standalone: Airflow) -> None:
    run = standalone.run()
    for task in ("snapshot", "score", "stage", "check", "publish"):
        assert _clear(standalone, run, task) == {task}
        assert (task, standalone.wait_for_end(run)) == (task, "success")
        # Two tasks that end together leave it to expire.
        until(_is_lease_free(standalone), f"the lease is free after {task}")
    assert standalone.project.rows(SERVED) == [(2, 1000, 1000)]


@pytest.mark.parametrize(
    "form",
    [{"trial_rows": 0}, {"when_checked": "perhaps"}, {"as_of": "yesterday"}, {"as_of": "2027-12-31 noon"}, {"full": 7}],
)
def test_invalid_form_values_are_rejected(standalone: Airflow, form: dict[str, Any]) -> None:
    response = standalone.client.post(f"/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": form})
    field = next(iter(form))
    assert (response.status_code, field in response.text) == (400, True), response.text


def test_a_backfill_keeps_a_version_for_each_night(standalone: Airflow) -> None:
    nightly = cron_far_from_now()
    standalone.project.spec(SPEC + f'[schedule]\ncron = "{nightly}"\n')
    standalone.project.query(
        "select customer, visits, spend from read_parquet('data/customers.parquet') "
        "where customer < date_part('day', $as_of)"
    )
    dag = f"/dags/{DAG}"
    until(lambda: standalone.client.get(dag).json()["timetable_summary"] == nightly, "the schedule is loaded")
    standalone.run()
    request = {
        "dag_id": DAG,
        "from_date": "2026-01-07T00:00:00Z",
        "to_date": "2026-01-09T23:00:00Z",
        "run_backwards": False,
        "max_active_runs": 2,
    }
    response = standalone.client.post("/backfills", json=request)
    assert response.status_code == 200, response.text
    # An ordinary run takes its turn among those of the backfill.
    standalone.run(full=True)
    backfill = f"/backfills/{response.json()['id']}"
    until(lambda: standalone.client.get(backfill).json()["completed_at"], "the backfill is complete")
    versions = (
        "select extract(day from as_of)::int, rows, state from prescore.versions where as_of < '2026-02-01' order by 1"
    )
    assert standalone.project.rows(versions) == [(day, day, "checked") for day in (7, 8, 9)]


def _clear(standalone: Airflow, run: str, task: str, *, include_downstream: bool = False) -> set[str]:
    """Clear a task of a run, and return the names of the tasks that were cleared."""
    request = {
        "dry_run": False,
        "only_failed": False,
        "dag_run_id": run,
        "task_ids": [task],
        "include_downstream": include_downstream,
    }
    response = standalone.client.post(f"/dags/{DAG}/clearTaskInstances", json=request)
    assert response.status_code == 200, response.text
    return {ti["task_id"] for ti in response.json()["task_instances"]}


def _is_lease_free(standalone: Airflow) -> Callable[[], bool]:
    return lambda: standalone.project.rows(LEASES) == [(0,)]


def _run_until_approval(standalone: Airflow) -> str:
    """Trigger a run with approval, wait until it is requested, and return the run's id."""
    run = standalone.trigger(when_checked="ask for approval")
    until(lambda: standalone.states(run).get("approve") == "awaiting_input", "approval is requested")
    # Airflow 3.3 takes the task for lost if the response arrives before the scheduler has seen its process end.
    until(
        lambda: standalone.has_logged("TaskInstance Finished", "task_id=approve", run),
        "the process of the request has ended",
    )
    return run


def _approval_request(standalone: Airflow, run: str) -> dict[str, Any]:
    request: dict[str, Any] = standalone.client.get(_details(run)).raise_for_status().json()
    return request


def _respond(standalone: Airflow, run: str, choice: str) -> None:
    response = standalone.client.patch(_details(run), json={"chosen_options": [choice], "params_input": {}})
    assert response.status_code == 200, response.text


def _details(run: str) -> str:
    return f"/dags/{DAG}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"


def _scoring(standalone: Airflow) -> list[psutil.Process]:
    """Return the processes that are scoring chunks of a snapshot, once some of them wait for the locked table."""
    blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike 'copy %%churn_v2%%'"
    if standalone.project.rows(blocked) == [(0,)]:
        return []
    snapshots = str(store(standalone.project) / "snapshots")
    return [
        process
        for process in psutil.Process(standalone.process.pid).children(recursive=True)
        if _has_open(process, snapshots)
    ]


def _has_open(process: psutil.Process, folder: str) -> bool:
    try:
        return any(file.path.startswith(folder) for file in process.open_files())
    except psutil.Error:
        return False
