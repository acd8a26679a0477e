"""The tasks of one model, for a DAG of their own or as a task group in a user's DAG."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TaskGroup, TriggerRule, literal

from prescore.errors import NotFound, SpecInvalid
from prescore.project import folder
from prescore_dags import tasks
from prescore_dags.approval import Approve
from prescore_dags.environment import URL_VARIABLE, Environment
from prescore_dags.links import StatusPageLink

GROUPS = 8
RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    # Well below lease.TASK_EXPIRY_SECONDS: otherwise the next run could take the lease between two attempts.
    "max_retry_delay": timedelta(minutes=5),
}
TASKS = ("snapshot", "score", "stage", "check", "approve", "publish", "release_lease")


@dataclass(frozen=True)
class Options:
    """How the tasks of a model are built.

    `groups` limits the number of parallel score tasks. `task_options` maps names of tasks to arguments of Airflow's
    operators. `form_defaults` are used where the DAG does not have the trigger form. Raises SpecInvalid.
    """

    environment: Environment = field(default_factory=Environment)
    groups: int = GROUPS
    task_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    form_defaults: Mapping[str, Any] = field(default_factory=dict)
    status_page: str | None = None

    def __post_init__(self) -> None:
        """Refuse options that no task has."""
        if self.groups < 1:
            raise SpecInvalid(f"groups is the number of score tasks and must be at least 1 (given: {self.groups}).")
        unknown = sorted(set(self.task_options) - set(TASKS))
        if unknown:
            raise SpecInvalid(f"task_options names {', '.join(unknown)}. The tasks of a model are {', '.join(TASKS)}.")

    def of(self, name: str) -> dict[str, Any]:
        """Return the operator's arguments for a task."""
        return dict(self.task_options.get(name, {}))


def airflow_task_group(
    model: str,
    project: str | Path | None = None,
    *,
    group_id: str | None = None,
    groups: int = GROUPS,
    python: str | None = None,
    conn_id: str | None = None,
    connections: Mapping[str, str] | None = None,
    when_checked: str = "publish",
    task_options: Mapping[str, Mapping[str, Any]] | None = None,
    status_page: str | None = None,
) -> TaskGroup:
    """Add the tasks of a model to the DAG around the call, as a group, and return the group.

        with DAG("nightly", schedule="@daily"):
            load() >> airflow_task_group("churn") >> report()

    Downstream tasks run after the publication, and are skipped with it. `when_checked` is that field of the trigger
    form; if the DAG has a parameter of that name, its value counts. The other arguments are those of `airflow_dags`.
    Raises NotFound if the model has no spec.
    """
    root = project_root(project, Path(inspect.stack(0)[1].filename))
    if model not in folder.models(root):
        raise NotFound(f"There is no spec {folder.spec_file(root, model)}.")
    options = Options(
        environment=environment(python, conn_id, connections),
        groups=groups,
        task_options=task_options or {},
        form_defaults={"when_checked": when_checked},
        status_page=status_page,
    )
    group = TaskGroup(group_id or model)
    # As in a DAG of the model's own: what the DAG around sets counts, and otherwise prescore's retries.
    group.default_args = RETRIES | (group.dag.default_args if group.dag else {})
    with group:
        add_tasks(model, root, options)
    return group


def project_root(project: str | Path | None, dag_file: Path) -> Path:
    """Return the project's folder: the given one, PRESCORE_PROJECT, or the one around the DAG file; raise Mistake."""
    return folder.find(Path(project or os.environ.get(folder.PROJECT) or dag_file.parent))


def environment(
    python: str | None,
    conn_id: str | None,
    connections: Mapping[str, str] | None,
) -> Environment:
    """Return the environment that the arguments of `airflow_dags` describe."""
    of_database = {} if conn_id is None else {URL_VARIABLE: conn_id}
    return Environment(python, {**of_database, **(connections or {})})


def add_tasks(model: str, root: Path, options: Options, spec_error: str | None = None) -> None:
    """Add the tasks of a model to the DAG or task group around the call; with `spec_error`, runs fail with it."""
    place: dict[str, Any] = {"environment": options.environment, "model": model}
    place_with_root = {**place, "root": str(root)}
    # The error may quote braces from the spec, which are not a template.
    error: Any = literal(spec_error) if spec_error else None
    shares: Any = tasks.snapshot.override(**options.of("snapshot"))(
        **place_with_root,
        groups=options.groups,
        defaults=options.form_defaults,
        spec_error=error,
    )
    scored = tasks.score.override(**options.of("score")).partial(**place_with_root).expand(share=shares)
    staged: Any = tasks.stage.override(**options.of("stage"))(**place_with_root, shares=shares)
    checked: Any = tasks.check.override(**options.of("check"))(**place_with_root, work=staged)
    approved = Approve(
        task_id="approve",
        **place,
        form_defaults=options.form_defaults,
        work=checked,
        **options.of("approve"),
    )
    published: Any = _publish(model, options)(
        **place_with_root,
        defaults=options.form_defaults,
        work=checked,
        approval=approved.output,
    )
    if options.status_page:
        published.operator.operator_extra_links = (StatusPageLink(options.status_page, model),)
    scored >> staged
    released: Any = tasks.release_lease.override(**options.of("release_lease"))(**place)
    # The lease is released after all score tasks too. When one of them fails, publish does not run, while other
    # score tasks may still be writing.
    [scored, published] >> released.as_teardown()
    [scored, staged, checked, approved, published, released] >> _outcome()


def _outcome() -> Any:
    """Return the task that decides about the state of the run. Airflow takes no worker for it.

    When a user marks a run as failed, Airflow skips what has not started, except for teardown tasks, and then shows the
    run as successful, because its last task was skipped and not failed. A teardown task that requires that no other
    task failed prevents that.
    """
    outcome = EmptyOperator(task_id="outcome").as_teardown(on_failure_fail_dagrun=True)
    outcome.trigger_rule = TriggerRule.NONE_FAILED
    return outcome


def _publish(model: str, options: Options) -> Any:
    given = options.of("publish")
    outlets = [tasks.predictions(model), *given.pop("outlets", ())]
    return tasks.publish.override(outlets=outlets, **given)
