"""What is left to do on an incremental version after the decision about it: rows to score, and a table to complete."""

from __future__ import annotations

from contextlib import closing

import pyarrow as pa

from prescore.catalog.catalog import Catalog, Version
from prescore.run import vanished
from prescore.run.job import Job
from prescore.steps import stage
from prescore.store.snapshot_file import SnapshotReader
from prescore.versions import delta, table
from prescore.versions.lease import Lease


def chunks_to_score(version: Version) -> int:
    """Return the number of chunks that a version has to score."""
    chunks = (version["changes"] or {}).get("chunks", version["snapshot_chunks"])
    return chunks or 0


def rows_to_score(version: Version) -> int | None:
    """Return the number of rows that a version has to score, None before its snapshot is taken."""
    found = version["changes"] or {}
    if "changed" not in found:
        return version["snapshot_rows"]
    rows: int = found["new"] + found["changed"]
    return rows


def complete_table(job: Job, lease: Lease, catalog: Catalog, version: Version) -> None:
    """Give a scored table its primary key and what the domain does not have: kept rows, and hidden keys in a delta.

    With `incremental.rebase` 0, a delta becomes a full version. With duplicate keys the table stays as it is, and the
    check step reports them.
    """
    connection = catalog.connection
    stage.add_key(connection, version, job.spec.indexes)
    if not table.has_key(connection, version):
        return
    vanished.keep(job, lease, catalog, version)
    if version["base_version"] is None:
        return
    if catalog.one("chunks_rejected", model=job.model, version=version["version"])["rejected"]:
        _hide_rejected(job, lease, catalog, version)
    if job.spec.incremental is not None and not job.spec.incremental.rebase:
        _flatten(job, lease, catalog, version)


def _hide_rejected(job: Job, lease: Lease, catalog: Catalog, version: Version) -> None:
    """Hide the rows of a delta's base whose keys were to be scored and were rejected."""
    with closing(SnapshotReader(job.store.rows_to_score(version))) as scored:
        for number in range(chunks_to_score(version)):
            keys_of_chunk = scored.chunk(number).select(list(job.spec.key))
            with catalog.connection.transaction():
                delta.hide_rejected(catalog.connection, version, pa.Table.from_batches([keys_of_chunk]))
                lease.check(catalog.connection)


def _flatten(job: Job, lease: Lease, catalog: Catalog, version: Version) -> None:
    with job.database.connect() as reader, catalog.connection.transaction():
        delta.flatten(reader, catalog.connection, version)
        lease.check(catalog.connection)
