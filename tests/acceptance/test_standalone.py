"""Whole runs under Airflow as a person has it: triggered as the UI does, watched, killed, approved."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from acceptance.fix_standalone import DAG, Airflow, store, until
from fix_project import SPEC, linear
from prescore.versions import lease

SERVED = "select version, count(*) as n, count(distinct customer) as customers from predictions.churn group by version"


def test_a_triggered_run_publishes_every_row(standalone: Airflow) -> None:
    run = standalone.run()
    assert standalone.project.rows(SERVED) == [(1, 1000, 1000)]
    states = standalone.states(run)
    assert set(states.values()) == {"success"}
    assert sum(task.startswith("score[") for task in states) == 4
    events = standalone.client.get("/assets/events", params={"source_run_id": run}).json()["asset_events"]
    assert [(event["extra"]["version"], event["extra"]["rows"]) for event in events] == [(1, 1000)]


def test_a_score_task_that_is_killed_is_tried_again(standalone: Airflow) -> None:
    standalone.run()
    with standalone.project.database.connect() as blocking:
        run = standalone.trigger(full=True)
        until(
            lambda: (
                standalone.project.rows("select to_regclass('prescore_versions.churn_v2') is not null") == [(True,)]
            ),
            "there is a table to fill",
        )
        with blocking.transaction():
            blocking.execute("lock table prescore_versions.churn_v2 in share mode")
            victims = until(lambda: _scoring(standalone), "a task holds the snapshot open and waits")
            os.kill(victims[0].pid, signal.SIGKILL)
            victims[0].wait(30)
    assert standalone.ended(run) == "success"
    assert standalone.project.rows(SERVED) == [(2, 1000, 1000)]
    chunks = "select count(*) as n, count(distinct chunk) as chunks from prescore.chunks where version = 2"
    assert standalone.project.rows(chunks) == [(10, 10)]
    tries = standalone.client.get(f"/dags/{DAG}/dagRuns/{run}/taskInstances").json()["task_instances"]
    assert max(ti["try_number"] for ti in tries if ti["task_id"] == "score") == 2


def test_a_version_that_fails_its_checks_is_not_seen(standalone: Airflow) -> None:
    standalone.run()
    standalone.project.onnx(linear([1.0, -0.5], add=5.0))
    run = standalone.trigger()
    assert standalone.ended(run) == "failed"
    assert {task: standalone.states(run)[task] for task in ("check", "publish", "release_lease")} == {
        "check": "failed",
        "publish": "upstream_failed",
        "release_lease": "success",
    }
    assert "Version 1 is still served." in standalone.log(run, "check")
    assert standalone.project.rows(SERVED) == [(1, 1000, 1000)]
    assert standalone.client.get("/assets/events", params={"source_run_id": run}).json()["asset_events"] == []


@pytest.mark.parametrize("answer", ["Approve", "Reject"])
def test_a_person_decides(standalone: Airflow, answer: str) -> None:
    standalone.run()
    standalone.project.onnx(linear([1.0, -0.5], 0.1))
    run = _asked(standalone)
    told = _question(standalone, run)
    assert told["subject"] == "Publish churn version 2?"
    assert "| scores are probabilities | 0 values off | 0 to 1 |" in told["body"]
    assert "Keys, against version 1, which is served: 0 added, 0 vanished, 1,000 common" in told["body"]
    assert standalone.project.rows("select count(*) from prescore.leases where expires_at > now()") == [(0,)]
    _answer(standalone, run, answer)
    assert standalone.ended(run) == "success"
    said = "approved" if answer == "Approve" else "rejected"
    events = "select event, reason from prescore.events where version = 2 and event in ('approved', 'rejected')"
    assert standalone.project.rows(events) == [(said, "by admin in Airflow")]
    assert standalone.states(run)["publish"] == ("success" if answer == "Approve" else "skipped")
    assert standalone.project.rows(SERVED) == [(2 if answer == "Approve" else 1, 1000, 1000)]


def test_what_was_compared_with_something_else_is_not_published(standalone: Airflow) -> None:
    standalone.run()
    run = _asked(standalone)
    # A run of another night; the one that waits is in nobody's way.
    standalone.run(full=True)
    _answer(standalone, run, "Approve")
    assert standalone.ended(run) == "failed"
    assert "churn version 2 was compared with version 1, and by now version 3 is served" in standalone.log(
        run, "publish"
    )
    assert standalone.project.rows(SERVED) == [(3, 1000, 1000)]


def test_whatever_is_cleared_alone_keeps_nobody_waiting(standalone: Airflow) -> None:
    run = standalone.run()
    for task in ("snapshot", "score", "stage", "check", "publish"):
        asked = {"dry_run": False, "only_failed": False, "dag_run_id": run, "task_ids": [task]}
        answer = standalone.client.post(f"/dags/{DAG}/clearTaskInstances", json=asked)
        assert answer.status_code == 200, answer.text
        assert {ti["task_id"] for ti in answer.json()["task_instances"]} == {task}
        assert (task, standalone.ended(run)) == (task, "success")
        until(_no_lease(standalone), f"the lease is free after {task}", seconds=lease.EXPIRY_SECONDS * 1.5)
    assert standalone.project.rows(SERVED) == [(2, 1000, 1000)]


@pytest.mark.parametrize(
    "form",
    [{"trial_rows": 0}, {"when_checked": "perhaps"}, {"as_of": "yesterday"}, {"as_of": "2027-12-31 noon"}, {"full": 7}],
)
def test_a_form_that_makes_no_sense_is_refused(standalone: Airflow, form: dict[str, Any]) -> None:
    answer = standalone.client.post(f"/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": form})
    assert (answer.status_code, next(iter(form)) in answer.text) == (400, True), answer.text


def test_a_backfill_makes_what_each_night_would_have_made(standalone: Airflow) -> None:
    standalone.project.spec(SPEC + '[schedule]\ncron = "0 5 * * *"\n')
    standalone.project.query(
        "select customer, visits, spend from read_parquet('data/customers.parquet') "
        "where customer < date_part('day', $as_of)"
    )
    until(lambda: standalone.client.get(f"/dags/{DAG}").json()["timetable_summary"] == "0 5 * * *", "it is scheduled")
    standalone.run()
    asked = {"dag_id": DAG, "from_date": "2026-01-07T00:00:00Z", "to_date": "2026-01-09T23:00:00Z"}
    answer = standalone.client.post("/backfills", json={**asked, "run_backwards": False, "max_active_runs": 2})
    assert answer.status_code == 200, answer.text
    standalone.run(full=True)  # in between
    backfill = answer.json()["id"]
    until(lambda: standalone.client.get(f"/backfills/{backfill}").json()["completed_at"], "the nights are made")
    made = (
        "select extract(day from as_of)::int, rows, state from prescore.versions where as_of < '2026-02-01' order by 1"
    )
    assert standalone.project.rows(made) == [(day, day, "checked") for day in (7, 8, 9)]


def _no_lease(standalone: Airflow) -> Callable[[], bool]:
    return lambda: standalone.project.rows("select count(*) from prescore.leases where expires_at > now()") == [(0,)]


def _asked(standalone: Airflow) -> str:
    run = standalone.trigger(when_checked="ask for approval")
    until(lambda: standalone.states(run).get("approve") == "awaiting_input", "somebody is asked")
    # Airflow 3.3 takes an answer of the same second, before it has heard that the asking ended, for a lost task.
    until(lambda: standalone.has_logged("TaskInstance Finished", "task_id=approve", run), "the asking has ended")
    return run


def _question(standalone: Airflow, run: str) -> dict[str, Any]:
    found: dict[str, Any] = standalone.client.get(_details(run)).raise_for_status().json()
    return found


def _answer(standalone: Airflow, run: str, answer: str) -> None:
    said = standalone.client.patch(_details(run), json={"chosen_options": [answer], "params_input": {}})
    assert said.status_code == 200, said.text


def _details(run: str) -> str:
    return f"/dags/{DAG}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"


def _scoring(standalone: Airflow) -> list[psutil.Process]:
    """The processes in which the chunks of a snapshot are being scored, while some of them wait for the table."""
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike 'copy %%churn_v2%%'"
    if standalone.project.rows(waiting) == [(0,)]:
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
