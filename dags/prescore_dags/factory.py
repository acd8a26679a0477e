"""Build one DAG for each spec. Airflow runs this each time it reads a DAG file: it reads TOML and nothing else."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, literal

from prescore.catalog.naming import model_name_error
from prescore.errors import PrescoreError, SpecInvalid
from prescore.project.project import Project
from prescore.project.spec import Schedule
from prescore_dags import form, tasks
from prescore_dags.approval import Approve
from prescore_dags.schedule import timetable
from prescore_dags.upkeep import retire_dag, watch_dag

GROUPS = 8
RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    # Well below lease.TASK_EXPIRY_SECONDS: otherwise the next run could take the lease between two attempts.
    "max_retry_delay": timedelta(minutes=5),
}


def airflow_dags(
    project: str | Path | None = None, *, groups: int = GROUPS, upkeep: bool | str = True, **dag_options: Any
) -> list[DAG]:
    """Build the DAGs of a project and register them with the calling DAG file.

    `project` is the project's folder: by default PRESCORE_PROJECT, or the folder around the calling file. `groups`
    limits the number of parallel score tasks; a version with fewer chunks has fewer. `upkeep` adds the two DAGs that
    watch and retire the versions of all models. If one Airflow serves several projects, pass a name for each, such as
    `upkeep="sales"`. `dag_options` are passed to every DAG, for example `on_failure_callback`; entries of
    `default_args` are merged over prescore's own. Raises SpecInvalid if `groups` is less than 1.

    The function has this name because Airflow only parses files that contain the words "airflow" and "dag".
    """
    if groups < 1:
        raise SpecInvalid(f"groups is the number of score tasks and must be at least 1 (given: {groups}).")
    dag_file = Path(inspect.stack(0)[1].filename)
    folder = project or os.environ.get("PRESCORE_PROJECT") or dag_file.parent
    opened = Project.find(Path(folder))
    options: dict[str, Any] = {"catchup": False, "tags": [], **dag_options}
    options["default_args"] = RETRIES | dag_options.get("default_args", {})
    # No max_active_runs: the lease makes runs of one model take turns, and a run that waits for approval must not
    # keep the next one from starting.
    dags = [_model_dag(opened, model, groups, options) for model in opened.models()]
    if upkeep:
        suffix = f"_{upkeep}" if isinstance(upkeep, str) else ""
        upkeep_options = _tagged(options)
        dags.append(watch_dag(opened, suffix, **upkeep_options))
        dags.append(retire_dag(opened, suffix, **upkeep_options))
    return dags


def _tagged(dag_options: dict[str, Any], *tags: str) -> dict[str, Any]:
    return dag_options | {"tags": ["prescore", *tags, *dag_options["tags"]]}


def _model_dag(project: Project, model: str, groups: int, dag_options: dict[str, Any]) -> DAG:
    """Build the DAG of one model. With an invalid spec, the DAG exists and its runs fail with the spec's error.

    An import error would instead take down every DAG of the file, and a run that never starts raises no alert.
    """
    spec = _read_spec(project, model)
    root = str(project.root)
    tags = ["broken spec"] if spec.error else []
    with DAG(
        dag_id=_dag_id(model),
        description=spec.description,
        doc_md=_documentation(model, spec.error),
        schedule=spec.timetable,
        params=form.form(),
        **_tagged(dag_options, *tags),
    ) as dag:
        # The error may quote braces from the spec, which are not a template.
        spec_error: Any = literal(spec.error)
        shares: Any = tasks.snapshot(model, root, groups, spec_error)
        scored = tasks.score.partial(model=model, root=root).expand(share=shares)
        staged: Any = tasks.stage(model, root, shares)
        checked: Any = tasks.check(model, root, staged)
        approved = Approve(
            task_id="approve",
            model=model,
            version="{{ ti.xcom_pull(task_ids='check')['version'] }}",
        )
        asset = tasks.predictions(model)
        published = tasks.publish.override(outlets=[asset])(model, root, checked)
        scored >> staged
        checked >> approved >> published
        # The lease is released after all score tasks too. When one of them fails, publish does not run, while other
        # score tasks may still be writing.
        [scored, published] >> tasks.release_lease().as_teardown()
    return dag


def _dag_id(model: str) -> str:
    """Return the DAG's id. The id of a file that is not named like a model cannot be that of any model."""
    if model_name_error(model) is None:
        return f"prescore_{model}"
    name = re.sub(r"[^\w.-]", "_", model)
    return f"prescore__{name}"


@dataclass(frozen=True)
class _DagSpec:
    """The parts of a spec that shape its DAG; `error` says why the spec cannot be used, if it cannot."""

    description: str
    timetable: Any
    error: str | None


def _read_spec(project: Project, model: str) -> _DagSpec:
    try:
        spec = project.spec(model)
        return _DagSpec(spec.description, timetable(spec.schedule), error=None)
    except (PrescoreError, OSError) as error:
        path = project.root / "specs" / f"{model}.toml"
        return _DagSpec("", _salvaged_timetable(path), error=str(error))


def _salvaged_timetable(path: Path) -> Any:
    """Return the timetable of a spec that is invalid elsewhere, so that its runs fail and alert when they are due."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return timetable(Schedule.model_validate(content["schedule"]))
    except (PrescoreError, OSError, ValueError, KeyError):
        return None


def _documentation(model: str, error: str | None) -> str:
    if error:
        return f"The spec of `{model}` is invalid, so every run fails immediately:\n\n```\n{error}\n```"
    return (
        f"Scores a new version of `{model}` from `specs/{model}.toml`, checks it, and then publishes it.\n\n"
        f"`prescore versions {model}` lists the versions, `prescore rollback {model}` rolls back."
    )
