"""The whole flow on one page: snapshot → score → stage → check → publish.

Every step is a function of a job, a lease and a version, so that a scheduler may run it as a task in a process of its
own; `run` runs them here, one after the other. The ledger, not the caller, knows what is left to do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Any

from psycopg.pq import TransactionStatus

from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import is_connection_lost
from prescore.checks import expectations
from prescore.errors import DatabaseUnavailable, NotAllowed, StoreRefused, Transient
from prescore.run import failure, preflight
from prescore.run.job import Job
from prescore.run.report import Report
from prescore.scoring import rejects
from prescore.scoring.rejects import Reject
from prescore.scoring.scorer import Scorer
from prescore.sources import domain
from prescore.steps import check, publish, score, snapshot, stage
from prescore.store.store import hash_bytes
from prescore.versions import lease, lifecycle, pending, retention, views
from prescore.versions.lease import Lease, OnBusy
from prescore.versions.options import DEFAULTS, PublishOptions, RunOptions

PAUSES = (1.0, 5.0, 15.0)
"""Seconds that a run waits for a database that went away, from one attempt to the next."""

_log = logging.getLogger("prescore")


def run(job: Job, options: RunOptions = DEFAULTS, *, on_busy: OnBusy | None = None) -> Report:
    """Make a version and, unless asked otherwise, publish it. While another run writes the model: Busy, or `on_busy`.

    An unfinished version of the same model file, spec and query is finished rather than begun again.
    Columns that would break readers are an error before anything is scored.
    When the database goes away in the middle, the run waits for it a while and goes on where it was.
    Raises what the steps raise; whatever that is, readers keep seeing the version from before.
    """
    started = time.perf_counter()
    preflight.check_inputs(job, options.as_of)
    migrations.migrate(
        job.database
    )  # a database that is not there at all is told at once; from here on it is waited for
    begun: list[int] = []
    for pause in (*PAUSES, None):
        try:
            if not begun:
                preflight.check_target(job)
            if not _came_to_its_end(job, begun):
                _run(job, begun, replace(options, full=options.full and not begun), on_busy)
            return Report.from_catalog(job, begun[-1], total=time.perf_counter() - started)
        except DatabaseUnavailable as error:
            if pause is None or job.database.embedded or not is_connection_lost(error):
                raise
            _log.warning("%s Trying again in %.0f s.", error, pause)
            time.sleep(pause)
    raise AssertionError("the last attempt has no pause, and raises")


def _run(job: Job, begun: list[int], options: RunOptions, on_busy: OnBusy | None) -> None:
    """One attempt; `begun` is told its version."""
    with lease.holding(job.database, job.model, on_busy=on_busy) as held, ThreadPoolExecutor(1) as background:
        job = preflight.refreshed(job, options).with_lease(held)
        version = begin(job, held, options)
        begun.append(version)
        with failure.giving_up(job, held, version):
            scorer = load_scorer(job, version)
            take_snapshot(job, held, version, scorer)
            score_chunks(job, held, version, pending_chunks(job, version), scorer)
            # Seconds of imports, while Postgres sorts keys.
            wanted = background.submit(expectations.build, job.spec)
            finish_table(job, held, version)
            check_table(job, held, version, wanted.result())
            if options.publishes and not _waits(job, version):
                _publish(job, held, version, options)


def _waits(job: Job, version: int) -> bool:
    with job.database.connect() as connection:
        return pending.waits(connection, job.model, version)


def _came_to_its_end(job: Job, begun: list[int]) -> bool:
    """Whether an attempt came as far as it was asked to, and only never heard of it."""
    if not begun:
        return False
    with job.database.connect() as connection:
        row = Catalog(connection).version(job.model, begun[-1])
    if row["state"] in ("refused", "failed"):
        raise failure.ended_error(job, row)
    return row["published_at"] is not None or (row["state"] == "checked" and not row["to_publish"])


def _publish(job: Job, held: Lease, version: int, options: RunOptions) -> None:
    """Publish, unless the model was put on hold, or somebody published the version by hand, in just this moment."""
    try:
        publish_version(job, held, version, breaking=options.allow_breaking)
    except NotAllowed:
        if not _waits(job, version) and not Report.from_catalog(job, version).published:
            raise
    retire(job)


def begin(job: Job, held: Lease, options: RunOptions = DEFAULTS) -> int:
    """The version to work on: the unfinished one if it was made of the same things, else a new, empty one.

    Raises NotAllowed for columns that would break readers, if it is to be published and they may not.
    """
    made_of = {
        "model_fingerprint": hash_bytes(job.onnx),
        "domain_fingerprint": domain.fingerprint(job.source, job.query, options.trial_rows, options.as_of),
        "spec_fingerprint": job.spec.fingerprint,
    }
    job.store.keep_model(
        job.onnx
    )  # this, and reading a large snapshot, takes a while: not while others wait for a lock
    with job.database.connect() as connection:
        going_on = None if options.full else lifecycle.find_resumable(connection, job.store, job.model, made_of)
    with job.database.connect() as connection, connection.transaction():
        views.require_roles(connection, job.spec.grants.select)
        if options.publishes and not options.allow_breaking:
            preflight.check_columns(connection, job.spec)
        lifecycle.lock_model_file(connection, made_of["model_fingerprint"])
        # Nobody removes it from here on, and nobody may have before.
        job.store.keep_model(job.onnx)
        Catalog(connection).execute("models_register", model=job.model, description=job.spec.description)
        version = going_on or lifecycle.create(connection, job.spec, made_of, options)
        if going_on is not None:
            lifecycle.resume(connection, job.spec, version)
        lifecycle.set_to_publish(connection, job.model, version, publishing=options.publishes)
        # A trial takes nothing from the run that it is a trial of.
        given_up = (
            [] if options.trial_rows else lifecycle.abandon(connection, job.model, but=version, as_of=options.as_of)
        )
        held.check(connection)
    with job.database.connect() as connection:
        for other in given_up:
            lifecycle.discard(connection, job.store, other)
        with connection.transaction():
            # Until the end of the transaction no successor begins a snapshot.
            held.check(connection)
            kept = [v for v in Catalog(connection).versions(job.model) if v["state"] not in ("failed", "retired")]
            job.store.sweep(job.model, {v["snapshot_location"] for v in kept if v["snapshot_location"]})
    return version


def load_scorer(job: Job, version: int) -> Scorer:
    """The model that the version was begun with, whatever lies in its file by now."""
    with job.database.connect() as connection:
        fingerprint = Catalog(connection).version(job.model, version)["model_fingerprint"]
    return Scorer(job.store.model(fingerprint), job.spec)


def take_snapshot(job: Job, held: Lease, version: int, scorer: Scorer) -> None:
    """Freeze the domain, unless an earlier attempt did; raises Refused when too little of it is left."""
    with timed(job, version, "snapshot") as catalog:
        if catalog.version(job.model, version)["snapshot_rows"] is None:
            _write_snapshot(job, held, catalog, catalog.version(job.model, version), scorer)
        row = catalog.version(job.model, version)
        few = rejects.check(catalog.connection, row, job.spec.max_rejects)
        # Later it is for the check step to say, and to note.
        refused = row["state"] == "building" and not few["passed"]
        if refused:
            with catalog.connection.transaction():
                rejects.trim(catalog.connection, row)
                held.check(catalog.connection)
    if refused:
        raise rejects.limit_error(job.model, few)
    if not row["snapshot_chunks"]:
        raise snapshot.empty_domain_error(job.model, few if row["rejected"] else None)


def _write_snapshot(job: Job, held: Lease, catalog: Catalog, version: Version, scorer: Scorer) -> None:
    location, rows = job.store.new_snapshot(job.model, version["version"]), job.project.settings.chunk_rows
    with catalog.connection.transaction():
        # Of an attempt that did not come to its end.
        rejects.remove(catalog.connection, version)
        held.check(catalog.connection)
    tally = rejects.Tally(job.spec, save=lambda found: _save_rejects(held, catalog, version, found))
    source = job.source.with_as_of(version["as_of"] or version["started_at"])
    # Before the rows are read: they are at least as new.
    asked = snapshot.query_data_as_of(source, job.spec)
    expected = snapshot.expected_types(job.spec, scorer.features)
    with source.open(job.query, rows, expected, limit=version["trial_rows"]) as stream:
        converter = snapshot.DomainConverter(job.spec, scorer.features, stream.schema)
        with job.store.write_snapshot(location) as part:
            frozen = snapshot.write(
                stream.batches, converter, part, rows, lambda n: job.on_progress("snapshot", n, None), tally.add
            )
    with catalog.connection.transaction():
        catalog.execute(
            "versions_freeze",
            **stage.version_key(version),
            location=location,
            fingerprint=frozen.fingerprint,
            rows=frozen.rows + tally.count,
            rejected=tally.count,
            chunks=frozen.chunks,
            data_as_of=frozen.data_as_of or asked,
        )
        held.check(catalog.connection)


def _save_rejects(held: Lease, catalog: Catalog, version: Version, found: list[Reject]) -> None:
    with catalog.connection.transaction():
        rejects.write(catalog.connection, version, found)
        held.check(catalog.connection)


def pending_chunks(job: Job, version: int) -> list[int]:
    """The chunks that the ledger lacks."""
    with job.database.connect() as connection:
        catalog = Catalog(connection)
        finished = {row["chunk"] for row in catalog.all("chunks_finished", model=job.model, version=version)}
        chunks = catalog.version(job.model, version)["snapshot_chunks"] or 0
    return [chunk for chunk in range(chunks) if chunk not in finished]


def score_chunks(job: Job, held: Lease, version: int, chunks: Sequence[int], scorer: Scorer) -> None:
    """Score chunks and copy them in, several side by side: while one waits for Postgres, another computes."""
    if not chunks:
        return
    left, stop = iter(list(chunks)), Event()
    workers = min(job.workers, len(chunks))
    with timed(job, version, "score") as catalog, ThreadPoolExecutor(workers) as pool:
        row = catalog.version(job.model, version)
        try:
            working = [pool.submit(_work, job, held, row, scorer, left, stop) for _ in range(workers)]
            for worker in working:
                worker.result()
        finally:
            stop.set()


def _work(job: Job, held: Lease, version: Version, scorer: Scorer, left: Iterator[int], stop: Event) -> None:
    """One worker, with its own connection and its own view of the snapshot; what ends one ends all."""
    frozen = score.SnapshotReader(job.store.snapshot(version))
    record_limit = rejects.record_limit(job.spec.max_rejects, version["snapshot_rows"])
    try:
        with job.database.connect() as connection:
            # `next` on a list's iterator is atomic: no two workers get the same chunk.
            for chunk in left:
                if stop.is_set():
                    return
                began = time.perf_counter()
                scored = score.score_chunk(scorer, frozen.chunk(chunk), record_limit)
                stage.copy_chunk(connection, held, version, chunk, scored, time.perf_counter() - began)
                job.on_progress("score", scored.rows.num_rows + scored.rejected, version["snapshot_rows"])
    except BaseException:
        stop.set()
        raise
    finally:
        frozen.close()


def finish_table(job: Job, held: Lease, version: int) -> None:
    """Primary key, indexes, freezing; then the version is staged. Nothing to do if it already is."""
    with timed(job, version, "stage") as catalog:
        row = catalog.version(job.model, version)
        if row["state"] == "building":
            stage.finish(catalog.connection, held, row, job.spec.indexes)


def check_table(job: Job, held: Lease, version: int, wanted: list[Any]) -> None:
    """Check the staged version; raises Refused."""
    with timed(job, version, "check") as catalog:
        check.check_version(
            job.database, catalog.connection, held, catalog.version(job.model, version), job.spec, wanted
        )


def publish_version(
    job: Job, held: Lease, version: int, *, breaking: bool = False, instead_of: int | None = None
) -> None:
    """Point readers at the checked version, if need be only `instead_of` a certain one; raises NotAllowed."""
    with timed(job, version, "publish") as catalog:
        options = PublishOptions.from_spec(job.spec, allow_breaking=breaking, instead_of=instead_of)
        publish.publish(catalog.connection, held, job.model, version, options)


def retire(job: Job) -> list[int]:
    """Retire what the spec's retention no longer asks for; what is still being read waits for the next time.

    So does everything when database or store go away now: the version is published, and the run has done its work.
    """
    try:
        with job.database.connect() as connection:
            retired = retention.retire(connection, job.store, job.model, job.spec.retention)
            return [version["version"] for version in retired]
    except (Transient, StoreRefused) as error:
        _log.warning("retirement of %s is left for the next run: %s", job.model, error)
        return []


@contextmanager
def timed(job: Job, version: int, step: str) -> Iterator[Catalog]:
    """A catalog for one step, which notes how long the step took."""
    began = time.perf_counter()
    with job.database.connect() as connection:
        catalog = Catalog(connection)
        try:
            yield catalog
        finally:
            # Not lost, nor in the middle of an error.
            if connection.info.transaction_status == TransactionStatus.IDLE:
                took = time.perf_counter() - began
                catalog.execute("versions_time", model=job.model, version=version, step=step, seconds=took)
