"""The life of a version on its writer's side: created with its table, gone on with, given up."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from psycopg import errors as pg
from psycopg import sql
from psycopg.types.json import Jsonb

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.project.spec import Spec
from prescore.scoring import rejects
from prescore.store.store import Store
from prescore.versions import table
from prescore.versions.options import DEFAULTS, RunOptions

STALE = timedelta(days=1)

_log = logging.getLogger("prescore")


def create(connection: Connection, spec: Spec, made_of: dict[str, str], options: RunOptions = DEFAULTS) -> int:
    """A new version, building, with its empty table; gives its number."""
    catalog = Catalog(connection)
    version: int = catalog.one("versions_number", model=spec.model)["version"]
    catalog.execute(
        "versions_create",
        model=spec.model,
        version=version,
        table_name=f"{spec.model}_v{version}",
        **_described(spec),
        trial_rows=options.trial_rows,
        as_of=options.as_of,
        **made_of,
    )
    table.create(connection, catalog.version(spec.model, version))
    return version


def _described(spec: Spec) -> dict[str, Any]:
    """What readers are told of a version besides its predictions."""
    promise = spec.freshness.max_age
    return {
        "key_columns": Jsonb(spec.key_columns),
        "output_columns": Jsonb(spec.output_columns),
        "max_age_seconds": None if promise is None else promise.total_seconds(),
        "refuse_stale": spec.freshness.when_stale == "refuse",
        "cache_seconds": spec.lookup.cache.total_seconds(),
        "in_memory": spec.lookup.in_memory,
    }


def find_resumable(connection: Connection, store: Store, model: str, made_of: dict[str, str]) -> int | None:
    """The newest version that a run left behind, if it can be gone on with.

    It must be made of the same model file, query and spec, its snapshot must be as it was, its inputs not older than a
    day (last week's half is no help tonight), and its rejects kept: of a version that was sure to be refused only the
    first are, and by now more may be allowed.
    """
    catalog = Catalog(connection)
    left: list[Version] = catalog.all("versions_unfinished", model=model)
    for version in left:
        same = all(version[name] == value for name, value in made_of.items())  # type: ignore[literal-required]
        recent = catalog.now() - version["started_at"] < STALE
        if same and recent and store.intact(version) and rejects.all_written(connection, version):
            return version["version"]
    return None


def resume(connection: Connection, spec: Spec, version: int) -> None:
    """Go on with a version, under the promise and the comments that the spec has now.

    The history gets to know what was found: chunks, and the time they had taken.
    """
    catalog, model = Catalog(connection), spec.model
    catalog.execute("versions_describe", model=model, version=version, **_described(spec))
    chunks = catalog.one("chunks_total", model=model, version=version)["chunks"]
    seconds = catalog.version(model, version)["seconds"]
    catalog.record_event(model, version, "resumed", chunks=chunks, seconds=seconds)


def abandon(connection: Connection, model: str, *, but: int, as_of: datetime | None = None) -> list[Version]:
    """Give up what earlier runs left behind, but for one version; gives those that are, for `discard` after the commit.

    One that passed its checks stays for whoever wants to publish it. A run for a time of the past, `as_of`, leaves what
    was begun for later ones.
    """
    left: list[Version] = Catalog(connection).all("versions_unfinished", model=model)
    others = [v for v in left if v["version"] != but and (as_of is None or (v["as_of"] or v["started_at"]) <= as_of)]
    for version in others:
        set_to_publish(connection, model, version["version"], publishing=False)
    why = "its run ended early, and a later run began anew"
    return [version for version in others if mark_failed(connection, version, why)]


def set_to_publish(connection: Connection, model: str, version: int, *, publishing: bool) -> None:
    """Note whether a run means to publish a version, so that the next one does if this one does not come to that."""
    Catalog(connection).execute("versions_set_to_publish", model=model, version=version, publishing=publishing)


def mark_failed(connection: Connection, version: Version, error: str, checks: list[Any] | None = None) -> bool:
    """Mark a version that cannot be finished, for `discard`; False, and nothing done, for one that was checked."""
    catalog, name = Catalog(connection), {"model": version["model"], "version": version["version"]}
    if not catalog.execute("versions_fail", **name, error=error, checks=Jsonb(checks or [])):
        return False
    catalog.record_event(version["model"], version["version"], "failed", error)
    return True


def discard(connection: Connection, store: Store, version: Version) -> None:
    """Drop a failed version's table, and remove what it was made from, after the commit that gave the version up.

    A table that somebody reads, such as a dump, or that a stopped process holds open, is left for retirement.
    """
    try:
        with connection.transaction():
            connection.execute(query("tables_lock_timeout"))
            connection.execute(query("tables_drop", table=sql.Identifier(version["table_name"])))
    except pg.LockNotAvailable:
        _log.warning("%s is in use; it is dropped when versions are retired", version["table_name"])
    remove_files(connection, store, version)


def remove_files(connection: Connection, store: Store, version: Version) -> None:
    """Remove what a version was made from, its model file only if no other version needs it.

    Call it after the commit that gave the version up: files do not come back when a transaction is rolled back.
    """
    store.drop_snapshot(version["model"], version["version"])
    fingerprint = version["model_fingerprint"]
    with connection.transaction():
        lock_model_file(connection, fingerprint)
        if Catalog(connection).one("versions_of_model_file", model_fingerprint=fingerprint)["versions"] == 0:
            store.drop_model(fingerprint)


def lock_model_file(connection: Connection, fingerprint: str) -> None:
    """Until the transaction ends nobody else keeps or removes this model file: it must not go as a version needs it."""
    Catalog(connection).one("versions_lock_model_file", model_fingerprint=fingerprint)
