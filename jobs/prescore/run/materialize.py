"""The whole flow on one page: snapshot → score → stage → check → publish.

Each step is a function of a job, a lease and a version, so that a scheduler can run it as a task in a process of its
own. `run` calls them one after the other in this process. The ledger in the catalog, and not the caller, knows which
chunks are left to score.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from prescore.catalog import migrations, waits
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.driver_errors import is_connection_lost
from prescore.checks import expectations
from prescore.errors import DatabaseRefused, DatabaseUnavailable, NotAllowed, StoreRefused, Transient
from prescore.run import completion, failure, preflight, rebase, registration, reuse
from prescore.run.job import Job
from prescore.run.report import Report
from prescore.scoring import domain_conversion, rejects
from prescore.scoring.domain_conversion import DomainConverter
from prescore.scoring.predictor import Predictor
from prescore.scoring.rejects import Reject
from prescore.scoring.session import RUNTIME
from prescore.sources import data_as_of, unchanged
from prescore.sources.source import Sample
from prescore.steps import check, publish, score, snapshot, stage
from prescore.store.snapshot_file import SnapshotReader
from prescore.versions import lease as leases
from prescore.versions import retention, withheld
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
                take_snapshot(job, lease, version, predictor)
                reuse_rows(job, lease, version)
                chunks = pending_chunks(job, version)
                score_chunks(job, lease, version, chunks, predictor)
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
    with job.database.connect() as connection:
        row = Catalog(connection).version(job.model, version)
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
    with job.database.connect() as connection:
        row = Catalog(connection).version(job.model, version)
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


def take_snapshot(
    job: Job,
    lease: Lease,
    version: int,
    predictor: Predictor,
) -> None:
    """Freeze the domain, unless an earlier attempt did; raise Refused when it is empty or has too many rejects."""
    with timed(job, version, "snapshot") as (catalog, row):
        connection = catalog.connection
        if row["snapshot_rows"] is None:
            unchanged_value = unchanged.query(job.source_at(row), job.spec)
            if reuse.reuse_unchanged(job, lease, catalog, row, unchanged_value):
                return
            _write_snapshot(job, lease, catalog, row, predictor, unchanged_value)
            row = catalog.version(job.model, version)
        few = rejects.check(connection, row, job.spec.max_rejects)
        # Once the version is staged, the check step reports and records this.
        refused = row["state"] == "building" and not few["passed"]
        if refused:
            with connection.transaction():
                rejects.trim(connection, row)
                lease.check(connection)
    if refused:
        raise rejects.limit_error(job.model, few)
    if not row["snapshot_chunks"]:
        raise snapshot.empty_domain_error(job.model, few if row["rejected"] else None)


def _write_snapshot(
    job: Job,
    lease: Lease,
    catalog: Catalog,
    version: Version,
    predictor: Predictor,
    unchanged_value: str | None,
) -> None:
    """Write the domain into a snapshot file, its rejects into the catalog, and record both with the version."""
    connection = catalog.connection
    location = job.store.new_snapshot(job.model, version["version"])
    chunk_rows = job.project.settings.chunk_rows
    with connection.transaction():
        # An interrupted attempt may have left some.
        rejects.remove(connection, version)
        lease.check(connection)

    def save_rejects(batch: list[Reject]) -> None:
        with connection.transaction():
            rejects.write(connection, version, batch)
            lease.check(connection)

    def report_progress(rows: int) -> None:
        job.on_progress("snapshot", rows, None)

    tally = rejects.Tally(job.spec, save=save_rejects)
    source = job.source_at(version)
    # The clock is read before the rows, which are then at least as recent as it says.
    clock = data_as_of.query(source, job.spec)
    needed = domain_conversion.needed_columns(job.spec, predictor.features)
    trial_rows = version["trial_rows"]
    sample = None if trial_rows is None else Sample(trial_rows, list(job.spec.key))
    with source.open(job.query, chunk_rows, needed, sample=sample) as stream:
        converter = DomainConverter(job.spec, predictor.features, stream)
        with job.store.write_snapshot(location) as part:
            summary = snapshot.write(
                stream.batches,
                converter,
                part,
                chunk_rows,
                report_progress,
                tally.add,
                lambda rows: preflight.check_first_rows(predictor, rows),
            )
    with connection.transaction():
        catalog.execute(
            "versions_freeze",
            **stage.version_key(version),
            location=location,
            fingerprint=summary.fingerprint,
            rows=summary.rows + tally.count,
            rejected=tally.count,
            chunks=summary.chunks,
            signature=None if predictor.signature is None else Jsonb(predictor.signature.to_content()),
            unchanged_value=unchanged_value,
            data_as_of=summary.data_as_of or clock,
        )
        lease.check(connection)


def reuse_rows(job: Job, lease: Lease, version: int) -> None:
    """Decide which rows of the served version an incremental run reuses; a full run reuses none."""
    if job.spec.incremental is None:
        return
    with timed(job, version, "reuse") as (catalog, row):
        reuse.reuse(job, lease, catalog, row)


def pending_chunks(job: Job, version: int) -> list[int]:
    """Return the chunks that the ledger does not have yet, in order."""
    with job.database.connect() as connection:
        catalog = Catalog(connection)
        row = catalog.version(job.model, version)
        ledger = catalog.all("chunks_finished", model=job.model, version=version)
    finished = {entry["chunk"] for entry in ledger}
    chunks = range(completion.chunks_to_score(row))
    return [chunk for chunk in chunks if chunk not in finished]


def score_chunks(
    job: Job,
    lease: Lease,
    version: int,
    chunks: Sequence[int],
    predictor: Predictor,
) -> None:
    """Score chunks and copy them into the table, several in parallel, so that one computes while another waits."""
    if not chunks:
        return
    remaining = iter(list(chunks))
    stop = Event()
    workers = min(job.workers, len(chunks))
    with timed(job, version, "score") as (_, row), ThreadPoolExecutor(workers) as pool:
        futures = []
        try:
            for _ in range(workers):
                future = pool.submit(_score_remaining, job, lease, row, predictor, remaining, stop)
                futures.append(future)
            for future in futures:
                future.result()
        finally:
            stop.set()


def _score_remaining(
    job: Job,
    lease: Lease,
    version: Version,
    predictor: Predictor,
    remaining: Iterator[int],
    stop: Event,
) -> None:
    """Score chunks until none remain, over a connection and a snapshot reader of this worker's own.

    A worker that fails stops the others.
    """
    reader = SnapshotReader(job.store.rows_to_score(version))
    record_limit = rejects.record_limit(job.spec.max_rejects, version["snapshot_rows"])
    try:
        with job.database.connect() as connection:
            # `next` on a list's iterator is atomic, so no two workers get the same chunk.
            for chunk in remaining:
                if stop.is_set():
                    return
                began = time.perf_counter()
                scored = score.score_chunk(predictor, reader.chunk(chunk), record_limit)
                seconds = time.perf_counter() - began
                stage.copy_chunk(connection, lease, version, chunk, scored, seconds)
                rows = scored.rows.num_rows + scored.rejected
                job.on_progress("score", rows, completion.rows_to_score(version))
    except BaseException:
        stop.set()
        raise
    finally:
        reader.close()


def finish_table(job: Job, lease: Lease, version: int) -> None:
    """Create the primary key and the indexes, and mark the version as staged, unless that has been done."""
    with timed(job, version, "stage") as (catalog, row):
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
    with timed(job, version, "check") as (catalog, row):
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
    with timed(job, version, "publish") as (catalog, _):
        publish.publish(catalog.connection, lease, job.model, version, options)


def retire(job: Job) -> list[int]:
    """Retire the versions that the spec's retention no longer keeps, and return their numbers.

    Versions that are still being read are left for the next run. So is everything when the database or the store
    cannot be reached, or refuses it: the version has been published, and the run has done its work.
    """
    try:
        with job.database.connect() as connection:
            retired = list(retention.retire(connection, job.store, job.model, job.spec.retention))
            retention.warn_of_dependents(connection, job.model)
            return [version["version"] for version in retired]
    except (Transient, DatabaseRefused, StoreRefused) as error:
        _log.warning("Retirement of %s is left for the next run: %s", job.model, error)
        return []


@contextmanager
def timed(job: Job, version: int, step: str) -> Iterator[tuple[Catalog, Version]]:
    """Yield a catalog and the version's row to one step, and record how long the step took."""
    began = time.perf_counter()
    with job.database.connect() as connection:
        catalog = Catalog(connection)
        try:
            yield catalog, catalog.version(job.model, version)
        finally:
            # After an error, the connection may be lost or inside of a transaction.
            if connection.info.transaction_status == TransactionStatus.IDLE:
                catalog.execute(
                    "versions_time",
                    model=job.model,
                    version=version,
                    step=step,
                    seconds=time.perf_counter() - began,
                )
