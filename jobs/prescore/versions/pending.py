"""Versions that passed their checks and wait for somebody, though their run was to publish them."""

from __future__ import annotations

from prescore.catalog.catalog import Catalog, Version, before
from prescore.run.job import Job
from prescore.versions import lifecycle


def waits(job: Job, version: int) -> bool:
    """Whether it is not for this run to publish the version, nor for a later one: on hold, or of the past."""
    with job.database.connect() as connection:
        catalog = Catalog(connection)
        row = catalog.version(job.model, version)
        waiting = catalog.model(job.model)["held_at"] is not None or of_the_past(catalog, row)
        if waiting:
            lifecycle.intend(connection, job.model, version, publishing=False)
    return waiting


def of_the_past(catalog: Catalog, version: Version) -> bool:
    """Whether it was asked for as of a time before that of the published version: it is kept beside that one."""
    published = catalog.model(version["model"])["published_version"]
    if published in (None, version["version"]):
        return False
    return before(version, catalog.version(version["model"], published))
