"""The whole flow on one page: snapshot → score → stage → check → publish.

Each step is a function of a job, a lease and a version, so that a scheduler can run it as a task in a process of its
own. `run` calls them one after the other in this process. The ledger in the catalog, and not the caller, knows which
chunks are left to score.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from prescore.catalog import migrations, waits
from prescore.catalog.catalog import Catalog
from prescore.catalog.driver_errors import is_connection_lost
from prescore.checks import expectations
from prescore.errors import DatabaseRefused, DatabaseUnavailable, NotAllowed, StoreRefused, Transient
from prescore.run import chunk_scoring, completion, failure, freezing, preflight, rebase, registration, reuse, timing
from prescore.run.job import Job
from prescore.run.report import Report
from prescore.scoring.predictor import Predictor
from prescore.scoring.session import RUNTIME
from prescore.steps import check, publish, stage
from prescore.versions import lease as leases
from prescore.versions import retirement, withheld
from prescore.versions.lease import Lease, OnBusy
from prescore.versions.options import DEFAULTS, PublishOptions, RunOptions

PAUSES = (1.0, 5.0, 15.0)
"""Seconds to wait before each further attempt when the connection to the database was lost."""

_log = logging.getLogger("prescore")


def run(
    job: Job,
    options: RunOptions = DEFAULTS,
    *,
    on_busy: OnBusy | None = None,
) -> Report:
    """Make a version of the job's model, publish it if the options say so, and report on it.

    Resumes the unfinished version of the same model file, spec and query, if there is one. Columns that would break
    readers are refused before anything is scored. When the database goes away in the middle, the run waits for it and
    resumes, a few times.

    Raises Busy while another run writes the model; with `on_busy`, calls it once and waits instead. Raises whatever the
    steps raise. Readers keep seeing the previous version in all these cases.
    """
    started = time.perf_counter()
    preflight.check_inputs(job, options.as_of)
    # A database that is absent from the start is an error. From here on, the run waits for it.
    with waits.logged(job.database):
        migrations.migrate(job.database)
        return _attempt(job, options, on_busy, started)


def _attempt(job: Job, options: RunOptions, on_busy: OnBusy | None, started: float) -> Report:
    """Make attempts until one succeeds, or fails for another reason than a lost connection."""
    attempts = _Attempts(job, options, on_busy)
    for pause in (*PAUSES, None):
        try:
            version = attempts.make()
            return Report.from_catalog(job, version, total=time.perf_counter() - started)
        except DatabaseUnavailable as error:
            if pause is None or job.database.embedded or not is_connection_lost(error):
                raise
            _log.warning("%s Trying again in %.0f s.", error, pause)
            time.sleep(pause)
    raise AssertionError("the last attempt has no pause, and raises")


@dataclass
class _Attempts:
    """The attempts of one run; `version` is the one that the latest attempt began, None before there is one."""

    job: Job
    options: RunOptions
    on_busy: OnBusy | None
    version: int | None = None

    def make(self) -> int:
        """Make an attempt, unless the previous one finished unnoticed, and return the number of its version."""
        if self.version is None:
            preflight.check_target(self.job)
            return self._flow(self.options)
        if _is_finished(self.job, self.version):
            return self.version
        return self._flow(self.options.resuming())

    def _flow(self, options: RunOptions) -> int:
        """Take a version from its snapshot to its publication, or from where the previous attempt stopped."""
        job = self.job
        with (
            leases.holding(job.database, job.model, on_busy=self.on_busy) as lease,
            ThreadPoolExecutor(1) as background,
        ):
            job = preflight.refreshed(job, options).with_lease(lease)
            version = self.version = registration.begin(job, lease, options)
            with failure.giving_up(job, lease, version):
                predictor = load_predictor(job, version)
                freezing.take_snapshot(job, lease, version, predictor)
                reuse_rows(job, lease, version)
                chunks = chunk_scoring.pending_chunks(job, version)
                chunk_scoring.score_chunks(job, lease, version, chunks, predictor)
                # Great Expectations takes seconds to import. Postgres sorts keys meanwhile.
                expected = background.submit(_load_expectations, job, version)
                finish_table(job, lease, version)
                check_table(job, lease, version, expected.result())
                if options.publishes and not _waits(job, version):
                    _publish(job, lease, version, options)
        return version


def _is_finished(job: Job, version: int) -> bool:
    """Return whether an attempt that lost its connection had done all that was to be done.

    Raises the error that ended the version, if one did.
    """
    row = job.version_row(version)
    if row["state"] in ("refused", "failed"):
        raise failure.ended_error(job, row)
    if row["published_at"] is not None:
        return True
    return row["state"] == "checked" and not row["to_publish"]


def _waits(job: Job, version: int) -> bool:
    with job.database.connect() as connection:
        return withheld.waits(connection, job.model, version)


def _publish(
    job: Job,
    lease: Lease,
    version: int,
    options: RunOptions,
) -> None:
    """Publish the version and retire old ones.

    A hold or a publication by an operator since the last check is not an error.
    """
    try:
        publish_version(job, lease, version, breaking=options.allow_breaking)
        rebase.rebase(job, lease, version)
    except NotAllowed:
        published = Report.from_catalog(job, version).published
        if not published and not _waits(job, version):
            raise
    retire(job)


def _load_expectations(job: Job, version: int) -> list[Any]:
    """Return the spec's own checks, or none if the version needs none of them."""
    return [] if is_repetition(job, version) else expectations.build(job.spec)


def is_repetition(job: Job, version: int) -> bool:
    """Return whether a version has the rows of an earlier one that passed the same checks."""
    with job.database.connect() as connection:
        catalog = Catalog(connection)
        return check.repeated_version(catalog, catalog.version(job.model, version), job.spec) is not None


def load_predictor(job: Job, version: int) -> Predictor:
    """Return what makes a version's predictions, with the model file that it began with, whatever the project has now.

    Raises NotAllowed when this process has another ONNX Runtime than the one that the version began with.
    """
    row = job.version_row(version)
    fingerprint = row["model_fingerprint"]
    if fingerprint is None:
        return preflight.open_predictor(None, job.spec)
    if row["runtime"] != RUNTIME:
        raise NotAllowed(
            f"{job.model} version {version} was started with {row['runtime']}, but this process has {RUNTIME}, and a "
            "version must not have the predictions of both. Install the same release on every worker, or start over "
            f"with: prescore run {job.model} --full"
        )
    return preflight.open_predictor(job.store.model(fingerprint), job.spec)


def reuse_rows(job: Job, lease: Lease, version: int) -> None:
    """Decide which rows of the served version an incremental run reuses; a full run reuses none."""
    if job.spec.incremental is None:
        return
    with timing.timed(job, version, "reuse") as (catalog, row):
        reuse.reuse(job, lease, catalog, row)


def finish_table(job: Job, lease: Lease, version: int) -> None:
    """Create the primary key and the indexes, and mark the version as staged, unless that has been done."""
    with timing.timed(job, version, "stage") as (catalog, row):
        if row["state"] != "building":
            return
        if row["base_version"] is not None or job.spec.vanished.policy == "keep":
            completion.complete_table(job, lease, catalog, row)
            row = catalog.version(job.model, version)
        stage.finish(catalog.connection, lease, row, job.spec.indexes)
        job.store.discard(row["changes_location"])


def check_table(
    job: Job,
    lease: Lease,
    version: int,
    wanted: list[Any],
) -> None:
    """Check the staged version; raise Refused. `wanted` are the spec's own checks, built by `expectations.build`."""
    with timing.timed(job, version, "check") as (catalog, row):
        check.check_version(
            job.database,
            catalog.connection,
            lease,
            row,
            job.spec,
            wanted,
        )


def publish_version(
    job: Job,
    lease: Lease,
    version: int,
    *,
    breaking: bool = False,
    instead_of: int | None = None,
) -> None:
    """Point readers at the checked version; raise NotAllowed when it may not be published.

    With `instead_of`, the published version must still be that one.
    """
    options = PublishOptions.from_spec(
        job.spec,
        allow_breaking=breaking,
        instead_of=instead_of,
    )
    with timing.timed(job, version, "publish") as (catalog, _):
        publish.publish(catalog.connection, lease, job.model, version, options)


def retire(job: Job) -> list[int]:
    """Retire the versions that the spec's retention no longer keeps, and return their numbers.

    Versions that are still being read are left for the next run. So is everything when the database or the store
    cannot be reached, or refuses it: the version has been published, and the run has done its work.
    """
    try:
        with job.database.connect() as connection:
            retired = list(retirement.retire(connection, job.store, job.model, job.spec.retention))
            retirement.warn_of_dependents(connection, job.model)
            return [version["version"] for version in retired]
    except (Transient, DatabaseRefused, StoreRefused) as error:
        _log.warning("Retirement of %s is left for the next run: %s", job.model, error)
        return []
