"""Disk: what versions take of it, what the next one is likely to, and whether the budget allows that."""

from __future__ import annotations

from dataclasses import dataclass

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.errors import NotAllowed
from prescore.project.project import size_bytes
from prescore.run.job import Job


@dataclass(frozen=True)
class Usage:
    """Bytes: of all versions' tables, of the store, and how many more the next version of a model is likely to take."""

    tables: int
    store: int
    next: int

    @property
    def total(self) -> int:
        """What there will be at the end of a run, before anything is retired."""
        return self.tables + self.store + self.next


def require_room(connection: Connection, job: Job) -> None:
    """Raise NotAllowed when another version of the model does not fit into the budget, if there is one."""
    budget = job.project.settings.disk_budget
    if budget is None:
        return
    found = usage(connection, job)
    if found.total > size_bytes(budget):
        raise NotAllowed(
            f"The disk budget of {budget} has no room for another version of {job.model}: versions' tables take "
            f"{_told(found.tables)} and the store {_told(found.store)}; the next version needs about "
            f"{_told(found.next)}, as much as the one before. Nothing was begun. Keep fewer versions ([retention] in "
            f"the specs, then `prescore retire {job.model}`), or raise disk_budget in prescore.toml."
        )


def usage(connection: Connection, job: Job) -> Usage:
    """What is taken, and what the next version needs: as much as the newest complete one.

    What an unfinished version has already is either gone on with or dropped first: the next one needs so much less.
    """
    catalog = Catalog(connection)
    rows = catalog.all("disk_versions", model=job.model)
    sizes = [row["bytes"] + job.store.snapshot_bytes(row["snapshot_location"]) for row in rows]
    newest = next((size for row, size in zip(rows, sizes, strict=True) if row["complete"]), 0)
    unfinished = sum(size for row, size in zip(rows, sizes, strict=True) if row["unfinished"])
    return Usage(catalog.one("disk_tables")["bytes"], job.store.total_bytes(), max(newest - unfinished, 0))


def _told(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
