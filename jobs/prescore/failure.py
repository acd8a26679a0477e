"""What becomes of a version whose run ends in an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prescore import versions
from prescore.contract.catalog import Catalog
from prescore.contract.errors import LeaseLost, Refused, Terminal
from prescore.contract.lease import Lease
from prescore.job import Job


@contextmanager
def giving_up(job: Job, held: Lease, version: int) -> Iterator[None]:
    """A terminal error ends the version and drops its table; after anything else the next run goes on with it.

    A refused version keeps its table, and the refusal is told together with what is still served.
    """
    try:
        yield
    except LeaseLost:
        raise  # it is another run's by now
    except Refused as error:
        give_up(job, held, version, str(error), error.checks)
        raise Refused(f"{error}\n{served(job)}", error.checks) from error
    except Terminal as error:
        give_up(job, held, version, str(error))
        raise


def give_up(job: Job, held: Lease, version: int, error: str, checks: list[Any] | None = None) -> None:
    """Mark the version as failed, or, if it came as far as its checks, as one that no run is to publish."""
    with job.database.connect() as connection:
        row = Catalog(connection).version(job.model, version)
        with connection.transaction():
            versions.intend(connection, job.model, version, publishing=False)
            failed = versions.fail(connection, row, error, checks)
            held.check(connection)
        if failed:
            versions.forget(connection, job.store, row)


def served(job: Job) -> str:
    """What readers see now, as a sentence."""
    with job.database.connect() as connection:
        version = Catalog(connection).model(job.model)["published_version"]
    return "No version is served yet." if version is None else f"Version {version} is still served."
