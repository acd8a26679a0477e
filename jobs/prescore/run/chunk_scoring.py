"""Score a version's chunks: those that the ledger lacks, several in parallel, each staged as soon as it is scored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from prescore.catalog.catalog import Catalog, Version
from prescore.run import completion, timing
from prescore.run.job import Job
from prescore.scoring import rejects
from prescore.scoring.predictor import Predictor
from prescore.steps import score, stage
from prescore.store.snapshot_file import SnapshotReader
from prescore.versions.lease import Lease


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
    with timing.timed(job, version, "score") as (_, row), ThreadPoolExecutor(workers) as pool:
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
