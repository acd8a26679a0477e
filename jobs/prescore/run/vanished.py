"""What becomes of keys that the domain does not have any more, by the policy of the spec."""

from __future__ import annotations

import logging

from prescore.catalog.catalog import Catalog, Version
from prescore.run.job import Job
from prescore.scoring import rejects
from prescore.versions import kept, table, withheld
from prescore.versions.lease import Lease

_log = logging.getLogger("prescore")


def keep(job: Job, lease: Lease, catalog: Catalog, version: Version) -> None:
    """Copy the rows that the served version has and the domain lacks, if the spec keeps them.

    The version has its primary key. A trial and a backfill keep no row, and neither does a version with other columns
    than the served one.
    """
    if job.spec.vanished.policy != "keep" or version["trial_rows"] is not None:
        return
    published = catalog.model(job.model)["published_version"]
    if published is None or withheld.is_backfill(catalog, version):
        return
    served = catalog.version(job.model, published)
    reason = _reason_against(catalog, version, served)
    if reason is not None:
        _log.warning("%s version %s keeps no row whose key has vanished: %s", job.model, version["version"], reason)
        return
    connection = catalog.connection
    with connection.transaction():
        rejected = rejects.read_keys(catalog, version)
        kept.keep(connection, version, served, rejected, job.spec.vanished.keep_for)
        lease.check(connection)


def _reason_against(catalog: Catalog, version: Version, served: Version) -> str | None:
    """Return why no row of the served version can be kept, None if rows can be."""
    label = f"version {served['version']}"
    if _types(served) != _types(version):
        return f"{label} has other columns"
    row = catalog.one("versions_table_fault", model=served["model"], version=served["version"])
    return None if row["fault"] is None else f"the table of {label} {row['fault']} by hand"


def _types(version: Version) -> dict[str, str]:
    return {column["name"]: column["type"] for column in table.columns(version)}
