"""Freeze a version's domain: a snapshot file in the store, and rejects in the catalog for rows that cannot be kept."""

from __future__ import annotations

import pyarrow as pa
from psycopg.types.json import Jsonb

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.run import preflight, reuse, timing
from prescore.run.job import Job
from prescore.scoring import rejects, snapshot_columns
from prescore.scoring.domain_conversion import DomainConverter
from prescore.scoring.predictor import Predictor
from prescore.scoring.rejects import Reject, Tally
from prescore.sources import data_as_of, unchanged
from prescore.sources.source import Sample, Source
from prescore.steps import snapshot, stage
from prescore.steps.snapshot import SnapshotSummary
from prescore.versions.lease import Lease


def take_snapshot(
    job: Job,
    lease: Lease,
    version: int,
    predictor: Predictor,
) -> None:
    """Freeze the domain, unless an earlier attempt did; raise Refused when it is empty or has too many rejects."""
    with timing.timed(job, version, "snapshot") as (catalog, row):
        connection = catalog.connection
        if row["snapshot_rows"] is None:
            unchanged_value = unchanged.query(job.source_at(row), job.spec)
            if reuse.reuse_unchanged(job, lease, catalog, row, unchanged_value):
                return
            _freeze(job, lease, catalog, row, predictor, unchanged_value)
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


def _freeze(
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
    source = job.source_at(version)
    tally = _new_tally(job, lease, connection, version)
    # The clock is read before the rows, which are then at least as recent as it says.
    clock = data_as_of.query(source, job.spec)
    summary = _write_file(job, source, version, predictor, location, tally)
    signature = None if predictor.signature is None else Jsonb(predictor.signature.to_content())
    with connection.transaction():
        catalog.execute(
            "versions_freeze",
            **stage.version_key(version),
            location=location,
            fingerprint=summary.fingerprint,
            rows=summary.rows + tally.count,
            rejected=tally.count,
            chunks=summary.chunks,
            signature=signature,
            unchanged_value=unchanged_value,
            data_as_of=summary.data_as_of or clock,
        )
        lease.check(connection)


def _new_tally(job: Job, lease: Lease, connection: Connection, version: Version) -> Tally:
    """Return a tally that writes the rejects of a domain into the catalog, which has none of the version yet."""
    with connection.transaction():
        # An interrupted attempt may have left some.
        rejects.remove(connection, version)
        lease.check(connection)

    def save(batch: list[Reject]) -> None:
        with connection.transaction():
            rejects.write(connection, version, batch)
            lease.check(connection)

    return Tally(job.spec, save=save)


def _write_file(
    job: Job,
    source: Source,
    version: Version,
    predictor: Predictor,
    location: str,
    tally: Tally,
) -> SnapshotSummary:
    """Run the domain query, and write its rows as a snapshot file; a trial takes a random sample of them."""
    chunk_rows = job.project.settings.chunk_rows
    needed = snapshot_columns.needed_columns(job.spec, predictor.features)
    trial_rows = version["trial_rows"]
    sample = None if trial_rows is None else Sample(trial_rows, list(job.spec.key))

    def report_progress(rows: int) -> None:
        job.on_progress("snapshot", rows, None)

    def check_first_rows(rows: pa.RecordBatch) -> None:
        preflight.check_first_rows(predictor, rows)

    with source.open(job.query, chunk_rows, needed, sample=sample) as stream:
        converter = DomainConverter(job.spec, predictor.features, stream)
        with job.store.write_snapshot(location) as part:
            return snapshot.write(
                stream.batches,
                converter,
                part,
                chunk_rows,
                report_progress,
                tally.add,
                check_first_rows,
            )
