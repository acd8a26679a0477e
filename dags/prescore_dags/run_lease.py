"""The lease of a run: its snapshot task takes the model's lease, its release_lease task releases it.

A task that is cleared after its run has ended holds the lease only while it works. So does a task that runs without a
run of its own, under `airflow tasks test`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowRescheduleException

from prescore.errors import Busy, PrescoreError
from prescore_dags.environment import Environment

RELEASE_TASK = "release_lease"
_FIRST_WAIT = timedelta(seconds=10)
_LONGEST_WAIT = timedelta(minutes=1)
_END_STATES = {"success", "failed", "skipped", "upstream_failed", "removed"}
# What `airflow tasks test` calls the run that it makes up. No other task of it ever runs.
_TEMPORARY_RUN = "__airflow_temporary_run_"
_log = logging.getLogger("prescore")


def holder() -> str:
    """Return the name under which the current run holds its lease: the same for every attempt of every task."""
    run = get_current_context()["dag_run"]
    return f"Airflow run {run.run_id} of {run.dag_id}"


@contextmanager
def waiting() -> Iterator[None]:
    """Reschedule the task while another run holds the lease.

    Rescheduling frees the worker slot, which the other run may need, and uses up no retry. Each attempt is a process
    that imports Airflow, so the waits grow longer.
    """
    try:
        yield
    except Busy as busy:
        waits = get_current_context().get("task_reschedule_count") or 0
        wait = min(_FIRST_WAIT * 2 ** min(waits, 8), _LONGEST_WAIT)
        reason = str(busy).partition(". ")[0]
        _log.warning("%s. Trying again in %.0f s.", reason, wait.total_seconds())
        next_attempt = datetime.now(UTC) + wait
        raise AirflowRescheduleException(next_attempt) from busy  # type: ignore[no-untyped-call]


@contextmanager
def leaving(environment: Environment, model: str) -> Iterator[None]:
    """Release the lease at the end of a task unless the run still has its release_lease task to come.

    When release_lease has ended, Airflow does not run it again for a task that is cleared alone. When other tasks were
    cleared as well, the lease stays for two more minutes, so that they can continue it. Two tasks that end at the same
    moment may each see the other as unfinished, and then the lease expires by itself.
    """
    try:
        yield
    finally:
        unfinished = _unfinished_tasks()
        if RELEASE_TASK not in unfinished:
            _leave(environment, model, others=bool(unfinished))


def release(environment: Environment, model: str) -> None:
    """Release the current run's lease if it still holds it."""
    environment.call("upkeep.release_lease", model=model, holder=holder())


def task_states() -> dict[str, str | None]:
    """Return the states of the run's tasks for the same model, by name: `stage`, or `score_2` for a mapped one."""
    task = get_current_context()["ti"]
    states = task.get_task_states(dag_id=task.dag_id, run_ids=[task.run_id])[task.run_id]
    # In a task group, names begin with the ids of the groups.
    prefix = task.task_id.rpartition(".")[0]
    start = f"{prefix}." if prefix else ""
    return {name[len(start) :]: state for name, state in states.items() if name.startswith(start)}


def _leave(environment: Environment, model: str, *, others: bool) -> None:
    task = "upkeep.shorten_lease" if others else "upkeep.release_lease"
    try:
        environment.call(task, model=model, holder=holder())
    except PrescoreError as error:
        # The task's own result or error matters more. The lease expires by itself.
        _log.warning("The lease of %s was not released: %s", model, error)


def _unfinished_tasks() -> set[str]:
    """Return the names of the run's other tasks that have not ended."""
    task = get_current_context()["ti"]
    if task.run_id.startswith(_TEMPORARY_RUN):
        return set()
    unfinished = {other for other, state in task_states().items() if state not in _END_STATES}
    own = task.task_id.rpartition(".")[2]
    is_mapped = task.map_index is not None and task.map_index >= 0
    return unfinished - {f"{own}_{task.map_index}" if is_mapped else own}
