"""The tasks of a scheduled run: each does one step of `prescore.run.materialize` in a process of its own.

Arguments and results are plain values that fit into JSON: version numbers, tokens and chunk numbers, never data. A
scheduler can therefore call a task in its own process or, through `prescore.run.worker`, in another environment. The
ledger in the catalog records which chunks are done, so any task can be retried, repeated or killed.

`holder` names the run, and is the same for every attempt of every task: the run holds the model's lease under it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection, environment_database
from prescore.catalog.datetimes import parse_datetime
from prescore.checks import expectations
from prescore.errors import NotAllowed
from prescore.project.project import Project
from prescore.run import (
    chunk_scoring,
    completion,
    failure,
    freezing,
    materialize,
    preflight,
    rebase,
    registration,
    review,
    shares,
    task_lease,
    withholding,
)
from prescore.run.job import Job
from prescore.run.report import STEPS, Report
from prescore.run.task_values import Approval, Checked, Publication, Question, Request, Share, Work
from prescore.steps.check import is_decided
from prescore.versions import withheld
from prescore.versions.lease import Lease
from prescore.versions.options import RunOptions
from prescore.wording import short, utc

_log = logging.getLogger("prescore")


def snapshot(model: str, root: str, holder: str, groups: int, request: Request) -> list[Share]:
    """Take the lease, freeze the domain, and return its chunks in at most `groups` shares; raise Busy."""
    job = _open_job(model, root)
    options = _run_options(job, request)
    preflight.check_inputs(job, options.as_of)
    migrations.migrate(job.database)
    preflight.check_target(job)
    with task_lease.keeping(job, task_lease.acquire(job, holder)) as lease:
        job = preflight.refreshed(job, options).with_lease(lease)
        with job.database.connect() as connection:
            if request["approval"]:
                # A version that would break readers cannot be published even if it is approved.
                preflight.check_columns(connection, job.spec)
            if options.full and _has_started_from_scratch(connection, model, holder):
                options = options.resuming()
        version = registration.begin(job, lease, options)
        if options.full:
            _record_start_from_scratch(job, version, holder)
        with failure.giving_up(job, lease, version):
            predictor = materialize.load_predictor(job, version)
            freezing.take_snapshot(job, lease, version, predictor)
            materialize.reuse_rows(job, lease, version)
        _log_snapshot(job, version)
        return _shares(job, lease, version, groups)


def score(model: str, root: str, share: Share) -> int:
    """Score and stage those chunks of a share that the ledger lacks, and return their number."""
    job = _open_job(model, root)
    version = share["version"]
    task_lease.require_usable(job, version)
    chunks = range(share["first"], share["end"])
    pending = shares.pending_chunks(job, version, chunks)
    if pending:
        with task_lease.working(job, share) as (leased_job, lease):
            predictor = materialize.load_predictor(leased_job, version)
            chunk_scoring.score_chunks(leased_job, lease, version, pending, predictor)
    done_before = len(chunks) - len(pending)
    _log.info("%s version %s: scored %s chunks; %s were done before", model, version, len(pending), done_before)
    return len(pending)


def stage(model: str, root: str, work: Work) -> Work:
    """Finish the version's table, which never changes after that; raise NotAllowed if chunks are missing."""
    job = _open_job(model, root)
    version = work["version"]
    row = task_lease.require_usable(job, version)
    if row["state"] == "building":
        _require_scored(job, version)
        with task_lease.working(job, work) as (leased_job, lease):
            materialize.finish_table(leased_job, lease, version)
    row = job.version_row(version)
    _log.info("%s version %s: staged %s rows", model, version, f"{row['rows'] or 0:,}")
    return Work(version=version, token=work["token"])


def check(model: str, root: str, work: Work) -> Checked:
    """Check the staged version; raise Refused. The previous version then stays served."""
    job = _open_job(model, root)
    version = work["version"]
    with job.database.connect() as connection:
        served = Catalog(connection).model(model)["published_version"]
    row = task_lease.require_usable(job, version)
    if not is_decided(row, job.spec):
        with task_lease.working(job, work) as (leased_job, lease):
            repeats = materialize.is_repetition(leased_job, version)
            expected = [] if repeats else expectations.build(job.spec)
            materialize.check_table(leased_job, lease, version, expected)
    results = job.version_row(version)["checks"] or []
    for result in results:
        _log.info("passed: %s: observed %s; expected %s", result["name"], short(result["observed"]), result["expected"])
    return Checked(
        version=version,
        token=work["token"],
        served=served or 0,
        warnings=bool(withheld.warnings(results)),
    )


def question(model: str, version: int) -> Question:
    """Return what a person who decides about the publication of a version is to see."""
    with environment_database().connect() as connection:
        catalog = Catalog(connection)
        report = review.report(catalog, catalog.version(model, version))
    return Question(
        subject=f"Publish {model} version {version}?",
        body="\n".join(report.markdown()),
        version=version,
    )


def publish(
    model: str,
    root: str,
    holder: str,
    work: Checked,
    request: Request,
    approval: Approval | None,
) -> Publication:
    """Publish the version, unless it is a trial, a backfill, on hold or to be kept for later.

    A version that needs approval is published only if `approval` is for this version, and only if the version that it
    was compared with is still the served one. Raises Busy, or NotAllowed.
    """
    job = _open_job(model, root)
    version = work["version"]
    report = Report.from_catalog(job, version)
    withheld_because = None
    # An earlier attempt of this task may have published the version already.
    if not report.published:
        row = task_lease.require_usable(job, version)
        review.require_same_spec(job.spec, row)
        withheld_because = withholding.reason(job, report, request)
        if withheld_because is None:
            needs_approval = request["approval"] or bool(withheld.warnings(report.checks))
            if needs_approval:
                withholding.require_approval(model, version, approval)
            _publish(job, holder, work, approved=needs_approval)
    row = job.version_row(version)
    if withheld_because is None:
        _log.info("%s version %s is published: %s", model, version, _summary(row))
    return Publication(
        version=version,
        rows=row["rows"] or 0,
        data_as_of=str(row["data_as_of"]),
        published_at=str(row["published_at"]),
        withheld=withheld_because,
    )


def _publish(job: Job, holder: str, work: Checked, *, approved: bool) -> None:
    instead_of = None
    if approved:
        # The run released its lease while it waited for approval.
        work["token"] = task_lease.acquire(job, holder).token
        instead_of = work["served"]
    with task_lease.working(job, work) as (leased_job, lease):
        materialize.publish_version(
            leased_job,
            lease,
            work["version"],
            instead_of=instead_of,
        )
        rebase.rebase(leased_job, lease, work["version"])
        materialize.retire(leased_job)


def _require_scored(job: Job, version: int) -> None:
    """Raise NotAllowed while the ledger lacks chunks, for example because a score task was marked as done by hand."""
    pending = chunk_scoring.pending_chunks(job, version)
    if pending:
        raise NotAllowed(
            f"{job.model} version {version} has {len(pending)} chunks that were not scored, the first of them "
            f"{pending[0]}. Was a score task marked as success? Clear the score tasks, which score only these chunks."
        )


def _open_job(model: str, root: str) -> Job:
    """Return a job on the database that the environment names; raise Mistake if it names none."""
    project = Project.find(Path(root))
    return Job(project, project.spec(model), environment_database())


def _run_options(job: Job, request: Request) -> RunOptions:
    as_of = request["as_of"]
    if as_of is None and job.source.uses_as_of(job.query):
        as_of = request["due"]
    return RunOptions(
        # A version that waits for approval must not be published by the next run.
        publish=request["publish"] and not request["approval"],
        full=request["full"],
        trial_rows=request["trial_rows"],
        as_of=None if as_of is None else parse_datetime(as_of),
    )


def _has_started_from_scratch(connection: Connection, model: str, holder: str) -> bool:
    """Return whether an earlier attempt of this run started from scratch and left a version that can be resumed."""
    row = Catalog(connection).one(
        "events_started_from_scratch",
        model=model,
        reason=holder,
    )
    return bool(row["started"])


def _record_start_from_scratch(job: Job, version: int, holder: str) -> None:
    with job.database.connect() as connection:
        Catalog(connection).record_event(job.model, version, "started from scratch", holder)


def _shares(job: Job, lease: Lease, version: int, groups: int) -> list[Share]:
    """Return all chunks of the snapshot in at most `groups` shares; the score tasks leave out the finished ones."""
    row = job.version_row(version)
    result = []
    # Without a chunk to score, one empty share keeps the scheduler's tasks in their order.
    for chunks in shares.split_chunks(completion.chunks_to_score(row), groups) or [range(0)]:
        share = Share(
            version=version,
            token=lease.token,
            first=chunks.start,
            end=chunks.stop,
        )
        result.append(share)
    return result


def _log_snapshot(job: Job, version: int) -> None:
    row = job.version_row(version)
    data_as_of = "an unknown time" if row["data_as_of"] is None else utc(row["data_as_of"])
    _log.info(
        "%s version %s: the snapshot has %s rows in %s chunks, %s rejected, data as of %s",
        job.model,
        version,
        f"{row['snapshot_rows'] or 0:,}",
        row["snapshot_chunks"],
        f"{row['rejected'] or 0:,}",
        data_as_of,
    )


def _summary(row: Version) -> str:
    """Return rows, rejects, checks and the seconds of each step of a version."""
    parts = [
        f"{row['rows'] or 0:,} rows",
        f"{row['rejected'] or 0:,} rejected",
        f"{len(row['checks'] or [])} checks passed",
        *(f"{step} {row['seconds'][step]:.1f} s" for step in STEPS if step in row["seconds"]),
    ]
    return ", ".join(parts)
