"""One DAG a spec. Runs whenever Airflow reads a DAG file: it reads TOML and touches neither database nor model."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
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
    # Well within lease.BETWEEN, or the next run could step in.
    "max_retry_delay": timedelta(minutes=5),
}


def airflow_dags(
    project: str | Path | None = None, *, groups: int = GROUPS, upkeep: bool | str = True, **more: Any
) -> list[DAG]:
    """The DAGs of a project, registered with the DAG file that calls this.

    `project` is its folder: by default PRESCORE_PROJECT, or the folder around the calling file. `groups` is how many
    score tasks there are at most; a version of fewer chunks has fewer. `upkeep` adds the two DAGs that are about all of
    its models: of several projects in one Airflow, each gives theirs a name. `more` goes to every DAG, such as
    `on_failure_callback`; of `default_args`, what is not said is prescore's.
    It has its name because Airflow looks only into files in which the words airflow and dag stand.
    """
    if groups < 1:
        raise SpecInvalid(f"groups is the number of score tasks, at least 1 (given: {groups}).")
    caller = Path(inspect.stack(0)[1].filename).parent
    found = Project.find(Path(project or os.environ.get("PRESCORE_PROJECT") or caller))
    # Runs of one model take turns by its lease: with a limit here one that waits for a person would stop the next.
    more = {"catchup": False, "tags": [], **more, "default_args": RETRIES | more.get("default_args", {})}
    dags = [_materialization(found, model, groups, more) for model in found.models()]
    if not upkeep:
        return dags
    suffix = f"_{upkeep}" if isinstance(upkeep, str) else ""
    return [*dags, watch_dag(found, suffix, **_tagged(more)), retire_dag(found, suffix, **_tagged(more))]


def _tagged(more: dict[str, Any], *tags: str) -> dict[str, Any]:
    return more | {"tags": ["prescore", *tags, *more["tags"]]}


def _materialization(project: Project, model: str, groups: int, more: dict[str, Any]) -> DAG:
    """A model's DAG. One whose spec is broken is there too, and its runs fail with what is wrong: others go on.

    An import error would take down every DAG of the file, and nobody hears of a run that no longer happens.
    """
    description, schedule, fault = _read(project, model)
    root = str(project.root)
    with DAG(
        dag_id=_dag_id(model),
        description=description,
        doc_md=_doc(model, fault),
        schedule=schedule,
        params=form.form(),
        **_tagged(more, *(["broken spec"] if fault else [])),
    ) as dag:
        # Whatever it quotes is no template.
        told: Any = literal(fault)
        shares: Any = tasks.snapshot(model, root, groups, told)
        scored = tasks.score.partial(model=model, root=root).expand(share=shares)
        staged: Any = tasks.stage(model, root, shares)
        checked: Any = tasks.check(model, root, staged)
        approved = Approve(task_id="approve", model=model, version="{{ ti.xcom_pull(task_ids='check')['version'] }}")
        published = tasks.publish.override(outlets=[tasks.predictions(model)])(model, root, checked)
        scored >> staged
        checked >> approved >> published
        # Of score too: when one of its tasks fails, publish is given up while others may still be writing.
        [scored, published] >> tasks.release_lease().as_teardown()
    return dag


def _dag_id(model: str) -> str:
    """The DAG's id; that of a file which can be no model is no model's."""
    return f"prescore_{model}" if model_name_error(model) is None else "prescore__" + re.sub(r"[^\w.-]", "_", model)


def _read(project: Project, model: str) -> tuple[str, Any, str | None]:
    """Of a spec: its description, its schedule, and what is wrong with it."""
    try:
        spec = project.spec(model)
        return spec.description, timetable(spec.schedule), None
    except (PrescoreError, OSError) as error:
        return "", _salvaged(project.root / "specs" / f"{model}.toml"), str(error)


def _salvaged(path: Path) -> Any:
    """The schedule of a spec that is broken elsewhere: its runs fail when they are due, and so alert as any other."""
    try:
        return timetable(Schedule.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))["schedule"]))
    except (PrescoreError, OSError, ValueError, KeyError):
        return None


def _doc(model: str, fault: str | None) -> str:
    if fault:
        return f"The spec of `{model}` is broken, so runs fail at once:\n\n```\n{fault}\n```"
    return (
        f"Makes a version of `{model}`'s predictions from `specs/{model}.toml`, checks it, "
        "and only then lets readers see it.\n\n"
        f"`prescore versions {model}` lists what there is, `prescore rollback {model}` goes back."
    )
