"""The two DAGs that cover all models: one watches ages and deadlines, one retires versions every night."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, task
from airflow.sdk.exceptions import AirflowFailException

from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog, Freshness
from prescore.catalog.database import environment_database
from prescore.errors import Mistake, SpecInvalid
from prescore.project.project import Project
from prescore.project.spec import Schedule
from prescore.wording import utc
from prescore_dags.schedule import missed_deadline, timetable
from prescore_dags.tasks import airflow_errors

WATCH = CronTriggerTimetable("*/5 * * * *", timezone="UTC")
RETIRE = CronTriggerTimetable("30 3 * * *", timezone="UTC")
_WATCH_DOC = "Fails while a served version is older than its max age, or while a model has missed its deadline."
_RETIRE_DOC = "Retires the versions that the specs no longer retain, with one task for each model."
_NEVER_RUN: dict[str, Any] = {"published_at": None, "first_run_at": None, "held": False}


@contextmanager
def _open_catalog() -> Iterator[Catalog | None]:
    """Yield the catalog, or None if the database has no catalog yet."""
    with environment_database().connect() as connection:
        yield Catalog(connection) if migrations.exists(connection) else None


@task
@airflow_errors()
def freshness(root: str) -> int:
    """Fail if the data of a served version is older than its max age; return the number of models watched.

    Models without a spec in the project are not watched. Without a catalog there is nothing to watch.
    """
    project = Project.find(Path(root))
    models = set(project.models())
    with _open_catalog() as catalog:
        rows = catalog.all("status_freshness") if catalog else []
    watched = [row for row in rows if row["model"] in models]
    stale = [_staleness(row) for row in watched if row["stale"]]
    if stale:
        raise AirflowFailException("Beyond their max age: " + "; ".join(stale))
    return len(watched)


def _staleness(row: Freshness) -> str:
    version = f"{row['model']} version {row['version']}"
    data_as_of = utc(row["data_as_of"])
    age = timedelta(seconds=int(row["age_seconds"]))
    # A stale row has a max age: without one, nothing is stale.
    max_age = timedelta(seconds=row["max_age_seconds"] or 0)
    held = " (on hold)" if row["held"] else ""
    return f"{version} has data as of {data_as_of}, {age} old with a max age of {max_age}{held}"


@task
@airflow_errors()
def retire(model: str, root: str) -> list[int]:
    """Retire the versions that a model's spec no longer retains, and return their numbers.

    A version that is still being read stays until the next night. Without a catalog there is nothing to retire.
    """
    from prescore.store.store import Store
    from prescore.versions import retention

    project = Project.find(Path(root))
    with _open_catalog() as catalog:
        # The model may never have been run on this database.
        if catalog is None or catalog.one("models_get", model=model) is None:
            return []
        spec = project.spec(model)
        store = Store(project.store, catalog.name)
        retired = retention.retire(catalog.connection, store, model, spec.retention)
        # `retire` is a generator: each version is retired when it is read from it.
        return [version["version"] for version in retired]


@task
@airflow_errors()
def deadlines(root: str) -> int:
    """Fail if a model was not published by its deadline, `schedule.published_by`; return the number of deadlines.

    Without a catalog no model has ever been published.
    """
    project = Project.find(Path(root))
    now = datetime.now(UTC)
    with _open_catalog() as catalog:
        # Without a catalog, no model was ever published, and a deadline is missed all the more.
        rows = catalog.all("status_publications") if catalog else []
    publications = {row["model"]: row for row in rows}
    schedules, problems = _deadline_schedules(project)
    for model, schedule in schedules.items():
        row = publications.get(model, _NEVER_RUN)
        published_at = row["published_at"] or _added_at(project, model, row["first_run_at"])
        deadline = missed_deadline(schedule, published_at, now)
        if deadline is not None:
            problems.append(_lateness(model, row, deadline))
    if problems:
        raise AirflowFailException("Not published in time: " + "; ".join(problems))
    return len(schedules)


def _deadline_schedules(project: Project) -> tuple[dict[str, Schedule], list[str]]:
    """Return the schedule of each model with a deadline, and a sentence about each one that Airflow cannot read.

    Airflow never starts a run of such a model, so no other task reports it. Models without a valid spec are left out:
    their own runs fail.
    """
    schedules: dict[str, Schedule] = {}
    problems: list[str] = []
    for model in project.models():
        try:
            schedule = project.spec(model).schedule
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


def _added_at(project: Project, model: str, first_run_at: datetime | None) -> datetime:
    """Return since when a model that was never published could have been: its first run or its spec file's time."""
    spec_file = project.root / "specs" / f"{model}.toml"
    modified_at = datetime.fromtimestamp(spec_file.stat().st_mtime, UTC)
    if first_run_at is None:
        return modified_at
    return min(modified_at, first_run_at)


def _lateness(model: str, row: dict[str, Any], deadline: datetime) -> str:
    due = f"{deadline:%Y-%m-%d %H:%M %Z}"
    held = " (on hold)" if row["held"] else ""
    if row["published_at"] is None:
        return f"{model} was due by {due} and was never published{held}"
    last = utc(row["published_at"])
    return f"{model} was due by {due} and was last published at {last}{held}"


def watch_dag(project: Project, suffix: str, **dag_options: Any) -> DAG:
    """Build the DAG `prescore_watch`, which fails while something is stale or late."""
    options = {"max_active_runs": 1, **dag_options}
    root = str(project.root)
    with DAG(
        dag_id=f"prescore_watch{suffix}",
        schedule=WATCH,
        doc_md=_WATCH_DOC,
        **options,
    ) as dag:
        freshness(root)
        deadlines(root)
    return dag


def retire_dag(project: Project, suffix: str, **dag_options: Any) -> DAG:
    """Build the DAG `prescore_retire`."""
    options = {"max_active_runs": 1, **dag_options}
    root = str(project.root)
    with DAG(
        dag_id=f"prescore_retire{suffix}",
        schedule=RETIRE,
        doc_md=_RETIRE_DOC,
        **options,
    ) as dag:
        retire.partial(root=root).expand(model=project.models())
    return dag
