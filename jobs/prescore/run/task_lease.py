"""The lease of a scheduled run: one task acquires it, and every task that works on the version keeps it.

`holder` names the run, and is the same for every attempt of every task.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prescore.catalog.catalog import Version
from prescore.errors import LeaseLost, NotAllowed
from prescore.run import failure, review
from prescore.run.job import Job
from prescore.run.task_values import Work
from prescore.versions import lease as leases
from prescore.versions.lease import TASK_EXPIRY_SECONDS, Lease


def acquire(job: Job, holder: str) -> Lease:
    """Take the model's lease for the run; raise Busy while another run holds it."""
    with job.database.connect() as connection:
        return leases.acquire(
            connection,
            job.model,
            watched=False,
            seconds=TASK_EXPIRY_SECONDS,
            holder=holder,
        )


@contextmanager
def working(job: Job, work: Work) -> Iterator[tuple[Job, Lease]]:
    """Yield a task's job and lease under the run's token; a terminal error gives the version up, as in any run.

    Tasks enter this only if they have something left to do. A task that is cleared long after its run, and finds its
    work done, needs no lease and stays out of the way of other runs.
    """
    version = work["version"]
    row = require_usable(job, version)
    review.require_same_spec(job.spec, row)
    lease_at_start = Lease(job.model, work["token"])
    with keeping(job, lease_at_start) as lease:
        leased_job = job.with_lease(lease)
        with failure.giving_up(leased_job, lease, version):
            yield leased_job, lease


@contextmanager
def keeping(job: Job, run_lease: Lease) -> Iterator[Lease]:
    """Renew the run's lease while one task works; raise LeaseLost if another run has taken it since."""
    with job.database.connect() as connection:
        token = leases.renew(connection, run_lease, TASK_EXPIRY_SECONDS)
    if token is None:
        raise LeaseLost(
            f"Another run of {job.model} has taken the lease since this run held it. This task wrote nothing, and the "
            "unfinished version may belong to the other run by now. Trigger a new run, which resumes what can be "
            "resumed, or clear the snapshot task together with its downstream tasks."
        )
    with leases.continuing(job.database, run_lease) as kept:
        yield kept


def require_usable(job: Job, version: int) -> Version:
    """Return the version's row; raise NotAllowed if the version has failed or was retired."""
    row = job.version_row(version)
    state = row["state"]
    if state in ("failed", "retired"):
        reason = row["error"] or "its table was dropped"
        raise NotAllowed(f"{job.model} version {version} is {state}: {reason}")
    return row
