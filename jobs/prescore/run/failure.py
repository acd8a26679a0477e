"""The end of a version whose run fails: marked as failed and dropped, or left for the next run to resume."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prescore.catalog.catalog import Catalog, Version
from prescore.errors import LeaseLost, Mistake, Refused, Terminal, Transient
from prescore.run.job import Job
from prescore.steps import check
from prescore.versions import lifecycle
from prescore.versions.lease import Lease

_log = logging.getLogger("prescore")


@contextmanager
def giving_up(job: Job, lease: Lease, version: int) -> Iterator[None]:
    """Give the version up when the block raises a terminal error; after any other error, the next run resumes it.

    A refused version keeps its table. The message of a refusal also says which version is still served.
    """
    try:
        yield
    except LeaseLost:
        # The version belongs to another run by now.
        raise
    except Terminal as error:
        checks = error.checks if isinstance(error, Refused) else None
        try:
            give_up(job, lease, version, str(error), checks)
            served = _served_message(job)
        except Transient as lost:
            # The first error matters more than the lost connection.
            _log.warning("Version %s of %s could not be given up: %s", version, job.model, lost)
            raise error from lost
        if checks is None:
            raise
        raise Refused(f"{error}\n{served}", checks) from error


def ended_error(job: Job, version: Version) -> Terminal:
    """Return the error of a version that an attempt gave up before its connection was lost."""
    checks = version["checks"] or []
    if all(result["passed"] for result in checks):
        return Mistake(version["error"])
    reason = version["error"] or check.refusal_message(version, checks)
    return Refused(f"{reason}\n{_served_message(job)}", checks)


def give_up(
    job: Job,
    lease: Lease,
    version: int,
    error: str,
    checks: list[Any] | None = None,
) -> None:
    """Mark the version as failed and discard it; mark one that has been checked as not to be published by any run."""
    with job.database.connect() as connection:
        row = Catalog(connection).version(job.model, version)
        with connection.transaction():
            lifecycle.set_to_publish(connection, job.model, version, publishing=False)
            failed = lifecycle.mark_failed(connection, row, error, checks)
            lease.check(connection)
        if failed:
            lifecycle.discard(connection, job.store, row)


def _served_message(job: Job) -> str:
    """Return a sentence on what readers see now."""
    with job.database.connect() as connection:
        version = Catalog(connection).model(job.model)["published_version"]
    if version is None:
        return "No version is served yet."
    return f"Version {version} is still served."
