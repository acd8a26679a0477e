"""Whose turn it is: a run has its model's lease from its snapshot task on, and until release_lease.

A task that is cleared alone, when all that is over, has it for as long as it works.
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

AGAIN = timedelta(seconds=10)
RELEASE_LEASE = "release_lease"
_ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}
_log = logging.getLogger("prescore")


def holder() -> str:
    """The run's name on its lease: an attempt that comes after another in the same run has the same."""
    run = get_current_context()["dag_run"]
    return f"Airflow run {run.run_id} of {run.dag_id}"


def take(job: Job) -> Lease:
    """The lease. While another run has it this task comes again later: a backfill and the nightly run take turns.

    It waits outside of its worker, whose place the run that it waits for may need, and no retry is spent on it.
    """
    try:
        with job.database.connect() as connection:
            return lease.acquire(
                connection, job.model, watched=False, seconds=lease.TASK_EXPIRY_SECONDS, holder=holder()
            )
    except Busy as busy:
        _log.warning("%s Looking again in %.0f s.", str(busy).partition(". ")[0], AGAIN.total_seconds())
        raise AirflowRescheduleException(datetime.now(UTC) + AGAIN) from busy  # type: ignore[no-untyped-call]


@contextmanager
def kept(job: Job, mine: Lease) -> Iterator[Lease]:
    """Keep the run's lease for one task; raises LeaseLost when another run has had it since it was taken."""
    try:
        _require(job, mine)
        with lease.continuing(job.database, mine) as held:
            yield held
    finally:
        _leave(job, mine)


def free() -> None:
    """Give back the run's lease, if it has it."""
    with environment_database().connect() as connection:
        # A first run may have ended before there was a catalog.
        if migrations.exists(connection):
            lease.release_held_by(connection, holder())


def _require(job: Job, mine: Lease) -> None:
    with job.database.connect() as connection:
        if lease.renew(connection, mine, lease.TASK_EXPIRY_SECONDS) is None:
            raise LeaseLost(
                f"Another run of {job.model} has taken the lease since this run had it, so what this one left "
                "unfinished is not for this task to finish; it wrote nothing. A new run goes on with what is still of "
                "use: trigger one, or clear the snapshot task together with those after it."
            )


def _leave(job: Job, mine: Lease) -> None:
    """After a task: once the run's release_lease is over, which does not run again by itself, it is for the task to free.

    Others that were cleared with it are given two minutes to come for the lease: among tasks that end at one moment
    each may still see the other.
    """
    left = _left()
    if RELEASE_LEASE in left:
        return
    with job.database.connect() as connection:
        if left:
            lease.renew(connection, mine)
        else:
            lease.release(connection, mine)


def _left() -> set[str]:
    """The tasks of this run, but for this one, that have not come to their end."""
    this = get_current_context()["ti"]
    name = this.task_id if this.map_index is None or this.map_index < 0 else f"{this.task_id}_{this.map_index}"
    states = this.get_task_states(dag_id=this.dag_id, run_ids=[this.run_id])[this.run_id]
    return {task for task, state in states.items() if task != name and state not in _ENDED}
