"""Airflow in a process of its own: reads what to do as a line of JSON, answers with a line of JSON, logs to a file.

    python airflow_runner.py LOG

The suite's process never imports Airflow: it changes logging, warnings and signal handlers of the process that does.
One process serves many tests, since importing Airflow and Great Expectations takes seconds.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any


def main(log: Path) -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for line in sys.stdin:
        try:
            answer = answered(**json.loads(line))
        except BaseException:
            answer = {"crash": traceback.format_exc()}
        sys.stdout.flush()
        print(json.dumps(answer), file=answers, flush=True)


def answered(what: str, environment: dict[str, str | None], **arguments: Any) -> dict[str, Any]:
    """Call the function of this name in an environment; None takes a variable away."""
    for name, value in environment.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    answer: dict[str, Any] = globals()[what](**arguments)
    return answer


def load(folder: str) -> dict[str, Any]:
    """The DAGs of a folder, what went wrong, and what reading them imported and opened."""
    from airflow.dag_processing.dagbag import DagBag

    opened: list[str] = []
    sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
    before = set(sys.modules)
    bag = DagBag(folder)
    return {
        "errors": bag.import_errors,
        "imported": sorted({name.partition(".")[0] for name in set(sys.modules) - before}),
        "opened": sorted(set(opened)),
        "dags": {dag_id: described(dag) for dag_id, dag in bag.dags.items()},
    }


def described(dag: Any) -> dict[str, Any]:
    """A DAG as the scheduler has it: `runs` are those of three nights around a change to summer time, in UTC."""
    from airflow.sdk.timezone import parse
    from airflow.serialization.serialized_objects import DagSerialization

    scheduled = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    infos = scheduled.iter_dagrun_infos_between(parse("2026-03-07T00:00:00+00:00"), parse("2026-03-10T00:00:00+00:00"))
    return {
        "runs": [info.run_after.isoformat() for info in infos],
        "assets": sorted(getattr(ref, "name", None) or ref.uri for ref in _waited_for(scheduled)),
        "catchup": dag.catchup,
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
        "retries": {task.task_id: task.retries for task in dag.tasks},
    }


def _waited_for(dag: Any) -> Any:
    """The references to assets whose events begin a run."""
    condition = getattr(dag.timetable, "asset_condition", None)
    return condition.iter_asset_refs() if condition else ()


def run(folder: str, dag_id: str, when: str, impatient: bool, form: dict[str, Any]) -> dict[str, Any]:
    """The run of that time, cleared if it was there. `impatient`: retry at once; `form`: what its trigger chose."""
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(folder).dags[dag_id]
    for task in dag.tasks if impatient else []:
        task.retry_delay, task.retry_exponential_backoff = timedelta(0), 0
    at = datetime.fromisoformat(when)
    return seen(dag.test(logical_date=at, run_after=at, run_conf=form))


def cleared(dag_id: str, when: str, task_id: str, map_index: int) -> dict[str, Any]:
    """One task of that run as somebody leaves it who clears it: it is to run, and has not begun."""
    run = _run(dag_id, when)
    run.get_task_instance(task_id, map_index=map_index).set_state(None)
    return seen(run)


def again(dag_id: str, when: str, task_id: str, map_index: int) -> dict[str, Any]:
    """One task of that run once more, with what the others told it then."""
    from airflow.cli.cli_parser import get_parser

    run_id = _run(dag_id, when).run_id
    asked = get_parser().parse_args(["tasks", "test", dag_id, task_id, run_id, "--map-index", str(map_index)])
    asked.func(asked)
    return seen(_run(dag_id, when))


def _run(dag_id: str, when: str) -> Any:
    from airflow.models.dagrun import DagRun

    return DagRun.find(dag_id=dag_id, logical_date=datetime.fromisoformat(when))[0]


def seen(done: Any) -> dict[str, Any]:
    """What became of a run and its tasks; `titles` are those of mapped ones."""
    tasks = sorted(done.get_task_instances(), key=lambda ti: (ti.task_id, ti.map_index))
    return {
        "state": str(done.state),
        "states": {name(ti): str(ti.state) for ti in tasks},
        "tries": {name(ti): ti.try_number for ti in tasks},
        "events": [event.extra for event in _events(done)],
        "titles": [ti.rendered_map_index for ti in tasks if ti.map_index >= 0],
    }


def _events(done: Any) -> list[Any]:
    """What a run told those who wait for its asset, oldest first."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        mine = (AssetEvent.source_dag_id == done.dag_id, AssetEvent.source_run_id == done.run_id)
        return list(session.scalars(select(AssetEvent).where(*mine).order_by(AssetEvent.id)))


def name(ti: Any) -> str:
    """`stage`, or `score[2]`."""
    return str(ti.task_id) if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
