"""The tasks of a model's DAG: each does one task of `prescore.run.tasks`, in this process or another environment.

Tasks exchange version numbers, tokens and chunk numbers through XCom, never data. The ledger in the catalog records
which chunks are done, so any task can be retried, cleared or killed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from prescore.errors import NotAllowed, SpecInvalid, Transient
from prescore_dags import form, run_lease
from prescore_dags.environment import Environment, airflow_errors

_log = logging.getLogger("prescore")


@task
@airflow_errors()
def snapshot(
    environment: Environment,
    model: str,
    root: str,
    groups: int,
    defaults: Mapping[str, Any],
    spec_error: str | None = None,
) -> Any:
    """Take the lease, freeze the domain and return its chunks in shares; fail if the spec is invalid."""
    if spec_error:
        raise SpecInvalid(spec_error)
    request = form.request(get_current_context(), defaults)
    with run_lease.leaving(environment, model), run_lease.waiting():
        return environment.call(
            "tasks.snapshot",
            model=model,
            root=root,
            holder=run_lease.holder(),
            groups=groups,
            request=request,
        )


@task(map_index_template="chunks {{ task.op_kwargs['share']['first'] }} to {{ task.op_kwargs['share']['end'] - 1 }}")
@airflow_errors()
def score(environment: Environment, model: str, root: str, share: dict[str, Any]) -> Any:
    """Score and stage those chunks of a share that the ledger lacks, and return their number."""
    with run_lease.leaving(environment, model):
        return environment.call("tasks.score", model=model, root=root, share=share)


@task
@airflow_errors()
def stage(environment: Environment, model: str, root: str, shares: list[dict[str, Any]] | None) -> Any:
    """Finish the version's table, which never changes after that, and return what the next tasks work on."""
    # All shares are of the same version and have the same token.
    share = result_of("snapshot", next(iter(shares or ()), None))
    work = {"version": share["version"], "token": share["token"]}
    with run_lease.leaving(environment, model):
        return environment.call("tasks.stage", model=model, root=root, work=work)


@task
@airflow_errors()
def check(environment: Environment, model: str, root: str, work: dict[str, Any] | None) -> Any:
    """Check the staged version. If it is refused, the run fails and the previous version stays served."""
    work = result_of("stage", work)
    with run_lease.leaving(environment, model):
        return environment.call("tasks.check", model=model, root=root, work=work)


def predictions(model: str) -> Asset:
    """Return the asset that other DAGs can wait for; it is updated each time that a version is published."""
    return Asset(f"predictions.{model}")


@task
@airflow_errors()
def publish(
    environment: Environment,
    model: str,
    root: str,
    defaults: Mapping[str, Any],
    work: dict[str, Any] | None,
    approval: dict[str, Any] | None,
) -> Any:
    """Publish the version and return its number; skip if it is a trial, a backfill, on hold or kept for later.

    An approved version is published only if the version that it was compared with is still the served one.
    """
    context = get_current_context()
    work = result_of("check", work)
    with run_lease.leaving(environment, model), run_lease.waiting():
        published = environment.call(
            "tasks.publish",
            # The history names the person who approved the version, and not the worker's user.
            actor=approval["user"] if approval else None,
            model=model,
            root=root,
            holder=run_lease.holder(),
            work=work,
            request=form.request(context, defaults),
            approval=approval or None,
        )
    withheld = published.pop("withheld")
    if withheld is not None:
        raise AirflowSkipException(withheld)
    event = context["outlet_events"][predictions(model)]
    event.extra = published
    return published["version"]


@task
@airflow_errors()
def release_lease(environment: Environment, model: str) -> None:
    """Release the lease however the run ended, so that the next run need not wait until it expires.

    Fails if nothing was published because tasks were skipped by hand, as they are when a run is marked as failed, or
    because the snapshot task was marked as success. What fails by itself, or skips only the publication, has a state of
    its own.
    """
    context = get_current_context()
    try:
        run_lease.release(environment, model)
    except Transient as error:
        # A run that published must not fail because its lease expires a little later.
        if context["ti"].try_number <= context["ti"].max_tries:
            raise
        _log.warning("The lease of %s was not released: %s", model, error)
    states = run_lease.task_states()
    # Airflow does not start the score tasks for want of their shares, so that none of them can say why.
    if states.get("snapshot") == "success" and states.get("score") == "upstream_failed":
        result_of("snapshot", None)
    skipped = sorted(name for name, state in states.items() if state == "skipped")
    if skipped not in ([], ["publish"]):
        raise NotAllowed(
            f"Nothing was published, because these tasks were skipped: {', '.join(skipped)}. Was the run marked as "
            f"failed? Its lease is released, and the next run of {model} resumes what can be resumed."
        )


def result_of(name: str, result: Any) -> dict[str, Any]:
    """Return what an earlier task returned; raise NotAllowed if it returned nothing: it was marked as done by hand."""
    if not isinstance(result, dict):
        raise NotAllowed(
            f"The {name} task of this run has no result. Was it marked as success? Nothing was done. Clear it together "
            "with its downstream tasks. A version is published only if its own checks passed."
        )
    return result
