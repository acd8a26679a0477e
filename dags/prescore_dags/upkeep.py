"""The two DAGs that cover all models: one watches ages and deadlines, one retires versions every night."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, task
from airflow.sdk.exceptions import AirflowFailException

from prescore.errors import Mistake, SpecInvalid
from prescore.project import folder
from prescore.wording import utc
from prescore_dags.environment import Environment, airflow_errors
from prescore_dags.schedule import Schedule, missed_deadline, timetable

WATCH = CronTriggerTimetable("*/5 * * * *", timezone="UTC")
RETIRE = CronTriggerTimetable("30 3 * * *", timezone="UTC")
_WATCH_DOC = "Fails while a served version is older than its max age, or while a model has missed its deadline."
_RETIRE_DOC = "Retires the versions that the specs no longer retain, with one task for each model."
_NEVER_RUN: dict[str, Any] = {"published_at": None, "first_run_at": None, "held": False}


@task
@airflow_errors()
def freshness(environment: Environment, models: list[str]) -> int:
    """Fail if the data of a served version is older than its max age; return the number of models watched.

    Models without a spec in the project are not watched. Without a catalog there is nothing to watch.
    """
    stale = environment.call("upkeep.freshness", models=models)
    if stale:
        raise AirflowFailException("Beyond their max age: " + "; ".join(stale))
    return len(models)


@task
@airflow_errors()
def retire(environment: Environment, model: str, root: str) -> Any:
    """Retire the versions that a model's spec no longer retains, and return their numbers.

    A version that is still being read stays until the next night. Without a catalog there is nothing to retire.
    """
    return environment.call("upkeep.retire", model=model, root=root)


@task
@airflow_errors()
def deadlines(environment: Environment, models: list[str], root: str) -> int:
    """Fail if a model was not published by its deadline, `schedule.published_by`; return the number of deadlines.

    Without a catalog no model has ever been published, and a deadline is missed all the more.
    """
    now = datetime.now(UTC)
    rows = environment.call("upkeep.publications")
    publications = {row["model"]: row for row in rows}
    schedules, problems = _deadline_schedules(Path(root), models)
    for model, schedule in schedules.items():
        row = publications.get(model, _NEVER_RUN)
        published_at = _time(row["published_at"]) or _added_at(Path(root), model, _time(row["first_run_at"]))
        deadline = missed_deadline(schedule, published_at, now)
        if deadline is not None:
            problems.append(_lateness(model, row, deadline))
    if problems:
        raise AirflowFailException("Not published in time: " + "; ".join(problems))
    return len(schedules)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _deadline_schedules(root: Path, models: Sequence[str]) -> tuple[dict[str, Schedule], list[str]]:
    """Return the schedule of each model with a deadline, and a sentence about each one that Airflow cannot read.

    Airflow never starts a run of such a model, so no other task reports it. Models whose schedule is not valid are
    left out: their own runs fail.
    """
    schedules: dict[str, Schedule] = {}
    problems: list[str] = []
    for model in models:
        try:
            schedule = Schedule.read(folder.spec_file(root, model))
        except (Mistake, OSError):
            continue
        if schedule is None or schedule.published_by is None:
            continue
        try:
            timetable(schedule)
        except SpecInvalid as error:
            problems.append(f"{model} has a deadline that cannot be computed ({error})")
        else:
            schedules[model] = schedule
    return schedules, problems


def _added_at(root: Path, model: str, first_run_at: datetime | None) -> datetime:
    """Return since when a model that was never published could have been: its first run or its spec file's time."""
    spec_file = folder.spec_file(root, model)
    modified_at = datetime.fromtimestamp(spec_file.stat().st_mtime, UTC)
    if first_run_at is None:
        return modified_at
    return min(modified_at, first_run_at)


def _lateness(model: str, row: dict[str, Any], deadline: datetime) -> str:
    due = f"{deadline:%Y-%m-%d %H:%M %Z}"
    held = " (on hold)" if row["held"] else ""
    if row["published_at"] is None:
        return f"{model} was due by {due} and was never published{held}"
    last = utc(datetime.fromisoformat(row["published_at"]))
    return f"{model} was due by {due} and was last published at {last}{held}"


def watch_dag(
    root: Path,
    models: list[str],
    environment: Environment,
    suffix: str,
    **dag_options: Any,
) -> DAG:
    """Build the DAG `prescore_watch`, which fails while something is stale or late."""
    options = {"schedule": WATCH, "doc_md": _WATCH_DOC, "max_active_runs": 1, **dag_options}
    with DAG(dag_id=f"prescore_watch{suffix}", **options) as dag:
        freshness(environment, models)
        deadlines(environment, models, str(root))
    return dag


def retire_dag(
    root: Path,
    models: list[str],
    environment: Environment,
    suffix: str,
    **dag_options: Any,
) -> DAG:
    """Build the DAG `prescore_retire`."""
    options = {"schedule": RETIRE, "doc_md": _RETIRE_DOC, "max_active_runs": 1, **dag_options}
    with DAG(dag_id=f"prescore_retire{suffix}", **options) as dag:
        retire.partial(environment=environment, root=str(root)).expand(model=models)
    return dag
