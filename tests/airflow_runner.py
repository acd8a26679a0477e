"""Airflow in a process of its own: reads requests as lines of JSON, answers with lines of JSON, logs to a file.

    python airflow_runner.py LOG [MODULE…]

Named modules are absent, as in an environment that does not have them. The test process never imports Airflow, which
changes the logging, warnings and signal handlers of its process. One runner serves many tests, since importing Airflow
and Great Expectations takes seconds.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any


class _Absent(MetaPathFinder):
    """Makes imports of these modules fail."""

    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = set(modules)

    def find_spec(self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> None:
        """Raise the error that Python raises for an absent module; leave all others to Python."""
        if fullname.partition(".")[0] in self.modules:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def main(log: Path, *absent: str) -> None:
    """Answer requests until standard input ends."""
    sys.meta_path.insert(0, _Absent(absent))
    responses = os.fdopen(os.dup(1), "w")
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for line in sys.stdin:
        try:
            response = respond(**json.loads(line))
        except BaseException:
            response = {"crash": traceback.format_exc()}
        sys.stdout.flush()
        print(json.dumps(response), file=responses, flush=True)


def respond(function: str, environment: dict[str, str | None], **arguments: Any) -> dict[str, Any]:
    """Call a function of this module with environment variables set, or removed where the value is None."""
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    response: dict[str, Any] = globals()[function](**arguments)
    return response


def load(folder: str) -> dict[str, Any]:
    """Return the DAGs of a folder, import errors, and what reading the folder imported and opened."""
    from airflow.dag_processing.dagbag import DagBag

    opened: list[str] = []

    def record_open(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(record_open)
    modules_before = set(sys.modules)
    bag = DagBag(folder)
    imported = set(sys.modules) - modules_before
    return {
        "errors": bag.import_errors,
        "imported": sorted({name.partition(".")[0] for name in imported}),
        "prescore": sorted(name for name in imported if name.partition(".")[0] == "prescore"),
        "opened": sorted(set(opened)),
        "dags": {dag_id: describe(dag) for dag_id, dag in bag.dags.items()},
    }


def describe(dag: Any) -> dict[str, Any]:
    """Return a DAG as the scheduler sees it; `runs` are those of three nights around the change to summer time."""
    from airflow.sdk.timezone import parse
    from airflow.serialization.serialized_objects import DagSerialization

    scheduled = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    infos = scheduled.iter_dagrun_infos_between(parse("2026-03-07T00:00:00+00:00"), parse("2026-03-10T00:00:00+00:00"))
    return {
        "runs": [info.run_after.isoformat() for info in infos],
        "assets": sorted(getattr(ref, "name", None) or ref.uri for ref in _asset_references(scheduled)),
        "catchup": dag.catchup,
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
        "retries": {task.task_id: task.retries for task in dag.tasks},
        "params": {name: dag.params[name] for name in dag.params},
        "description": dag.description,
        "queues": {task.task_id: task.queue for task in dag.tasks},
        "owners": {task.task_id: task.owner for task in dag.tasks},
        "timeouts": {task.task_id: str(task.execution_timeout) for task in dag.tasks},
        "answer_timeouts": {
            task.task_id: str(task.response_timeout) for task in dag.tasks if hasattr(task, "response_timeout")
        },
        "links": {task.task_id: [link.name for link in task.operator_extra_links] for task in dag.tasks},
    }


def _asset_references(dag: Any) -> Any:
    """Return references to the assets whose updates start a run."""
    condition = getattr(dag.timetable, "asset_condition", None)
    return condition.iter_asset_refs() if condition else ()


def run(
    folder: str, dag_id: str, logical_date: str, retry_at_once: bool, marked: str | None, form: dict[str, Any]
) -> dict[str, Any]:
    """Run a DAG for a logical date and return the result; a run that exists is cleared first.

    `retry_at_once` removes the delay before retries. Tasks that match the pattern `marked` are marked as success and do
    nothing. `form` holds the values of the trigger form.
    """
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(folder).dags[dag_id]
    if retry_at_once:
        for task in dag.tasks:
            task.retry_delay = timedelta(0)
            task.retry_exponential_backoff = 0
    date = datetime.fromisoformat(logical_date)
    return describe_run(dag.test(logical_date=date, run_after=date, run_conf=form, mark_success_pattern=marked))


def waits(polls: int) -> dict[str, Any]:
    """Return the seconds for which a task waits after each of several attempts that found the model busy."""
    from airflow.sdk.exceptions import AirflowRescheduleException
    from airflow.sdk.execution_time.context import set_current_context

    from prescore.errors import Busy
    from prescore_dags import run_lease

    seconds = []
    for count in range(polls):
        context: Any = {"task_reschedule_count": count}
        began = datetime.now(UTC)
        try:
            with set_current_context(context), run_lease.waiting():
                raise Busy
        except AirflowRescheduleException as reschedule:
            seconds.append(round((reschedule.reschedule_date - began).total_seconds()))
    return {"seconds": seconds}


def clear(dag_id: str, logical_date: str, task_id: str, map_index: int) -> dict[str, Any]:
    """Reset the state of one task of a run, as clearing it in the UI does: it is due to run and has not started."""
    dag_run = _find_run(dag_id, logical_date)
    dag_run.get_task_instance(task_id, map_index=map_index).set_state(None)
    return describe_run(dag_run)


def run_task(dag_id: str, logical_date: str, task_id: str, map_index: int) -> dict[str, Any]:
    """Run one task of an earlier run again, with the XComs of that run."""
    from airflow.cli.cli_parser import get_parser

    run_id = _find_run(dag_id, logical_date).run_id
    command = ["tasks", "test", dag_id, task_id, run_id, "--map-index", str(map_index)]
    arguments = get_parser().parse_args(command)
    arguments.func(arguments)
    return describe_run(_find_run(dag_id, logical_date))


def test_task(dag_id: str, task_id: str) -> dict[str, Any]:
    """Run one task without a run, as `airflow tasks test` does."""
    from airflow.cli.cli_parser import get_parser

    arguments = get_parser().parse_args(["tasks", "test", dag_id, task_id])
    arguments.func(arguments)
    return {}


def _find_run(dag_id: str, logical_date: str) -> Any:
    from airflow.models.dagrun import DagRun

    return DagRun.find(dag_id=dag_id, logical_date=datetime.fromisoformat(logical_date))[0]


def describe_run(dag_run: Any) -> dict[str, Any]:
    """Return the states of a run and its tasks; `titles` are the titles of mapped tasks."""
    tasks = sorted(dag_run.get_task_instances(), key=lambda task: (task.task_id, task.map_index))
    return {
        "state": str(dag_run.state),
        "states": {name(task): str(task.state) for task in tasks},
        "tries": {name(task): task.try_number for task in tasks},
        "events": [event.extra for event in _asset_events(dag_run)],
        "titles": [task.rendered_map_index for task in tasks if task.map_index >= 0],
    }


def _asset_events(dag_run: Any) -> list[Any]:
    """Return the asset events that a run emitted, oldest first."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    of_this_run = (AssetEvent.source_dag_id == dag_run.dag_id, AssetEvent.source_run_id == dag_run.run_id)
    with create_session() as session:
        return list(session.scalars(select(AssetEvent).where(*of_this_run).order_by(AssetEvent.id)))


def name(task: Any) -> str:
    """Return `stage`, or `score[2]` for a mapped task."""
    return str(task.task_id) if task.map_index < 0 else f"{task.task_id}[{task.map_index}]"


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
