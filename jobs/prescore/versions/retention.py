"""Retention: which versions are kept and why. Retirement: tables detached and dropped, files removed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self

from psycopg import errors as pg

from prescore import wording
from prescore.catalog.catalog import Catalog, Version, precedes
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.errors import NotAllowed
from prescore.project.spec import Retention
from prescore.store.store import Store
from prescore.versions import lifecycle, open_transactions, partitions, table

_log = logging.getLogger("prescore")
_ELSEWHERE = (
    pg.LockNotAvailable,
    pg.QueryCanceled,
    pg.DeadlockDetected,
    # While another detach is under way.
    pg.ObjectNotInPrerequisiteState,
    # Another retirement has just detached or dropped the table, or is about to.
    pg.UndefinedTable,
    pg.InternalError_,
    # An object was created since its dependents were queried.
    pg.DependentObjectsStillExist,
)
"""Errors of detaching and dropping a table that another session is at work on. The next retirement tries again."""


@dataclass(frozen=True)
class Inventory:
    """The versions of one model, newest first, and what decides which of them are kept.

    `visible` is the version that new transactions read, `canary` the one that is tried beside it, `now` the time by the
    database's clock.
    """

    versions: Sequence[Version]
    retention: Retention
    now: datetime
    visible: int | None
    canary: int | None = None

    @classmethod
    def from_catalog(cls, catalog: Catalog, model: str, retention: Retention) -> Self:
        """Return the inventory of a model under a retention."""
        return cls(
            versions=catalog.versions(model),
            retention=retention,
            now=catalog.now(),
            visible=catalog.one("models_visible", model=model)["version"],
            canary=catalog.model(model)["canary_version"],
        )

    def existing(self) -> list[Version]:
        """Return the versions that are neither failed nor retired, newest first."""
        return [version for version in self.versions if version["state"] not in ("failed", "retired")]

    def retirable(self) -> list[Version]:
        """Return the versions that nothing keeps, oldest first."""
        oldest_first = reversed(self.existing())
        return [version for version in oldest_first if self.reason_to_keep(version) is None]

    def reason_to_keep(self, version: Version) -> str | None:
        """Return why an existing version is kept, as a clause, or None if it is to be retired."""
        reason = self._own_reason(version)
        if reason is None and version["version"] in self._lenders:
            return "a later version shares its rows"
        return reason

    def _own_reason(self, version: Version) -> str | None:
        """Return why a version is kept for its own sake."""
        state = version["state"]
        if state in ("building", "staged"):
            return "it is unfinished"
        if state == "published":
            return "it is published"
        if version["version"] == self.canary:
            return "it is the canary"
        if version["pinned_at"] is not None:
            return "it is pinned"
        if version["version"] == self.visible:
            return "readers still see it: the server's clock was set back"
        if state == "superseded":
            return self._reason_to_keep_superseded(version)
        if self._is_backfill(version):
            setting, limit = "retention.backfills", self.retention.backfills
        elif version["version"] == self._waiting:
            return "it passed its checks and waits to be published"
        else:
            setting, limit = "retention.candidates", self.retention.candidates
        return self._reason_by_age(version["checked_at"], "checked", setting, limit)

    @cached_property
    def _lenders(self) -> set[int]:
        """The versions whose rows versions that are kept show: the bases of deltas, and those with the same rows.

        A version shares rows only with earlier ones, so the newest version comes first.
        """
        lenders: set[int] = set()
        for version in self.existing():
            number = version["version"]
            if number not in lenders and self._own_reason(version) is None:
                continue
            for shared in (version["base_version"], version["rows_version"]):
                if shared not in (None, number):
                    lenders.add(shared)
        return lenders

    def _reason_to_keep_superseded(self, version: Version) -> str | None:
        candidates, grace = self.retention.candidates, self.retention.grace
        if version["withdrawn_at"] is not None:
            setting = "retention.candidates" if candidates > grace else "retention.grace"
            return self._reason_by_age(
                version["withdrawn_at"],
                "withdrawn",
                setting,
                max(candidates, grace),
            )
        if version["version"] in self._newest_good:
            return f"it is among the newest {self.retention.versions} good versions (retention.versions)"
        return self._reason_by_age(version["superseded_at"], "superseded", "retention.grace", grace)

    def _reason_by_age(
        self,
        since: datetime | None,
        event: str,
        setting: str,
        limit: timedelta,
    ) -> str | None:
        age = timedelta(0) if since is None else self.now - since
        if age >= limit:
            return None
        ago = wording.age(age.total_seconds())
        return f"it was {event} {ago} ago, and {setting} is {wording.age(limit.total_seconds())}"

    @cached_property
    def _published(self) -> Version | None:
        for version in self.versions:
            if version["state"] == "published":
                return version
        return None

    @cached_property
    def _newest_good(self) -> set[int]:
        """Versions to roll back to: the newest superseded ones that are neither withdrawn nor pinned.

        The published version counts as one of `retention.versions`. Of versions with the same predictions, only the
        newest counts.
        """
        good = []
        seen = {self._published["content_version"]} if self._published else set()
        for version in self.versions:
            if version["state"] != "superseded" or version["content_version"] in seen:
                continue
            if version["withdrawn_at"] is None and version["pinned_at"] is None:
                good.append(version["version"])
                seen.add(version["content_version"])
        return set(good[: self.retention.versions - 1])

    @cached_property
    def _waiting(self) -> int | None:
        """The newest version that passed its checks and was made after the published one."""
        last = self._published["version"] if self._published else 0
        for version in self.versions:
            if version["version"] > last and _may_be_published(version) and not self._is_backfill(version):
                return version["version"]
        return None

    def _is_backfill(self, version: Version) -> bool:
        """Return whether a version passed its checks and is for a time before that of the published one."""
        if self._published is None or not _may_be_published(version):
            return False
        return precedes(version, self._published)


def _may_be_published(version: Version) -> bool:
    return version["state"] == "checked" and not version["trial_rows"]


def retire(
    connection: Connection,
    store: Store,
    model: str,
    retention: Retention,
) -> Iterator[Version]:
    """Retire the versions that nothing keeps, and yield each version when its table has been dropped, newest first.

    A version that a transaction may still read, or that another object depends on, is left for the next time: readers
    are never blocked, and two retirements at once are harmless. A parent that the
    view no longer reads is dropped after its last version. Raises the store's error before any table is dropped if the
    store cannot be reached.
    """
    store.require_access()
    catalog = Catalog(connection)
    with connection.transaction():
        # While the model is locked, no other session publishes or rolls back to a version that is retired here.
        catalog.model(model, lock=True)
        inventory = Inventory.from_catalog(catalog, model, retention)
        for version in inventory.retirable():
            number = version["version"]
            catalog.execute("versions_retire", model=model, version=number)
            catalog.record_event(model, number, "retired")
        catalog.execute(
            "rejects_sweep",
            model=model,
            seconds=retention.candidates.total_seconds(),
        )
        catalog.execute("profiles_sweep", model=model)
    # An older version may lend its rows to a newer one.
    for version in reversed(undropped(connection, model)):
        if _drop(connection, version):
            lifecycle.remove_files(connection, store, version)
            yield version
    partitions.drop_empty(connection, model)


def pin(
    connection: Connection,
    model: str,
    version: int,
    reason: str | None = None,
) -> None:
    """Keep a version whatever retention says; raise NotAllowed when it is pinned already or has no table to keep."""
    _set_pinned(connection, model, version, reason, pinned=True)


def unpin(
    connection: Connection,
    model: str,
    version: int,
    reason: str | None = None,
) -> None:
    """Leave a version to retention again; raise NotAllowed when it is not pinned."""
    _set_pinned(connection, model, version, reason, pinned=False)


def _set_pinned(
    connection: Connection,
    model: str,
    version: int,
    reason: str | None,
    *,
    pinned: bool,
) -> None:
    catalog = Catalog(connection)
    with connection.transaction():
        # The lock waits for a retirement that is under way.
        catalog.model(model, lock=True)
        row = catalog.version(model, version)
        changed = catalog.execute(
            "versions_pin",
            model=model,
            version=version,
            pinned=pinned,
        )
        if not changed:
            raise _pin_error(row, pinned=pinned)
        event = "pinned" if pinned else "unpinned"
        catalog.record_event(model, version, event, reason)


def _pin_error(row: Version, *, pinned: bool) -> NotAllowed:
    state = row["state"]
    if state in ("failed", "retired"):
        problem = f"is {state}: its table is gone, and there is nothing to keep"
    elif state in ("building", "staged"):
        problem = "is not finished. Pin it when its run has ended"
    else:
        problem = "is already pinned" if pinned else "is not pinned"
    return NotAllowed(f"{row['model']} version {row['version']} {problem}.")


def dependents(connection: Connection, version: Version) -> list[str]:
    """Return the objects, such as other people's views, that keep a version's table from being dropped."""
    rows = Catalog(connection).all("tables_dependents", model=version["model"], version=version["version"])
    return [row["dependent"] for row in rows]


def undropped(connection: Connection, model: str) -> list[Version]:
    """Return the retired and failed versions whose table is still there, oldest first."""
    return Catalog(connection).all("versions_leftover", model=model)


def warn_of_dependents(connection: Connection, model: str) -> None:
    """Log the objects that keep tables of retired versions on disk, for a retirement that reports nothing itself."""
    for version in undropped(connection, model):
        names = dependents(connection, version)
        if names:
            _log.warning(
                "prescore_versions.%s is retired, but stays on disk, because these objects depend on it: %s. Drop "
                "them, and the next retirement drops the table.",
                version["table_name"],
                ", ".join(names),
            )


def _drop(connection: Connection, version: Version) -> bool:
    """Detach and drop a version's table; return False while transactions may read it or other objects depend on it."""
    if dependents(connection, version):
        return False
    # Detaching waits for transactions that have read the version, but first hides it from them, and from others that
    # have yet to read it.
    if version["attached_at"] is not None and open_transactions.still_open(connection, version["retired_at"]):
        return False
    connection.execute(query("tables_retire_timeout"))
    try:
        partitions.detach(connection, version)
        table.drop(connection, version)
    except _ELSEWHERE:
        return False
    finally:
        connection.execute(query("tables_retire_timeout_off"))
    return True
