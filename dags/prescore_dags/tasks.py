"""The tasks of a materialization: each is one step of `prescore.materialize`, in a process of its own.

They tell each other ids and counts, never data. What is done and what is left stands in prescore's own ledger, so any
task may be retried, cleared or killed. What takes long to import is imported inside the tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from airflow.sdk import Asset, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection, environment_database
from prescore.errors import NotAllowed, SpecInvalid, Terminal
from prescore.project.project import Project
from prescore.versions.lease import Lease
from prescore_dags import form, turn

if TYPE_CHECKING:
    from prescore.run.job import Job
    from prescore.run.report import Report


class Work(TypedDict):
    """What a run works on: its version, under the token of its lease."""

    version: int
    token: int


class Checked(Work):
    """The same, and what was served when it was checked: 0 for nothing."""

    served: int


class Share(Work):
    """One score task's chunks: from `first` up to, but not with, `end`."""

    first: int
    end: int


@contextmanager
def told() -> Iterator[None]:
    """Errors as Airflow takes them: a terminal one fails at once, anything else is tried again."""
    try:
        yield
    except Terminal as error:
        raise AirflowFailException(str(error)) from error


@task
@told()
def snapshot(model: str, root: str, groups: int, fault: str | None = None) -> list[Share]:
    """Take the lease, freeze the domain, and share out the chunks. A broken spec ends here."""
    if fault:
        raise SpecInvalid(fault)
    from prescore.run import failure, materialize, preflight
    from prescore.sources import source

    job = _job(model, root)
    context = get_current_context()
    options = form.ask(context, dated=source.uses_as_of(job.query))
    preflight.check_inputs(job, options.as_of)
    migrations.migrate(job.database)
    preflight.check_target(job)
    with turn.kept(job, turn.take(job)) as held:
        job = preflight.refreshed(job, options).with_lease(held)
        with job.database.connect() as connection:
            # What would break readers is no question to put to a person.
            if form.approval_wanted(context):
                preflight.check_columns(connection, job.spec)
            options = replace(options, full=options.full and not _begun(connection, model))
        version = materialize.begin(job, held, options)
        if options.full:
            _note_begun(job, version)
        with failure.giving_up(job, held, version):
            materialize.take_snapshot(job, held, version, materialize.load_scorer(job, version))
        return _shares(job, held, version, groups)


@task(map_index_template="chunks {{ task.op_kwargs['share']['first'] }} to {{ task.op_kwargs['share']['end'] - 1 }}")
@told()
def score(model: str, root: str, share: Share) -> int:
    """Score and stage this share's chunks, but for those that the ledger has; gives how many that were."""
    from prescore.run import materialize

    job, version = _job(model, root), share["version"]
    _made(job, version)
    left = [n for n in materialize.pending_chunks(job, version) if share["first"] <= n < share["end"]]
    if left:
        with _working(job, share) as (mine, held):
            materialize.score_chunks(mine, held, version, left, materialize.load_scorer(mine, version))
    return len(left)


@task
@told()
def stage(model: str, root: str, shares: list[Share]) -> Work:
    """Finish the table: from here on it never changes."""
    from prescore.run import materialize

    job, work = _job(model, root), Work(version=shares[0]["version"], token=shares[0]["token"])
    if _made(job, work["version"])["state"] == "building":
        with _working(job, work) as (mine, held):
            materialize.finish_table(mine, held, work["version"])
    return work


@task
@told()
def check(model: str, root: str, work: Work) -> Checked:
    """Check the staged version; one that is refused fails the run, and the version from before stays served."""
    from prescore.checks import expectations
    from prescore.run import materialize
    from prescore.steps.check import is_decided

    job = _job(model, root)
    with job.database.connect() as connection:
        served = Catalog(connection).model(model)["published_version"] or 0
    if not is_decided(_made(job, work["version"]), job.spec):
        with _working(job, work) as (mine, held):
            materialize.check_table(mine, held, work["version"], expectations.build(job.spec))
    return Checked(version=work["version"], token=work["token"], served=served)


def predictions(model: str) -> Asset:
    """What other DAGs may wait for: an event each time that readers have got a new version, and never else."""
    return Asset(f"predictions.{model}")


@task
@told()
def publish(model: str, root: str, work: Checked) -> int:
    """Let readers see the version; skipped when it waits for somebody, or is not what is to be served.

    One that somebody approved is published only if what is served is still what they compared it with.
    """
    from prescore.run.report import Report

    asked, job = get_current_context(), _job(model, root)
    report = Report.from_catalog(job, work["version"])
    # It is, if an attempt before this one came that far.
    if not report.published:
        _require_same_spec(job, _made(job, work["version"]))
        _require_wanted(job, report, asked["params"]["when_checked"])
        _publish(job, work, approved=form.approval_wanted(asked))
    with job.database.connect() as connection:
        told = Catalog(connection).version(model, work["version"])
    clocks = {name: str(told[name]) for name in ("data_as_of", "published_at")}
    asked["outlet_events"][predictions(model)].extra = {"version": told["version"], "rows": told["rows"], **clocks}
    return work["version"]


def _publish(job: Job, work: Checked, *, approved: bool) -> None:
    from prescore.run import materialize

    # The lease was given back while the answer was awaited.
    if approved:
        work["token"] = turn.take(job).token
    with _working(job, work) as (mine, held):
        materialize.publish_version(mine, held, work["version"], instead_of=work["served"] if approved else None)
        materialize.retire(mine)


def _require_wanted(job: Job, report: Report, when_checked: str) -> None:
    from prescore.versions.pending import waits

    if report.trial_rows:
        raise AirflowSkipException(f"{job.model} version {report.version} is a trial, and never published.")
    if when_checked == form.KEEP:
        raise AirflowSkipException(
            f"This run was to make a version and not to publish it: {job.model} version {report.version} waits. "
            f"`prescore publish {job.model} {report.version}` publishes it."
        )
    with job.database.connect() as connection:
        if not waits(connection, job.model, report.version):
            return
    if report.backfill:
        raise AirflowSkipException(
            f"{job.model} version {report.version} is as of {report.as_of:%Y-%m-%d %H:%M} UTC, and version "
            f"{report.served}, which is served, has newer data: it is kept beside it. "
            f"`prescore publish {job.model} {report.version} --allow-older` publishes it all the same."
        )
    if report.held is not None:
        raise AirflowSkipException(
            f"{job.model} is on hold ({report.held}): version {report.version} passed its checks and waits. "
            f"After `prescore release {job.model}`, `prescore publish {job.model} {report.version}` publishes it."
        )


@task
@told()
def release_lease() -> None:
    """Give the lease back, however the run ended: the next one need not wait until it runs out."""
    turn.free()


def _job(model: str, root: str) -> Job:
    """A job on the database that the environment names; raises Mistake without one."""
    from prescore.run.job import Job

    project = Project.find(Path(root))
    return Job(project, project.spec(model), environment_database())


def _begun(connection: Connection, model: str) -> bool:
    """Whether an earlier attempt of this run began anew, and left what a retry goes on with."""
    return bool(Catalog(connection).one("events_started_over", model=model, reason=turn.holder())["started_over"])


def _note_begun(job: Job, version: int) -> None:
    with job.database.connect() as connection:
        Catalog(connection).record_event(job.model, version, "started over", turn.holder())


def _shares(job: Job, held: Lease, version: int, groups: int) -> list[Share]:
    """The snapshot's chunks in at most so many shares, as even as can be; done ones too, so none is missed."""
    with job.database.connect() as connection:
        chunks = Catalog(connection).version(job.model, version)["snapshot_chunks"] or 0
    n = min(groups, chunks)
    bounds = [chunks * i // n for i in range(n + 1)]
    return [Share(version=version, token=held.token, first=first, end=end) for first, end in pairwise(bounds)]


@contextmanager
def _working(job: Job, work: Work) -> Iterator[tuple[Job, Lease]]:
    """A task's job under its run's lease; a terminal error ends the version as it does in any other run.

    Only for what is left to do: a task that finds its work done, cleared long after perhaps, is in nobody's way.
    """
    from prescore.run import failure

    _require_same_spec(job, _made(job, work["version"]))
    with (
        turn.kept(job, Lease(job.model, work["token"])) as held,
        failure.giving_up(job.with_lease(held), held, work["version"]),
    ):
        yield job.with_lease(held), held


def _made(job: Job, version: int) -> Version:
    """The version as the catalog has it; raises NotAllowed for one that another task gave up, or that is gone."""
    with job.database.connect() as connection:
        row = Catalog(connection).version(job.model, version)
    if row["state"] in ("failed", "retired"):
        raise NotAllowed(f"{job.model} version {version} is {row['state']}: {row['error'] or 'its table is gone'}")
    return row


def _require_same_spec(job: Job, row: Version) -> None:
    if row["spec_fingerprint"] != job.spec.fingerprint:
        raise NotAllowed(
            f"The spec of {job.model} was changed after version {row['version']} was begun. "
            "Clear the snapshot task to begin anew."
        )
