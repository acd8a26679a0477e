"""The life of a version until it is checked: created with its table, abandoned, discarded."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.project.spec import Spec
from prescore.store.store import Store
from prescore.versions import table
from prescore.versions.options import DEFAULTS, RunOptions
from prescore.wording import count

_log = logging.getLogger("prescore")


def create(
    connection: Connection,
    spec: Spec,
    made_of: dict[str, Any],
    options: RunOptions = DEFAULTS,
) -> int:
    """Create a version in state building, with its empty table, and return its number.

    `made_of` has what decides its predictions: the fingerprints of model file, domain and spec, the runtime, and the
    rows of a chunk if they matter.
    """
    catalog = Catalog(connection)
    version: int = catalog.one("versions_number", model=spec.model)["version"]
    catalog.execute(
        "versions_create",
        model=spec.model,
        version=version,
        table_name=f"{spec.model}_v{version}",
        **description(spec),
        parameters=Jsonb(spec.recorded_parameters),
        spec=Jsonb(spec.content),
        changes=_full_run(spec, options),
        trial_rows=options.trial_rows,
        as_of=options.as_of,
        **made_of,
    )
    table.create(connection, catalog.version(spec.model, version))
    return version


def _full_run(spec: Spec, options: RunOptions) -> Jsonb | None:
    """Return why an incremental run scores every row, if its options say so."""
    if spec.incremental is None or not options.full:
        return None
    return Jsonb({"reason": "--full"})


def description(spec: Spec) -> dict[str, Any]:
    """Return what the catalog records of a spec for readers: columns, freshness and lookup settings."""
    max_age = spec.freshness.max_age
    return {
        "key_columns": Jsonb(spec.key_columns),
        "output_columns": Jsonb(spec.output_columns),
        "max_age_seconds": None if max_age is None else max_age.total_seconds(),
        "refuse_stale": spec.freshness.when_stale == "refuse",
        "cache_seconds": spec.lookup.cache.total_seconds(),
        "in_memory": spec.lookup.in_memory,
        "live": spec.live.allowed,
        "live_cache_seconds": spec.live.cache.total_seconds(),
        "tombstones": spec.vanished.policy == "tombstone",
    }


def abandon(
    connection: Connection,
    model: str,
    *,
    but: int,
    as_of: datetime | None = None,
) -> list[Version]:
    """Abandon the unfinished versions of earlier runs, except version `but`; return those marked as failed.

    Pass these to `discard` after the commit. A version that passed its checks is kept and can still be published. A
    run for an earlier time, `as_of`, does not touch versions that are for later times.
    """
    unfinished: list[Version] = Catalog(connection).all("versions_unfinished", model=model)
    failed = []
    for version in unfinished:
        if version["version"] == but or _is_for_later(version, as_of):
            continue
        set_to_publish(connection, model, version["version"], publishing=False)
        if mark_failed(connection, version, "its run ended early, and a later run started over"):
            failed.append(version)
    return failed


def _is_for_later(version: Version, as_of: datetime | None) -> bool:
    if as_of is None:
        return False
    return (version["as_of"] or version["started_at"]) > as_of


def set_to_publish(
    connection: Connection,
    model: str,
    version: int,
    *,
    publishing: bool,
) -> None:
    """Record whether a run means to publish a version, so that the next run does it if this one is interrupted."""
    Catalog(connection).execute(
        "versions_set_to_publish",
        model=model,
        version=version,
        publishing=publishing,
    )


def mark_failed(
    connection: Connection,
    version: Version,
    error: str,
    checks: list[Any] | None = None,
) -> bool:
    """Mark an unfinished version as failed and return True; leave one that has been checked and return False.

    Pass a failed version to `discard` after the commit.
    """
    catalog = Catalog(connection)
    model, number = version["model"], version["version"]
    failed = catalog.execute(
        "versions_fail",
        model=model,
        version=number,
        error=error,
        checks=Jsonb(checks or []),
    )
    if not failed:
        return False
    record_end(catalog, version, "failed", error)
    return True


def record_end(catalog: Catalog, version: Version, event: str, reason: str | None) -> None:
    """Record in the history that a version was checked, was refused or failed. The reason says if it was a trial."""
    if version["trial_rows"] is not None:
        reason = ": ".join([trial_note(version), *filter(None, [reason])])
    catalog.record_event(version["model"], version["version"], event, reason)


def trial_note(version: Version) -> str:
    """Return how messages call a trial."""
    return f"a trial on at most {count(version['trial_rows'] or 0, 'row')}"


def discard(connection: Connection, store: Store, version: Version) -> None:
    """Drop a failed version's table and remove its files. Call it after the commit that marked the version as failed.

    A table that is locked, by a dump or by a stopped process for example, or that another object depends on, is left
    to retirement.
    """
    try:
        with connection.transaction():
            connection.execute(query("tables_lock_timeout"))
            table.drop(connection, version)
    except (pg.LockNotAvailable, pg.DeadlockDetected, pg.DependentObjectsStillExist):
        _log.warning("%s is in use; retirement will drop it", version["rows_table"])
    remove_files(connection, store, version)


def remove_files(connection: Connection, store: Store, version: Version) -> None:
    """Remove a version's snapshot, and its model file if no other version needs it.

    Call it after the commit that ended the version: files do not come back when a transaction is rolled back.
    """
    store.drop_snapshot(version["model"], version["version"])
    if version["model_fingerprint"] is not None:
        _remove_model_file(connection, store, version["model_fingerprint"])


def sweep_model_files(connection: Connection, store: Store) -> None:
    """Remove the model files that no version needs, such as one that a killed run stored before it began its version.

    A run that has stored a file and is about to begin its version stores it again.
    """
    rows = Catalog(connection).all("versions_needed_model_files")
    for fingerprint in store.model_fingerprints() - {row["fingerprint"] for row in rows}:
        _remove_model_file(connection, store, fingerprint)


def _remove_model_file(connection: Connection, store: Store, fingerprint: str) -> None:
    """Remove a model file unless a version needs it."""
    with connection.transaction():
        lock_model_file(connection, fingerprint)
        users = Catalog(connection).one("versions_of_model_file", model_fingerprint=fingerprint)
        if users["versions"] == 0:
            store.drop_model(fingerprint)


def lock_model_file(connection: Connection, fingerprint: str) -> None:
    """Keep other sessions from storing or removing this model file until the transaction ends.

    Otherwise one could remove it while a new version starts to need it.
    """
    Catalog(connection).execute("versions_lock_model_file", model_fingerprint=fingerprint)
