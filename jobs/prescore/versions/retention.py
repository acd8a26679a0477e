"""Retire what retention no longer asks for: tables detached and dropped, snapshots and model files removed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from psycopg import errors as pg
from psycopg import sql

from prescore.catalog.catalog import Catalog, Version, precedes
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.errors import NotAllowed
from prescore.project.spec import Retention
from prescore.store.store import Store
from prescore.versions import lifecycle, open_transactions, partitions


def due(known: list[Version], retention: Retention, now: datetime) -> list[Version]:
    """Which versions a retention no longer holds, by the database's clock, oldest first.

    Kept are what is published or pinned, the newest superseded versions, those superseded within the grace time,
    candidates (checked, refused, withdrawn) that are not old, versions of the past that are not kept long enough, and
    the newest that waits for its publication.
    """
    past = [v for v in known if _past(v, known)]
    free = [v for v in known if v["pinned_at"] is None and v["version"] != _waiting(known) and v not in past]
    superseded = [v for v in free if v["state"] == "superseded"]
    good = [v for v in superseded if v["withdrawn_at"] is None][retention.versions - 1 :]
    withdrawn = [v for v in superseded if v["withdrawn_at"] is not None]
    candidates = [v for v in free if v["state"] in ("checked", "refused")]
    old = [v for v in good if _since(v["superseded_at"], now) >= retention.grace]
    old += [v for v in withdrawn if _since(v["withdrawn_at"], now) >= max(retention.candidates, retention.grace)]
    old += [v for v in candidates if _since(v["checked_at"], now) >= retention.candidates]
    old += [v for v in past if v["pinned_at"] is None and _since(v["checked_at"], now) >= retention.backfills]
    return sorted(old, key=lambda v: v["version"])


def _published(known: list[Version]) -> Version | None:
    return next((v for v in known if v["state"] == "published"), None)


def _waiting(known: list[Version]) -> int:
    """The newest version that passed its checks after the published one was made, or 0."""
    published = _published(known)
    last = published["version"] if published else 0
    passed = (v for v in known if v["state"] == "checked" and not v["trial_rows"] and not _past(v, known))
    return next((v["version"] for v in passed if v["version"] > last), 0)


def _past(version: Version, known: list[Version]) -> bool:
    """Whether it was made for a time before that of the published one, and passed its checks."""
    published = _published(known)
    passed = version["state"] == "checked" and not version["trial_rows"]
    return passed and published is not None and precedes(version, published)


def _since(then: datetime | None, now: datetime) -> timedelta:
    return timedelta(0) if then is None else now - then


def retire(connection: Connection, store: Store, model: str, retention: Retention) -> Iterator[Version]:
    """Retire what is due, and yield each version as its table goes.

    A version that a transaction may still read is left for the next time; readers are never blocked. A parent that
    readers were led away from goes with its last version. A store that cannot be reached is told before any table goes.
    """
    store.reach()
    catalog = Catalog(connection)
    with connection.transaction():
        # Nobody publishes or rolls back to what is decided here.
        catalog.model(model, lock=True)
        seen = catalog.one("models_visible", model=model)["version"]
        for version in due(catalog.versions(model), retention, catalog.now()):
            # The server's clock was set back: new readers still get it.
            if version["version"] == seen:
                continue
            catalog.execute("versions_retire", model=model, version=version["version"])
            catalog.record_event(model, version["version"], "retired")
        catalog.execute("rejects_sweep", model=model, seconds=retention.candidates.total_seconds())
    for version in undropped(connection, model):
        if _drop(connection, version):
            lifecycle.remove_files(connection, store, version)
            yield version
    partitions.drop_empty(connection, model)


def pin(connection: Connection, model: str, version: int, reason: str | None = None) -> None:
    """Keep a version whatever retention says; raises NotAllowed when it is kept already, or has no table to keep."""
    _pin(connection, model, version, reason, pinned=True)


def unpin(connection: Connection, model: str, version: int, reason: str | None = None) -> None:
    """Leave a version to retention again; raises NotAllowed when it is not pinned."""
    _pin(connection, model, version, reason, pinned=False)


def _pin(connection: Connection, model: str, version: int, reason: str | None, *, pinned: bool) -> None:
    catalog = Catalog(connection)
    with connection.transaction():
        # Not while its retirement is being decided.
        catalog.model(model, lock=True)
        row = catalog.version(model, version)
        if catalog.execute("versions_pin", model=model, version=version, pinned=pinned) != 1:
            raise NotAllowed(f"{model} version {version} {_why_not(row, pinned=pinned)}.")
        catalog.record_event(model, version, "pinned" if pinned else "unpinned", reason)


def _why_not(row: Version, *, pinned: bool) -> str:
    if row["state"] in ("failed", "retired"):
        return f"is {row['state']}: its table is gone, and there is nothing to keep"
    if row["state"] in ("building", "staged"):
        return "is not finished; pin it when its run has ended"
    return "is pinned already" if pinned else "is not pinned"


def undropped(connection: Connection, model: str) -> list[Version]:
    """Retired versions whose table is still there, oldest first."""
    return Catalog(connection).all("versions_leftover", model=model)


def _drop(connection: Connection, version: Version) -> bool:
    """Detach and drop the table; gives False when transactions that may read it do not end in time."""
    # Detaching would wait for those that have read it, but first hide it from them, and from those yet to read.
    seen = version["attached_at"] is not None and version["superseded_at"] is not None
    if seen and open_transactions.still_open(connection, version["retired_at"]):
        return False
    connection.execute(query("tables_retire_timeout"))
    try:
        partitions.detach(connection, version)
        connection.execute(query("tables_drop", table=sql.Identifier(version["table_name"])))
    except (pg.LockNotAvailable, pg.QueryCanceled, pg.ObjectNotInPrerequisiteState):  # the last: one detach at a time
        return False
    finally:
        connection.execute(query("tables_retire_timeout_off"))
    return True
