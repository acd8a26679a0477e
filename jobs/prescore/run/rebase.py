"""Rebase: copy a published delta that has grown large into a full version, and publish that one in its place."""

from __future__ import annotations

import logging

from prescore.catalog import roles, version_row
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.edits import may_be_edited
from prescore.catalog.queries import query
from prescore.comparison import profile
from prescore.errors import DatabaseRefused, LeaseLost, NotAllowed, NotFound, StoreRefused, Transient
from prescore.run.job import Job
from prescore.versions import pointer, repetition, table
from prescore.versions.lease import Lease
from prescore.versions.options import PublishOptions

_log = logging.getLogger("prescore")


def rebase(job: Job, lease: Lease, version: int) -> int | None:
    """Copy a published delta into a full version if `incremental.rebase` says so, and publish it; return its number.

    Nothing is scored. The delta stays published if the copy fails, for the next run to try again.
    """
    try:
        with job.database.connect() as connection:
            catalog = Catalog(connection)
            row = catalog.version(job.model, version)
            if row["state"] != "published" or not _is_large(job, catalog, row):
                return None
            if may_be_edited(catalog, row):
                _log.warning("%s version %s stays a delta: its table was changed by hand", job.model, version)
                return None
            number = _copy(job, lease, catalog, row)
    except (Transient, DatabaseRefused, StoreRefused, NotAllowed, NotFound, LeaseLost) as error:
        _log.warning("%s version %s stays a delta, until the next run: %s", job.model, version, error)
        return None
    _make_profile(job, number)
    return number


def _is_large(job: Job, catalog: Catalog, version: Version) -> bool:
    """Return whether a version is a delta whose table has more rows than the spec allows, as a share of its base's."""
    if job.spec.incremental is None or version["base_version"] is None:
        return False
    base = catalog.version(job.model, version["base_version"])
    limit = job.spec.incremental.rebase * (base["rows"] or 0)
    return (version["rows_stored"] or 0) > limit


def _copy(job: Job, lease: Lease, catalog: Catalog, version: Version) -> int:
    connection = catalog.connection
    # One transaction, so that a process that dies in it leaves nothing.
    with job.database.connect() as reader, connection.transaction():
        number: int = catalog.one("versions_number", model=job.model)["version"]
        location = job.store.copy_snapshot(version, number)
        copied = repetition.copy_rows(reader, connection, version, number, location)
        version_row.require_count(version, copied["rows_stored"] or 0)
        table.index(connection, copied, job.spec.indexes)
        # It has passed the checks of the delta, after which readers may read a version.
        roles.grant_version(connection, copied["table_name"], readable=True)
        lease.check(connection)
    connection.execute(query("tables_vacuum", table=table.identifier(copied)))
    options = PublishOptions.from_spec(job.spec, instead_of=version["version"])
    pointer.publish(connection, job.model, number, options, lease=lease)
    _log.info("%s version %s is a full copy of version %s, and published", job.model, number, version["version"])
    return number


def _make_profile(job: Job, version: int) -> None:
    """Make the profile of a copy, from which the next version is compared with it, before the lease is released.

    Readers have the copy already. Its table or the model may have been dropped meanwhile.
    """
    if job.spec.comparison.skip:
        return
    try:
        with job.database.connect() as connection:
            profile.make(connection, Catalog(connection).version(job.model, version))
    except (Transient, DatabaseRefused, NotFound) as error:
        _log.warning("The next comparison with %s version %s reads all of its rows: %s", job.model, version, error)
