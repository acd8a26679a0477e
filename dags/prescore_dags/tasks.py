"""The tasks of a model's DAG: each runs one step of `prescore.run.materialize` in a process of its own.

Tasks exchange version numbers, tokens and chunk numbers through XCom, never data. The ledger in the catalog records
which chunks are done, so any task can be retried, cleared or killed. Modules that are slow to import are imported
inside the tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
from prescore.wording import utc
from prescore_dags import form, run_lease

if TYPE_CHECKING:
    from prescore.run.job import Job
    from prescore.run.report import Report


class Work(TypedDict):
    """The version that a run works on, and the fencing token of the run's lease."""

    version: int
    token: int


class Checked(Work):
    """The same after the check step, with the version that was served then: 0 for none."""

    served: int


class Share(Work):
    """The chunks of one score task: from `first` up to, but not including, `end`."""

    first: int
    end: int


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Raise terminal errors as AirflowFailException, which Airflow does not retry; it retries all others."""
    try:
        yield
    except Terminal as error:
        raise AirflowFailException(str(error)) from error


@task
@airflow_errors()
def snapshot(model: str, root: str, groups: int, spec_error: str | None = None) -> list[Share]:
    """Take the lease, freeze the domain and return its chunks in shares; fail if the spec is invalid."""
    if spec_error:
        raise SpecInvalid(spec_error)
    from prescore.run import failure, materialize, preflight, registration

    job = _open_job(model, root)
    context = get_current_context()
    options = form.run_options(context, dated=job.source.uses_as_of(job.query))
    preflight.check_inputs(job, options.as_of)
    migrations.migrate(job.database)
    preflight.check_target(job)
    with run_lease.keeping(job, run_lease.acquire(job)) as lease:
        job = preflight.refreshed(job, options).with_lease(lease)
        with job.database.connect() as connection:
            if form.requires_approval(context):
                # A version that would break readers cannot be published even if it is approved.
                preflight.check_columns(connection, job.spec)
            if options.full and _has_started_from_scratch(connection, model):
                options = options.resuming()
        version = registration.begin(job, lease, options)
        if options.full:
            _record_start_from_scratch(job, version)
        with failure.giving_up(job, lease, version):
            predictor = materialize.load_predictor(job, version)
            materialize.take_snapshot(job, lease, version, predictor)
        return _shares(job, lease, version, groups)


@task(map_index_template="chunks {{ task.op_kwargs['share']['first'] }} to {{ task.op_kwargs['share']['end'] - 1 }}")
@airflow_errors()
def score(model: str, root: str, share: Share) -> int:
    """Score and stage those chunks of a share that the ledger lacks, and return their number."""
    from prescore.run import materialize, shares

    job = _open_job(model, root)
    version = share["version"]
    _require_usable(job, version)
    chunks = range(share["first"], share["end"])
    pending = shares.pending_chunks(job, version, chunks)
    if pending:
        with _leased(job, share) as (leased_job, lease):
            predictor = materialize.load_predictor(leased_job, version)
            materialize.score_chunks(leased_job, lease, version, pending, predictor)
    return len(pending)


@task
@airflow_errors()
def stage(model: str, root: str, shares: list[Share]) -> Work:
    """Finish the version's table, which never changes after that, and return what the next tasks work on."""
    from prescore.run import materialize

    job = _open_job(model, root)
    # All shares are of the same version and have the same token.
    version = shares[0]["version"]
    work = Work(version=version, token=shares[0]["token"])
    row = _require_usable(job, version)
    if row["state"] == "building":
        with _leased(job, work) as (leased_job, lease):
            materialize.finish_table(leased_job, lease, version)
    return work


@task
@airflow_errors()
def check(model: str, root: str, work: Work) -> Checked:
    """Check the staged version. If it is refused, the run fails and the previous version stays served."""
    from prescore.checks import expectations
    from prescore.run import materialize
    from prescore.steps.check import is_decided

    job = _open_job(model, root)
    version = work["version"]
    with job.database.connect() as connection:
        served = Catalog(connection).model(model)["published_version"]
    row = _require_usable(job, version)
    if not is_decided(row, job.spec):
        with _leased(job, work) as (leased_job, lease):
            expected = expectations.build(job.spec)
            materialize.check_table(leased_job, lease, version, expected)
    return Checked(
        version=version,
        token=work["token"],
        served=served or 0,
    )


def predictions(model: str) -> Asset:
    """Return the asset that other DAGs can wait for; it is updated each time that a version is published."""
    return Asset(f"predictions.{model}")


@task
@airflow_errors()
def publish(model: str, root: str, work: Checked) -> int:
    """Publish the version and return its number; skip if it is a trial, a backfill, on hold or kept for later.

    An approved version is published only if the version that it was compared with is still the served one.
    """
    from prescore.run import review
    from prescore.run.report import Report

    context = get_current_context()
    job = _open_job(model, root)
    version = work["version"]
    report = Report.from_catalog(job, version)
    # An earlier attempt of this task may have published the version already.
    if not report.published:
        row = _require_usable(job, version)
        review.require_same_spec(job.spec, row)
        _skip_unless_due(job, report, context["params"]["when_checked"])
        _publish(job, work, approved=form.requires_approval(context))
    row = _version_row(job, version)
    event = context["outlet_events"][predictions(model)]
    event.extra = {
        "version": version,
        "rows": row["rows"],
        "data_as_of": str(row["data_as_of"]),
        "published_at": str(row["published_at"]),
    }
    return version


def _publish(job: Job, work: Checked, *, approved: bool) -> None:
    from prescore.run import materialize

    instead_of = None
    if approved:
        # The run released its lease while it waited for approval.
        work["token"] = run_lease.acquire(job).token
        instead_of = work["served"]
    with _leased(job, work) as (leased_job, lease):
        materialize.publish_version(
            leased_job,
            lease,
            work["version"],
            instead_of=instead_of,
        )
        materialize.retire(leased_job)


def _skip_unless_due(job: Job, report: Report, when_checked: str) -> None:
    """Raise AirflowSkipException for a version that this run must not publish, saying how to publish it anyway."""
    from prescore.versions.withheld import waits

    model = job.model
    version = f"{model} version {report.version}"
    command = f"prescore publish {model} {report.version}"
    if report.trial_rows:
        raise AirflowSkipException(f"{version} is a trial and is never published.")
    if when_checked == form.KEEP:
        raise AirflowSkipException(
            f"{version} passed its checks and is kept for later, as the trigger form requested. "
            f"Publish it with `{command}`."
        )
    with job.database.connect() as connection:
        if not waits(connection, model, report.version):
            return
    if report.backfill and report.as_of is not None:
        as_of = utc(report.as_of)
        raise AirflowSkipException(
            f"{version} is a backfill as of {as_of}. It is kept and not published, because "
            f"version {report.served}, which is served, has newer data. Publish it anyway with "
            f"`{command} --allow-older`."
        )
    if report.held is not None:
        raise AirflowSkipException(
            f"{version} passed its checks and is not published, because the model is on hold ({report.held}). "
            f"Release it with `prescore release {model}`, then publish with `{command}`."
        )


@task
@airflow_errors()
def release_lease() -> None:
    """Release the lease however the run ended, so that the next run need not wait until it expires."""
    run_lease.release()


def _open_job(model: str, root: str) -> Job:
    """Return a job on the database that the environment names; raise Mistake if it names none."""
    from prescore.run.job import Job

    project = Project.find(Path(root))
    return Job(project, project.spec(model), environment_database())


def _has_started_from_scratch(connection: Connection, model: str) -> bool:
    """Return whether an earlier attempt of this run started from scratch and left a version that can be resumed."""
    row = Catalog(connection).one(
        "events_started_from_scratch",
        model=model,
        reason=run_lease.holder(),
    )
    return bool(row["started"])


def _record_start_from_scratch(job: Job, version: int) -> None:
    with job.database.connect() as connection:
        Catalog(connection).record_event(job.model, version, "started from scratch", run_lease.holder())


def _shares(job: Job, lease: Lease, version: int, groups: int) -> list[Share]:
    """Return all chunks of the snapshot in at most `groups` shares; the score tasks leave out the finished ones."""
    from prescore.run.shares import split_chunks

    row = _version_row(job, version)
    shares = []
    for chunks in split_chunks(row["snapshot_chunks"] or 0, groups):
        share = Share(
            version=version,
            token=lease.token,
            first=chunks.start,
            end=chunks.stop,
        )
        shares.append(share)
    return shares


@contextmanager
def _leased(job: Job, work: Work) -> Iterator[tuple[Job, Lease]]:
    """Yield a task's job and lease under the run's token; a terminal error gives the version up, as in any run.

    Tasks enter this only if they have something left to do. A task that is cleared long after its run, and finds its
    work done, needs no lease and stays out of the way of other runs.
    """
    from prescore.run import failure, review

    version = work["version"]
    row = _require_usable(job, version)
    review.require_same_spec(job.spec, row)
    lease_at_start = Lease(job.model, work["token"])
    with run_lease.keeping(job, lease_at_start) as lease:
        leased_job = job.with_lease(lease)
        with failure.giving_up(leased_job, lease, version):
            yield leased_job, lease


def _require_usable(job: Job, version: int) -> Version:
    """Return the version's row; raise NotAllowed if the version has failed or was retired."""
    row = _version_row(job, version)
    state = row["state"]
    if state in ("failed", "retired"):
        reason = row["error"] or "its table was dropped"
        raise NotAllowed(f"{job.model} version {version} is {state}: {reason}")
    return row


def _version_row(job: Job, version: int) -> Version:
    with job.database.connect() as connection:
        return Catalog(connection).version(job.model, version)
