"""Retention: which versions of a model are kept, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self

from prescore import wording
from prescore.catalog.catalog import Catalog, Version, precedes
from prescore.project.spec import Retention


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
