"""Scoring shared out over workers, one of which is killed in the middle of it."""

from __future__ import annotations

from acceptance.fix_celery import WORKERS, Celery
from acceptance.fix_standalone import recreate_catalog, until

WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike '%%chunks%%'"
LEDGER = "select count(*) as n, count(distinct chunk) as chunks, sum(rows)::int as rows from prescore.chunks"
SERVED = "select count(*) as n, count(distinct customer) as customers from predictions.churn"


def test_a_worker_that_is_killed_in_the_middle_of_scoring_costs_no_chunk_and_doubles_none(celery: Celery) -> None:
    project = celery.project
    recreate_catalog(project)
    with project.database.connect() as blocking, blocking.transaction():
        # Chunks are copied in, and wait to be noted.
        blocking.execute("lock table prescore.chunks in share mode")
        run = celery.trigger()
        until(lambda: project.rows(WAITING)[0][0] >= 2, "several tasks wait in the middle of a chunk")
        until(lambda: all(celery.taken(worker) for worker in WORKERS), "both workers have tasks")
        celery.kill("second")
    assert celery.ended(run) == "success"
    assert project.rows(LEDGER) == [(10, 10, 1000)]
    assert project.rows(SERVED) == [(1000, 1000)]
    tries = celery.client.get(f"/dags/prescore_churn/dagRuns/{run}/taskInstances").json()["task_instances"]
    assert max(ti["try_number"] for ti in tries if ti["task_id"] == "score") > 1
