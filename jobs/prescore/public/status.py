"""The status of a model: what is served and how old it is, as `prescore status` and notebooks show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from prescore.catalog.catalog import CheckResult
from prescore.public.formatting import format_age, format_share
from prescore.public.model_version import approval, mark_state
from prescore.public.results import Result


@dataclass(frozen=True)
class ModelStatus(Result):
    """What is served of a model and how old it is, and what became of its newest version.

    `version` and the four fields after it are None before the first publication; `max_age_seconds` is None for a
    model without a max age. `table_fault` says what happened by hand to the table of the served version: `was dropped
    or renamed`, `was truncated` or `was detached from the model's table`; None if nothing did. `canary_version` is the
    version that is tried beside the served one, None without a canary, and `canary_share` its share of the keys.
    `waiting_version` is the newest version that waits for a person's approval, None without one, and `awaits` has the
    check results for which it does.
    """

    model: str
    version: int | None
    data_as_of: datetime | None
    published_at: datetime | None
    age_seconds: float | None
    max_age_seconds: float | None
    stale: bool | None
    held: bool
    hold_reason: str | None
    canary_version: int | None
    canary_share: float | None
    waiting_version: int | None = field(repr=False)
    awaits: Sequence[CheckResult] = field(hash=False, repr=False)
    newest_version: int | None
    newest_state: str | None
    newest_started_at: datetime | None
    newest_withdrawn: bool
    newest_trial_rows: int | None
    table_fault: str | None

    def summary(self) -> dict[str, object]:
        """Return what tables show of the model: heading → value."""
        return {
            "model": self.model,
            "version": self._version(),
            "age": format_age(self.age_seconds),
            "max age": format_age(self.max_age_seconds),
            "stale": self.stale,
            "held": self.held,
            "last run": self.last_run(),
        }

    def _version(self) -> str | None:
        if self.version is None:
            return None
        text = f"{self.version}" if self.table_fault is None else f"{self.version}, whose table {self.table_fault}"
        canary = self.canary()
        if canary is not None:
            text = f"{text}; canary {canary}"
        if self.waiting_version is not None:
            text = f"{text}; {self.waiting_version} waits for approval"
        return text

    def canary(self) -> str | None:
        """Return the canary and what it is served to, None without one."""
        if self.canary_version is None or self.canary_share is None:
            return None
        return f"{self.canary_version} {format_share(self.canary_share)}"

    def waiting(self) -> str | None:
        """Return which version waits for approval, why, and how to approve it; None without one."""
        if self.waiting_version is None:
            return None
        return f"version {self.waiting_version} {approval(self.model, self.waiting_version, self.awaits)}"

    def last_run(self) -> str | None:
        """Return what became of the newest version, None without one."""
        if self.newest_state is None:
            return None
        is_trial = self.newest_trial_rows is not None
        state = mark_state(self.newest_state, trial=is_trial, withdrawn=self.newest_withdrawn)
        return f"version {self.newest_version} {state}"
