"""What an incremental run reuses: rows of the served version whose inputs have not changed, or all of its rows."""

from __future__ import annotations

import logging
from datetime import datetime

from psycopg.types.json import Jsonb

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.edits import may_be_edited
from prescore.errors import Busy, NotAllowed
from prescore.run import full_reason, snapshot_changes
from prescore.run.job import Job
from prescore.scoring import rejects
from prescore.sources import data_as_of, unchanged
from prescore.steps import changes
from prescore.steps.changes import Changes
from prescore.versions import delta, kept, repetition, withheld
from prescore.versions.lease import Lease

LARGEST_SHARE = 0.5
"""With more changes than this share of the base's rows, a full version costs less than a delta and a full one."""

_log = logging.getLogger("prescore")


def reuse(job: Job, lease: Lease, catalog: Catalog, version: Version) -> None:
    """Decide which rows of a version with a snapshot are to be scored, and record it.

    The version becomes a delta over the served version or its base; it gets the rows of the served version if nothing
    has changed. An earlier attempt may have decided already: raises NotAllowed if the base of its delta was changed by
    hand since.
    """
    if version["state"] != "building":
        return
    if version["changes"] is not None:
        _require_unedited_base(catalog, version)
        return
    served = _served(catalog, version)
    if served is None:
        _record_full(catalog, lease, version, "no version was served")
        return
    reason = full_reason.reason_against(job, catalog, version, served)
    if reason is not None:
        _record_full(catalog, lease, version, reason)
        return
    keeps_fewer = _keeps_fewer(job, catalog, version, served, version["data_as_of"])
    if keeps_fewer or version["snapshot_fingerprint"] != served["snapshot_fingerprint"]:
        _reuse_rows(job, lease, catalog, version, served, keeps_fewer=keeps_fewer)
    else:
        _share_snapshot(job, lease, catalog, version, served)


def _reuse_rows(
    job: Job,
    lease: Lease,
    catalog: Catalog,
    version: Version,
    served: Version,
    *,
    keeps_fewer: bool,
) -> None:
    """Compare the snapshot with that of the served version's base, and decide by what differs."""
    base = full_reason.base_of(catalog, served)
    label = f"version {base['version']}"
    rejected = rejects.read_keys(catalog, base, while_scoring=True)
    found = snapshot_changes.find(job, version, base, rejected)
    if found is None:
        reason = f"the snapshot cannot be compared with that of {label}"
        _record_full(catalog, lease, version, reason)
        return
    if not keeps_fewer and snapshot_changes.has_same_rows(job, catalog, version, served, found, rejected.num_rows):
        _share_snapshot(job, lease, catalog, version, served)
        return
    differing = len(found.scored) + found.vanished.num_rows
    limit = LARGEST_SHARE * (base["snapshot_rows"] or 0)
    if differing > limit:
        reason = f"more than half of the rows of {label} have changed"
        _record_full(catalog, lease, version, reason)
        return
    _begin_delta(job, lease, catalog, version, base, found)


def _require_unedited_base(catalog: Catalog, version: Version) -> None:
    """Raise NotAllowed for a delta that would show rows that were changed by hand since it was begun."""
    if version["base_version"] is None:
        return
    base = catalog.version(version["model"], version["base_version"])
    if may_be_edited(catalog, base):
        raise NotAllowed(
            f"{version['model']} version {version['version']} cannot be resumed: it shows rows of version "
            f"{base['version']}, whose table was changed by hand meanwhile, or an update of it was rolled back. "
            f"Run again: the next run starts from scratch, and reuses none of these rows."
        )


def _keeps_fewer(job: Job, catalog: Catalog, version: Version, served: Version, time: datetime | None) -> bool:
    """Return whether a version with inputs of this time may not keep all rows that the served one keeps.

    A backfill keeps none, one expires, or one is rejected now.
    """
    if not served["kept"]:
        return False
    if version["rejected"] or withheld.is_backfill(catalog, version):
        return True
    return kept.any_expires(catalog.connection, served, time, job.spec.vanished.keep_for)


def reuse_unchanged(job: Job, lease: Lease, catalog: Catalog, version: Version, value: str | None) -> bool:
    """Give a version without a snapshot the rows of the served one if `domain.unchanged_if` has the same value as then.

    Returns whether it did. `value` is what the query returned now.
    """
    # A full run has recorded already that it scores every row.
    if job.spec.incremental is None or value is None or version["changes"] is not None:
        return False
    served = _served(catalog, version)
    if served is None or served["unchanged_value"] != value:
        return False
    if not _reads_the_same(job, version, served):
        return False
    if full_reason.reason_against(job, catalog, version, served) is not None:
        return False
    time = _unchanged_time(job, served)
    if _keeps_fewer(job, catalog, version, served, time or version["as_of"] or version["started_at"]):
        return False
    _share(catalog, lease, version, served, time)
    return True


def _unchanged_time(job: Job, served: Version) -> datetime | None:
    """Return the time of the inputs now if the domain has not changed; None if the spec names no clock."""
    clock = job.spec.domain.data_as_of
    if clock is not None and clock.column is not None:
        return served["data_as_of"]
    return data_as_of.query(job.source, job.spec)


def _reads_the_same(job: Job, version: Version, served: Version) -> bool:
    """Return whether the domain query reads the same rows for both versions as long as its source has not changed.

    A query with `$as_of` reads others at another time, unless `domain.unchanged_if` says what they depend on.
    """
    if version["parameters"] != served["parameters"]:
        return False
    if not job.source.uses_as_of(job.query):
        return True
    return job.source.uses_as_of(job.spec.domain.unchanged_if or "", unchanged.LABEL)


def _served(catalog: Catalog, version: Version) -> Version | None:
    """Return the published version, None if there is none."""
    model = version["model"]
    published = catalog.model(model)["published_version"]
    if published is None:
        return None
    return catalog.version(model, published)


def _begin_delta(job: Job, lease: Lease, catalog: Catalog, version: Version, base: Version, found: Changes) -> None:
    location = None
    chunks = 0
    if len(found.scored):
        location = job.store.new_snapshot(job.model, version["version"])
        with job.store.write_snapshot(location) as part:
            chunks = changes.write(
                job.store.snapshot(version),
                found.scored,
                part,
                job.project.settings.chunk_rows,
            )
    recorded = {
        "base": base["version"],
        "carried": found.carried,
        **snapshot_changes.numbers(catalog, version, found),
        "chunks": chunks,
    }
    with catalog.connection.transaction():
        _require_kept(catalog, base)
        delta.create(
            catalog.connection,
            version,
            base,
            found.vanished,
            changes=recorded,
            location=location,
        )
        _require_kept(catalog, base, lock=True)
        lease.check(catalog.connection)


def _share_snapshot(job: Job, lease: Lease, catalog: Catalog, version: Version, served: Version) -> None:
    """Give a version the rows and the snapshot of the served one, and remove its own snapshot."""
    _share(catalog, lease, version, served)
    job.store.discard(version["snapshot_location"])


def _share(catalog: Catalog, lease: Lease, version: Version, served: Version, time: datetime | None = None) -> None:
    recorded = {
        "unchanged_since": served["version"],
        "carried": served["rows"],
        "new": 0,
        "changed": 0,
        "vanished": 0,
        "rejected": 0,
        "chunks": 0,
    }
    with catalog.connection.transaction():
        _require_kept(catalog, served)
        repetition.share_rows(
            catalog.connection,
            version,
            served,
            changes=recorded,
            data_as_of=time,
        )
        _require_kept(catalog, served, lock=True)
        lease.check(catalog.connection)


def _require_kept(catalog: Catalog, reused: Version, *, lock: bool = False) -> None:
    """Raise Busy if a version whose rows are to be reused was retired since the run has read it.

    With `lock`, retention waits for the end of this transaction, and keeps the version from then on.
    """
    catalog.model(reused["model"], lock=lock)
    model, number = reused["model"], reused["version"]
    if catalog.version(model, number)["state"] == "retired":
        raise Busy(
            f"{model} version {number} was retired while this run was about to reuse its rows, because another version "
            "has been published since. Run again: the next run compares its rows with that one."
        )


def _record_full(catalog: Catalog, lease: Lease, version: Version, reason: str) -> None:
    with catalog.connection.transaction():
        catalog.execute(
            "deltas_record_full",
            model=version["model"],
            version=version["version"],
            changes=Jsonb({"reason": reason}),
        )
        lease.check(catalog.connection)
    _log.info("%s version %s scores every row: %s", version["model"], version["version"], reason)
