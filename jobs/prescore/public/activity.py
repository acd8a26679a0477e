"""The activity of one model: its unfinished run, its lease, what waits, and the readers of old versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from prescore.catalog.catalog import Catalog
from prescore.public import html
from prescore.public.model_version import ModelVersion
from prescore.public.results import Result
from prescore.public.status import ModelStatus
from prescore.wording import age, count, utc


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that is at work, or was interrupted: its version, and how far the ledger of chunks has come.

    `chunks` and `rows` are None until the snapshot is complete.
    """

    version: int
    state: str
    started_at: datetime
    trial_rows: int | None
    as_of: datetime | None
    chunks: int | None
    finished_chunks: int
    rows: int | None
    finished_rows: int
    last_chunk_at: datetime | None

    @property
    def step(self) -> str:
        """The step that the run is in, or that the next run resumes with."""
        if self.state == "building":
            if self.chunks is None:
                return "snapshot"
            return "score" if self.finished_chunks < self.chunks else "stage"
        return "check" if self.state == "staged" else "publish"

    def sentence(self) -> str:
        """Return the run as people read it."""
        text = f"version {self.version} since {utc(self.started_at)}: {self.step}"
        if self.step == "score":
            text += f", {self.finished_chunks:,} of {count(self.chunks or 0, 'chunk')}"
            text += f", {self.finished_rows:,} of {count(self.rows or 0, 'row')}"
        if self.last_chunk_at is not None:
            text += f", last chunk at {utc(self.last_chunk_at)}"
        return text


@dataclass(frozen=True)
class LeaseHolder:
    """Who may write the model, until when, and whether a session of the holder is connected to the database."""

    holder: str
    expires_at: datetime
    connected: bool

    def sentence(self) -> str:
        """Return the holder as people read it."""
        link = "connected" if self.connected else "not connected"
        return f"{self.holder}, {link}; ends {utc(self.expires_at)} unless renewed"


@dataclass(frozen=True)
class OpenSession:
    """A session of the database. `since` is when its transaction began, None if this role may not see that."""

    pid: int
    user: str | None
    application: str
    since: datetime | None

    def sentence(self) -> str:
        """Return the session as people read it."""
        names = [name for name in (self.user, self.application) if name]
        text = f"session {self.pid} ({', '.join(names)})"
        return text if self.since is None else f"{text}, in a transaction since {utc(self.since)}"


@dataclass(frozen=True)
class Wait:
    """A session of prescore that waits: for what, since when, and for which other sessions."""

    pid: int
    application: str
    waits_for: str
    since: datetime
    blockers: tuple[OpenSession, ...]

    def sentence(self) -> str:
        """Return the wait as people read it."""
        text = f"session {self.pid} ({self.application}) since {utc(self.since)} for {self.waits_for}"
        if not self.blockers:
            return text
        return f"{text}, held by {'; '.join(session.sentence() for session in self.blockers)}"


@dataclass(frozen=True)
class Reader:
    """An open transaction that keeps the table of a retired or failed version from being dropped."""

    version: int
    session: OpenSession

    def sentence(self) -> str:
        """Return the reader as people read it."""
        return f"version {self.version}, kept by {self.session.sentence()}"


@dataclass(frozen=True)
class ModelActivity(Result):
    """What is served of a model, and its activity now. `reason` is why its newest version was not finished."""

    status: ModelStatus
    run: UnfinishedRun | None
    lease: LeaseHolder | None
    waits: tuple[Wait, ...]
    readers: tuple[Reader, ...]
    reason: str | None

    @classmethod
    def from_catalog(cls, catalog: Catalog, name: str) -> Self:
        """Return the activity of a model that has been run; raises NotFound for any other."""
        last = catalog.model(name)["last_version"]
        run = catalog.one("activity_run", model=name)
        lease = catalog.one("activity_lease", model=name)
        sessions = None if lease is None else lease.pop("sessions")
        return cls(
            status=ModelStatus(**catalog.one("status_models", model=name)),
            run=None if run is None else UnfinishedRun(**run),
            lease=None if lease is None else LeaseHolder(**lease),
            waits=tuple(_waits(catalog.all("activity_waits", sessions=sessions))),
            readers=tuple(map(_reader, catalog.all("activity_readers", model=name))),
            reason=ModelVersion.from_row(catalog.version(name, last)).reason if last else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the status of the model, with `run`, `lease`, `waits`, `readers` and `reason` beside it."""
        inner = super().as_dict()
        status: dict[str, Any] = inner.pop("status")
        if self.run is not None:
            inner["run"]["step"] = self.run.step
        return status | inner

    def summary(self) -> dict[str, object]:
        """Return a line for each thing that there is to say: name → text."""
        lines = {
            "served": self._served(),
            "canary": self._canary(),
            "approval": self.status.waiting(),
            "on hold": self.status.hold_reason,
            "run": self._run(),
            "lease": None if self.lease is None else self.lease.sentence(),
            "waits": "; ".join(wait.sentence() for wait in self.waits),
            "not dropped": "; ".join(reader.sentence() for reader in self.readers),
            "last run": None if self.run else self._last_run(),
        }
        return {name: text for name, text in lines.items() if text}

    def _served(self) -> str:
        status = self.status
        if status.version is None or status.data_as_of is None or status.age_seconds is None:
            return "nothing has been published"
        text = f"version {status.version}, data as of {utc(status.data_as_of)}, {age(status.age_seconds)} old"
        if status.table_fault is not None:
            return f"{text}, but its table {status.table_fault} by hand: `prescore rollback {status.model}`"
        if status.max_age_seconds is None:
            return text
        state = "stale: " if status.stale else ""
        return f"{text} ({state}max age {age(status.max_age_seconds)})"

    def _canary(self) -> str | None:
        canary = self.status.canary()
        return None if canary is None else f"version {canary}"

    def _run(self) -> str | None:
        if self.run is None:
            return None
        if self.lease is None:
            return f"{self.run.sentence()}. Interrupted: the next run resumes it"
        return self.run.sentence()

    def _last_run(self) -> str | None:
        outcome = self.status.last_run()
        if outcome is None or not self.reason:
            return outcome
        return f"{outcome}: {self.reason}"

    def _repr_html_(self) -> str:
        return html.record({"model": self.status.model, **self.summary()})


def _waits(rows: list[dict[str, Any]]) -> Iterator[Wait]:
    """Yield the waiting sessions; the statement returns a row for each session that one waits for."""
    blockers: dict[int, list[OpenSession]] = {}
    waiting = {}
    for row in rows:
        waiting[row["pid"]] = row
        found = blockers.setdefault(row["pid"], [])
        if row["blocker_pid"] is not None:
            session = OpenSession(
                row["blocker_pid"], row["blocker_user"], row["blocker_application"], row["blocker_since"]
            )
            found.append(session)
    for pid, row in waiting.items():
        yield Wait(pid, row["application"], row["waits_for"], row["since"], tuple(blockers[pid]))


def _reader(row: dict[str, Any]) -> Reader:
    session = OpenSession(row["pid"], row["user"], row["application"], row["since"])
    return Reader(row["version"], session)
