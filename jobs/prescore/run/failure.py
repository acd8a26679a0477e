"""What becomes of a version whose run ends in an error."""

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
def giving_up(job: Job, held: Lease, version: int) -> Iterator[None]:
    """A terminal error ends the version and drops its table; after anything else the next run goes on with it.

    A refused version keeps its table, and the refusal is told together with what is still served.
    """
    try:
        yield
    except LeaseLost:
        # It is another run's by now.
        raise
    except Terminal as error:
        checks = error.checks if isinstance(error, Refused) else None
        try:
            give_up(job, held, version, str(error), checks)
            still = served(job)
        except Transient as lost:  # what went wrong first is what is told
            _log.warning("version %s of %s could not be given up: %s", version, job.model, lost)
            raise error from lost
        if checks is None:
            raise
        raise Refused(f"{error}\n{still}", checks) from error


def ended_error(job: Job, version: Version) -> Terminal:
    """What to raise for a version that an attempt gave up whose own error was lost with its connection."""
    checks = version["checks"] or []
    if all(result["passed"] for result in checks):
        return Mistake(version["error"])
    told = version["error"] or check.refusal_message(version, checks)
    return Refused(f"{told}\n{served(job)}", checks)


def give_up(job: Job, held: Lease, version: int, error: str, checks: list[Any] | None = None) -> None:
    """Mark the version as failed, or, if it came as far as its checks, as one that no run is to publish."""
    with job.database.connect() as connection:
        row = Catalog(connection).version(job.model, version)
        with connection.transaction():
            lifecycle.set_to_publish(connection, job.model, version, publishing=False)
            failed = lifecycle.mark_failed(connection, row, error, checks)
            held.check(connection)
        if failed:
            lifecycle.discard(connection, job.store, row)


def served(job: Job) -> str:
    """What readers see now, as a sentence."""
    with job.database.connect() as connection:
        version = Catalog(connection).model(job.model)["published_version"]
    return "No version is served yet." if version is None else f"Version {version} is still served."
