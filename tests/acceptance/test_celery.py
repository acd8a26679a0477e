"""Scoring on two workers, one of which is killed in the middle."""

from __future__ import annotations

import signal

from acceptance.fix_celery import WORKERS, Celery
from acceptance.fix_standalone import delete_versions, until

WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike '%%chunks%%'"
LEDGER = "select count(*) as n, count(distinct chunk) as chunks, sum(rows)::int as rows from prescore.chunks"
SERVED = "select count(*) as n, count(distinct customer) as customers from predictions.churn"


def test_a_worker_killed_during_scoring_loses_and_duplicates_no_chunk(celery: Celery) -> None:
    project = celery.project
    delete_versions(project)
    with project.database.connect() as blocking, blocking.transaction():
        # Tasks copy their first chunk and then block before its ledger row is written.
        blocking.execute("lock table prescore.chunks in share mode")
        run = celery.trigger()
        until(lambda: project.rows(WAITING)[0][0] >= 2, "several tasks block in the middle of a chunk")
        until(lambda: all(celery.received_tasks(worker) for worker in WORKERS), "both workers have tasks")
        celery.kill("second")
    assert celery.wait_for_end(run) == "success"
    assert project.rows(LEDGER) == [(10, 10, 1000)]
    assert project.rows(SERVED) == [(1000, 1000)]
    response = celery.client.get(f"/dags/prescore_churn/dagRuns/{run}/taskInstances")
    tries = [ti["try_number"] for ti in response.json()["task_instances"] if ti["task_id"] == "score"]
    assert max(tries) > 1


def test_queued_tasks_survive_a_crash_of_redis(celery: Celery) -> None:
    delete_versions(celery.project)
    celery.signal_workers(signal.SIGSTOP)
    try:
        run = celery.trigger()
        until(lambda: celery.states(run).get("snapshot") == "queued", "the first task is queued")
        celery.crash_redis()
    finally:
        celery.signal_workers(signal.SIGCONT)
    assert celery.wait_for_end(run) == "success"
    assert celery.project.rows(SERVED) == [(1000, 1000)]
