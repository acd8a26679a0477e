"""How the snapshot of a version differs from those of the served version and its base."""

from __future__ import annotations

import pyarrow as pa

from prescore.catalog.catalog import Catalog, Version
from prescore.errors import NotFound
from prescore.run.job import Job
from prescore.scoring import rejects
from prescore.steps import changes
from prescore.steps.changes import Changes

_NUMBERS = ("new", "changed", "vanished", "rejected")


def find(job: Job, version: Version, base: Version, again: pa.Table | None = None) -> Changes | None:
    """Return what differs from a base, None if the two snapshots cannot be compared or one of them is gone."""
    try:
        return changes.find(
            job.store.snapshot(version),
            job.store.snapshot(base),
            list(job.spec.key),
            again,
            memory_limit=job.project.settings.memory_limit,
            spill=job.store.spill_folder(job.model),
        )
    except NotFound:
        return None


def numbers(catalog: Catalog, version: Version, found: Changes) -> dict[str, int]:
    """Return how many rows are new, changed or vanished. A row that the snapshot rejected has not vanished."""
    absent = found.vanished
    key = absent.column_names
    vanished = absent
    rejected = rejects.read_keys(catalog, version)
    if absent.num_rows and rejected.num_rows:
        rejected = rejected.select(key).cast(absent.schema)
        vanished = absent.join(rejected, key, join_type="left anti")
    return {
        "new": found.new,
        "changed": len(found.scored) - found.new,
        "vanished": vanished.num_rows,
        "rejected": absent.num_rows - vanished.num_rows,
    }


def has_same_rows(job: Job, catalog: Catalog, version: Version, served: Version, found: Changes, rejected: int) -> bool:
    """Return whether a version's snapshot has the same rows as that of the served version.

    `found` is how it differs from the base of both, which rejected some rows. Only if the served version differs from
    the base by as many rows are the two compared, too.
    """
    if version["snapshot_rows"] != served["snapshot_rows"]:
        return False
    owner = catalog.version(version["model"], served["rows_version"])
    if owner["base_version"] is not None:
        changes = owner["changes"] or {}
        recorded = {name: changes.get(name) for name in _NUMBERS}
        if numbers(catalog, version, found) != recorded:
            return False
    elif found.vanished.num_rows or len(found.scored) > rejected:
        return False
    elif not rejected:
        return True
    return _has_equal_snapshot(job, version, served)


def _has_equal_snapshot(job: Job, version: Version, served: Version) -> bool:
    if not job.store.is_snapshot_intact(served):
        return False
    differences = find(job, version, served)
    if differences is None:
        return False
    return not len(differences.scored) and not differences.vanished.num_rows
