"""The time that each step of a run takes, recorded with the version."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.pq import TransactionStatus

from prescore.catalog.catalog import Catalog, Version
from prescore.run.job import Job


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
