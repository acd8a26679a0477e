"""What happens to all models: a look at their age every few minutes, and retirement every night."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, task
from airflow.sdk.exceptions import AirflowFailException

from prescore.contract.catalog import Catalog
from prescore.contract.database import environment_database
from prescore.contract.project import Project
from prescore_dags.tasks import told

WATCH = CronTriggerTimetable("*/5 * * * *", timezone="UTC")
RETIRE = CronTriggerTimetable("30 3 * * *", timezone="UTC")


@task
@told()
def freshness() -> int:
    """Fail when a model is older than its owner promised; gives how many there are."""
    with environment_database().connect() as connection:
        models = Catalog(connection).all("status_freshness")
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
    from prescore import retirement
    from prescore.store import Store

    project = Project.find(Path(root))
    with environment_database().connect() as connection:
        if Catalog(connection).one("models_get", model=model) is None:  # it was never run here
            return []
        gone = retirement.retire(connection, Store(project.store), model, project.spec(model).retention)
        return [version["version"] for version in gone]


def watch_dag(**more: Any) -> DAG:
    """`prescore_watch`: red while a model is older than promised."""
    with DAG(dag_id="prescore_watch", schedule=WATCH, doc_md=freshness.__doc__, **more) as dag:
        freshness()
    return dag


def retire_dag(project: Project, **more: Any) -> DAG:
    """`prescore_retire`: a task a model."""
    with DAG(dag_id="prescore_retire", schedule=RETIRE, doc_md=retire.__doc__, **more) as dag:
        retire.partial(root=str(project.root)).expand(model=project.models())
    return dag
