"""Disk usage: what the versions take, what the next one is likely to need, and whether the budget has room for it."""

from __future__ import annotations

from dataclasses import dataclass

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.errors import NotAllowed
from prescore.project.project import size_bytes
from prescore.run.job import Job


@dataclass(frozen=True)
class Usage:
    """Bytes of all versions' tables, of the store, and the additional bytes that the model's next version needs."""

    tables: int
    store: int
    next: int

    @property
    def total(self) -> int:
        """Bytes at the end of a run, before anything is retired."""
        return self.tables + self.store + self.next


def require_room(connection: Connection, job: Job) -> None:
    """Raise NotAllowed when the project has a disk budget that another version of the model does not fit into."""
    budget = job.project.settings.disk_budget
    if budget is None:
        return
    usage = estimate(connection, job)
    if usage.total <= size_bytes(budget):
        return
    raise NotAllowed(
        f"The disk budget of {budget} has no room for another version of {job.model}: the tables take "
        f"{_size(usage.tables)}, the store takes {_size(usage.store)}, and the next version needs about "
        f"{_size(usage.next)}, as much as the last full one. Nothing was written. Keep fewer versions ([retention] in "
        f"the specs, then `prescore retire {job.model}`), or raise disk_budget in prescore.toml."
    )


def estimate(connection: Connection, job: Job) -> Usage:
    """Return the bytes in use, and an estimate for the next version: as many as the newest full one takes.

    A run either resumes an unfinished version or drops it first, so the next version needs that much less.
    """
    catalog = Catalog(connection)
    complete = None
    unfinished = 0
    for row in catalog.all("disk_versions", model=job.model):
        size = row["bytes"] + job.store.snapshot_bytes(row["snapshot_location"])
        if row["complete"] and complete is None:
            complete = size
        if row["unfinished"]:
            unfinished += size
    return Usage(
        tables=catalog.one("disk_tables")["bytes"],
        store=job.store.total_bytes(),
        next=max((complete or 0) - unfinished, 0),
    )


def _size(size: int) -> str:
    if size >= 1e9:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:.1f} MB"
