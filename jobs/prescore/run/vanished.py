"""What becomes of keys that the domain does not have any more, by the policy of the spec."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from prescore.catalog.catalog import Catalog, Column, Version
from prescore.catalog.edits import may_be_edited
from prescore.run.job import Job
from prescore.scoring import rejects
from prescore.versions import kept, withheld
from prescore.versions.lease import Lease

_log = logging.getLogger("prescore")


def keep(job: Job, lease: Lease, catalog: Catalog, version: Version) -> None:
    """Copy the rows that the served version has and the domain lacks, if the spec keeps them.

    The version has its primary key. A trial and a backfill keep no row. Neither does a version with an output that the
    served one does not have, or after a change by hand to the served one's tables: it hides those that its base keeps.
    A passthrough column that the served version does not have is NULL in the kept rows.
    """
    if job.spec.vanished.policy != "keep" or version["trial_rows"] is not None:
        return
    published = catalog.model(job.model)["published_version"]
    if published is None:
        return
    served = catalog.version(job.model, published)
    is_backfill = withheld.is_backfill(catalog, version)
    reason = None if is_backfill else _reason_against(catalog, version, served)
    connection = catalog.connection
    with connection.transaction():
        if is_backfill:
            kept.hide(connection, version)
        elif reason is None:
            rejected = rejects.read_keys(catalog, version)
            kept.keep(connection, version, served, rejected, job.spec.vanished.keep_for)
        else:
            kept.hide(connection, version)
            _record_loss(job, catalog, version, served, reason)
        lease.check(connection)


def _record_loss(job: Job, catalog: Catalog, version: Version, served: Version, reason: str) -> None:
    """Record why a version keeps no row, and how many rows it could have kept: the check step warns of these."""
    number = version["version"]
    _log.warning("%s version %s keeps no row whose key has vanished: %s", job.model, number, reason)
    lost = _count_lost(job, catalog, version, served)
    catalog.record_event(job.model, number, kept.KEPT_NO_ROW, reason, rows=lost, served=served["version"])


def _count_lost(job: Job, catalog: Catalog, version: Version, served: Version) -> int:
    # Readers see no row of a damaged table, so that they lose none.
    if _table_fault(catalog, served) is not None:
        return 0
    if _types(served["key_columns"]) != _types(version["key_columns"]):
        return served["kept"]
    rejected = rejects.read_keys(catalog, version)
    return kept.count_lost(catalog.connection, version, served, rejected, job.spec.vanished.keep_for)


def _reason_against(catalog: Catalog, version: Version, served: Version) -> str | None:
    """Return why no row of the served version can be kept, None if rows can be."""
    label = f"version {served['version']}"
    reason = _column_reason(version, served, label)
    if reason is not None:
        return reason
    fault = _table_fault(catalog, served)
    if fault is not None:
        return f"the table of {label} {fault} by hand"
    # A row that was inserted by hand has a key that the domain lacks, as if it had vanished.
    if may_be_edited(catalog, served, count_rows=True):
        return (
            f"a table of {label} was changed by hand, or an update of it was rolled back, and its rows may not be what "
            "a model predicted"
        )
    return None


def _table_fault(catalog: Catalog, version: Version) -> str | None:
    """Return what happened by hand to the table of a version that should have one, None if nothing did."""
    row = catalog.one(
        "versions_table_fault",
        model=version["model"],
        version=version["version"],
    )
    fault: str | None = row["fault"]
    return fault


def _column_reason(version: Version, served: Version, label: str) -> str | None:
    """Return why rows of the served version do not fit the columns of a version, None if they do."""
    if _types(served["key_columns"]) != _types(version["key_columns"]):
        return f"{label} has another key"
    types = _types(served["output_columns"])
    for column in version["output_columns"]:
        name = column["name"]
        wanted = column["type"]
        found = types.get(name)
        if found is None and column["role"] == "output":
            return f"{label} does not have the output {name}"
        if found not in (None, wanted):
            return f"{label} has {name} as {found}, and not as {wanted}"
    return None


def _types(columns: Sequence[Column]) -> dict[str, str]:
    return {column["name"]: column["type"] for column in columns}
