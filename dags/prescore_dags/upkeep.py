"""What happens to all models: a look at ages and deadlines every few minutes, and retirement every night."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, task
from airflow.sdk.exceptions import AirflowFailException

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import environment_database
from prescore.errors import Mistake, SpecInvalid
from prescore.project.project import Project
from prescore.project.spec import Schedule
from prescore_dags.schedule import missed, timetable
from prescore_dags.tasks import told

WATCH = CronTriggerTimetable("*/5 * * * *", timezone="UTC")
RETIRE = CronTriggerTimetable("30 3 * * *", timezone="UTC")
_NEVER: dict[str, Any] = {"published_at": None, "first_run_at": None, "held": False}


@task
@told()
def freshness(root: str) -> int:
    """Fail when a model is older than its owner promised; gives how many there are.

    A model whose spec is gone from the project is nobody's promise any more.
    """
    known = set(Project.find(Path(root)).models())
    with environment_database().connect() as connection:
        models = [row for row in Catalog(connection).all("status_freshness") if row["model"] in known]
    late = [
        f"{row['model']} version {row['version']} is of {row['data_as_of']:%Y-%m-%d %H:%M} UTC, "
        f"{timedelta(seconds=int(row['age_seconds']))} ago; promised are {timedelta(seconds=row['max_age_seconds'])}"
        + (" (it is on hold)" if row["held"] else "")
        for row in models
        if row["stale"]
    ]
    if late:
        raise AirflowFailException("Older than promised: " + "; ".join(late))
    return len(models)


@task
@told()
def retire(model: str, root: str) -> list[int]:
    """Retire what a model's spec no longer asks for; gives the versions. What is still being read waits a night."""
    from prescore.store.store import Store
    from prescore.versions import retention

    project = Project.find(Path(root))
    with environment_database().connect() as connection:
        # It was never run here.
        if Catalog(connection).one("models_get", model=model) is None:
            return []
        gone = retention.retire(
            connection, Store(project.store, Catalog(connection).name), model, project.spec(model).retention
        )
        return [version["version"] for version in gone]


@task
@told()
def deadlines(root: str) -> int:
    """Fail when a model was not published by the time that its spec gives; gives how many have such a time."""
    project, now = Project.find(Path(root)), datetime.now(UTC)
    with environment_database().connect() as connection:
        rows = {row["model"]: row for row in Catalog(connection).all("status_publications")}
    found = {model: _late(project, model, rows.get(model, _NEVER), now) for model in project.models()}
    if late := [told for told in found.values() if told]:
        raise AirflowFailException("Not published in time: " + "; ".join(late))
    return sum(told is not None for told in found.values())


def _late(project: Project, model: str, row: dict[str, Any], now: datetime) -> str | None:
    """What there is to tell of a model that has a deadline, "" when all is well; None for one that has none."""
    try:
        if (schedule := _promise(project, model)) is None:
            return None
    except (
        SpecInvalid
    ) as error:  # it is never due, so that no run of it fails: others have their deadlines all the same
        return f"{model}, of which nobody knows when it is due ({error})"
    when = missed(schedule, row["published_at"] or _appeared(project, model, row["first_run_at"]), now)
    return _told(model, row, when) if when else ""


def _appeared(project: Project, model: str, first_run_at: datetime | None) -> datetime:
    """Since when a model that was never published might have been: since there is its spec, or its first run."""
    written = datetime.fromtimestamp((project.root / "specs" / f"{model}.toml").stat().st_mtime, UTC)
    return min(written, first_run_at or written)


def _told(model: str, row: dict[str, Any], when: datetime) -> str:
    last = row["published_at"]
    return (
        f"{model} was to be published by {when:%Y-%m-%d %H:%M %Z}, and "
        + (f"was last published at {last:%Y-%m-%d %H:%M} UTC" if last else "never was")
        + (" (it is on hold)" if row["held"] else "")
    )


def _promise(project: Project, model: str) -> Schedule | None:
    """A model's schedule if it has a deadline; raises SpecInvalid for one that Airflow cannot read.

    One without a spec, or with one that is broken elsewhere, fails elsewhere.
    """
    try:
        schedule = project.spec(model).schedule
    except (Mistake, OSError):
        return None
    if schedule is None or schedule.published_by is None:
        return None
    timetable(schedule)
    return schedule


def watch_dag(project: Project, suffix: str, **more: Any) -> DAG:
    """`prescore_watch`: red while a model is older than promised, or was not published in time."""
    with DAG(
        dag_id=f"prescore_watch{suffix}", schedule=WATCH, doc_md=watch_dag.__doc__, **{"max_active_runs": 1, **more}
    ) as dag:
        freshness(str(project.root))
        deadlines(str(project.root))
    return dag


def retire_dag(project: Project, suffix: str, **more: Any) -> DAG:
    """`prescore_retire`: a task a model."""
    with DAG(
        dag_id=f"prescore_retire{suffix}", schedule=RETIRE, doc_md=retire.__doc__, **{"max_active_runs": 1, **more}
    ) as dag:
        retire.partial(root=str(project.root)).expand(model=project.models())
    return dag
