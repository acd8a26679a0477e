"""The lease of a DAG run: its snapshot task takes the model's lease, its release_lease task releases it.

A task that is cleared after its run has ended holds the lease only while it works.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowRescheduleException

from prescore.catalog import migrations
from prescore.catalog.database import environment_database
from prescore.errors import Busy, LeaseLost
from prescore.versions import lease
from prescore.versions.lease import Lease

if TYPE_CHECKING:
    from prescore.run.job import Job

RETRY_INTERVAL = timedelta(seconds=10)
RELEASE_TASK_ID = "release_lease"
_END_STATES = {"success", "failed", "skipped", "upstream_failed", "removed"}
_log = logging.getLogger("prescore")


def holder() -> str:
    """Return the name under which the current run holds its lease: the same for every attempt of every task."""
    run = get_current_context()["dag_run"]
    return f"Airflow run {run.run_id} of {run.dag_id}"


def acquire(job: Job) -> Lease:
    """Take the model's lease for the current run; reschedule the task while another run holds it.

    Rescheduling frees the worker slot, which the other run may need, and uses up no retry.
    """
    try:
        with job.database.connect() as connection:
            return lease.acquire(
                connection,
                job.model,
                watched=False,
                seconds=lease.TASK_EXPIRY_SECONDS,
                holder=holder(),
            )
    except Busy as busy:
        reason = str(busy).partition(". ")[0]
        _log.warning("%s. Trying again in %.0f s.", reason, RETRY_INTERVAL.total_seconds())
        next_attempt = datetime.now(UTC) + RETRY_INTERVAL
        raise AirflowRescheduleException(next_attempt) from busy  # type: ignore[no-untyped-call]


@contextmanager
def keeping(job: Job, run_lease: Lease) -> Iterator[Lease]:
    """Renew the run's lease while one task works; raise LeaseLost if another run has taken it since."""
    try:
        _require_current(job, run_lease)
        with lease.continuing(job.database, run_lease) as kept:
            yield kept
    finally:
        _leave(job, run_lease)


def release() -> None:
    """Release the current run's lease if it still holds it."""
    with environment_database().connect() as connection:
        # The first run on a database can end before there is a catalog.
        if migrations.exists(connection):
            lease.release_held_by(connection, holder())


def _require_current(job: Job, run_lease: Lease) -> None:
    with job.database.connect() as connection:
        token = lease.renew(connection, run_lease, lease.TASK_EXPIRY_SECONDS)
    if token is None:
        raise LeaseLost(
            f"Another run of {job.model} has taken the lease since this run held it. This task wrote nothing, and the "
            "unfinished version may belong to the other run by now. Trigger a new run, which resumes what can be "
            "resumed, or clear the snapshot task together with its downstream tasks."
        )


def _leave(job: Job, run_lease: Lease) -> None:
    """Release the lease at the end of a task unless the run still has its release_lease task to come.

    When release_lease has ended, Airflow does not run it again for a task that is cleared alone. When other tasks were
    cleared as well, the lease stays for two more minutes, so that they can continue it. Two tasks that end at the same
    moment may each see the other as unfinished, and then the lease expires by itself.
    """
    unfinished = _unfinished_tasks()
    if RELEASE_TASK_ID in unfinished:
        return
    with job.database.connect() as connection:
        if unfinished:
            lease.renew(connection, run_lease)
        else:
            lease.release(connection, run_lease)


def _unfinished_tasks() -> set[str]:
    """Return the names of the run's other tasks that have not ended: `stage`, or `score_2` for a mapped one."""
    task = get_current_context()["ti"]
    is_mapped = task.map_index is not None and task.map_index >= 0
    name = f"{task.task_id}_{task.map_index}" if is_mapped else task.task_id
    states = task.get_task_states(dag_id=task.dag_id, run_ids=[task.run_id])[task.run_id]
    unfinished = {other for other, state in states.items() if state not in _END_STATES}
    return unfinished - {name}
