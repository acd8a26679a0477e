"""Build one DAG for each spec. Airflow runs this each time it reads a DAG file: it reads TOML and nothing else."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from prescore.catalog.naming import model_name_error
from prescore.errors import PrescoreError, SpecInvalid
from prescore.project import folder
from prescore_dags import form
from prescore_dags.group import GROUPS, RETRIES, Options, add_tasks, environment, project_root
from prescore_dags.schedule import Schedule, read_resolved, timetable
from prescore_dags.upkeep import retire_dag, watch_dag

_OF_MODELS_ONLY = {"schedule", "params", "description", "doc_md", "dag_display_name", "catchup"}
"""DAG arguments that mean something for a model's DAG, and not for those that watch and retire all models."""


def airflow_dags(
    project: str | Path | None = None,
    *,
    models: Iterable[str] | None = None,
    groups: int = GROUPS,
    upkeep: bool | str = True,
    python: str | None = None,
    conn_id: str | None = None,
    connections: Mapping[str, str] | None = None,
    status_page: str | None = None,
    task_options: Mapping[str, Mapping[str, Any]] | None = None,
    per_model: Mapping[str, Mapping[str, Any]] | None = None,
    **dag_options: Any,
) -> list[DAG]:
    """Build the DAGs of a project and register them with the calling DAG file.

    `project` is the project's folder: by default PRESCORE_PROJECT, or the folder around the calling file. `models`
    selects models, by default all. `groups` limits the number of parallel score tasks; a version with fewer chunks has
    fewer. `upkeep` adds the two DAGs that watch and retire the versions of these models. If one Airflow serves several
    projects, pass a name for each, such as `upkeep="sales"`.

    `python` is the interpreter of another environment, in which tasks do their work: it has prescore's extra `jobs`,
    and Airflow's environment needs none of its dependencies. `conn_id` is the Airflow connection of the database, in
    place of PRESCORE_DATABASE_URL. `connections` maps further environment variables, such as those of `sources`, to
    connections. `status_page` is the address of the lookup API, which tasks then link to.

    `task_options` maps names of tasks to arguments of their operators. `per_model` maps names of models to DAG
    arguments, `groups` and `task_options` of their own. `dag_options` are passed to every DAG, for example
    `on_failure_callback`; entries of `default_args` are merged over prescore's own. Raises SpecInvalid.

    The function has this name because Airflow only parses files that contain the words "airflow" and "dag".
    """
    root = project_root(project, Path(inspect.stack(0)[1].filename))
    names = _selected(folder.models(root), models, per_model or {})
    common = Options(
        environment=environment(python, conn_id, connections),
        groups=groups,
        task_options=task_options or {},
        status_page=status_page,
    )
    shared = _dag_arguments(dag_options)
    dags = []
    for model in names:
        own = dict((per_model or {}).get(model, {}))
        options = _with_own(common, own)
        dags.append(_model_dag(root, model, options, _merged(shared, _dag_arguments(own))))
    if upkeep:
        suffix = f"_{upkeep}" if isinstance(upkeep, str) else ""
        arguments = {name: value for name, value in shared.items() if name not in _OF_MODELS_ONLY}
        arguments = _tagged(_merged({"default_args": RETRIES}, arguments)) | {"catchup": False}
        dags.append(watch_dag(root, names, common.environment, suffix, **arguments))
        dags.append(retire_dag(root, names, common.environment, suffix, **arguments))
    return dags


def _selected(existing: list[str], models: Iterable[str] | None, per_model: Mapping[str, Any]) -> list[str]:
    """Return the models that are to have a DAG; raise SpecInvalid for names without a spec."""
    names = existing if models is None else list(dict.fromkeys(models))
    unknown = sorted({*names, *per_model} - set(existing))
    if unknown:
        raise SpecInvalid(f"There is no spec for {', '.join(unknown)}. The models are {', '.join(existing)}.")
    return names


def _with_own(common: Options, own: dict[str, Any]) -> Options:
    """Take the options of one model out of its arguments, and return them merged over the common ones."""
    task_options = {name: dict(values) for name, values in common.task_options.items()}
    for name, values in own.pop("task_options", {}).items():
        task_options[name] = task_options.get(name, {}) | dict(values)
    return replace(common, groups=own.pop("groups", common.groups), task_options=task_options)


def _dag_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of a DAG with `tags` and `default_args` as they can be merged; raise SpecInvalid for dag_id."""
    if "dag_id" in given:
        raise SpecInvalid("airflow_dags builds several DAGs and names them prescore_<model>. Leave out dag_id.")
    arguments = dict(given)
    tags = arguments.get("tags") or []
    arguments["tags"] = [tags] if isinstance(tags, str) else list(tags)
    arguments["default_args"] = dict(arguments.get("default_args") or {})
    return arguments


def _merged(arguments: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**arguments, **own}
    merged["tags"] = [*arguments.get("tags", ()), *own.get("tags", ())]
    merged["default_args"] = {**arguments.get("default_args", {}), **own.get("default_args", {})}
    return merged


def _tagged(arguments: dict[str, Any], *tags: str) -> dict[str, Any]:
    return arguments | {"tags": ["prescore", *tags, *arguments["tags"]]}


def _model_dag(root: Path, model: str, options: Options, arguments: dict[str, Any]) -> DAG:
    """Build the DAG of one model. With an invalid spec, the DAG exists and its runs fail with the spec's error.

    An import error would instead take down every DAG of the file, and a run that never starts raises no alert.
    """
    spec = _read_spec(root, model, is_complete=options.environment.python is None)
    defaults = {
        "catchup": False,
        "description": spec.description,
        "schedule": spec.timetable,
        "default_args": RETRIES,
    }
    arguments = _tagged(_merged(defaults, arguments), *(["broken spec"] if spec.error else []))
    arguments["params"] = form.form(arguments.get("params"))
    if spec.error or "doc_md" not in arguments:
        arguments["doc_md"] = _documentation(model, spec.error, options.status_page)
    # No max_active_runs: the lease makes runs of one model take turns, and a run that waits for approval must not
    # keep the next one from starting.
    with DAG(dag_id=_dag_id(model), **arguments) as dag:
        add_tasks(model, root, options, spec.error)
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


def _read_spec(root: Path, model: str, *, is_complete: bool) -> _DagSpec:
    """Read the parts that shape the DAG.

    With `is_complete`, the rest of the spec is validated too, which takes pydantic. Otherwise, only the runs do that.
    """
    path = folder.spec_file(root, model)
    try:
        if is_complete:
            _validate(path)
        description = str(read_resolved(path, "description") or "")
        return _DagSpec(description, timetable(Schedule.read(path)), error=None)
    except (PrescoreError, OSError) as error:
        return _DagSpec("", _salvaged_timetable(path), error=str(error))


def _validate(path: Path) -> None:
    """Raise SpecInvalid for an invalid spec. Variables that are not set here may be set where the tasks run."""
    from prescore.project import spec_file

    with suppress(spec_file.VariableUnset):
        spec_file.load(path)


def _salvaged_timetable(path: Path) -> Any:
    """Return the timetable of a spec that is invalid elsewhere, so that its runs fail and alert when they are due."""
    try:
        return timetable(Schedule.read(path))
    except (PrescoreError, OSError):
        return None


def _documentation(model: str, error: str | None, status_page: str | None) -> str:
    if error:
        return f"The spec of `{model}` is invalid, so every run fails immediately:\n\n```\n{error}\n```"
    page = f"\n\n[Status page]({status_page.rstrip('/')}/#model-{model})" if status_page else ""
    return (
        f"Scores a new version of `{model}` from `specs/{model}.toml`, checks it, and then publishes it.\n\n"
        f"`prescore versions {model}` lists the versions, `prescore rollback {model}` rolls back.{page}"
    )
