"""Models and versions as rows of the catalog, and the named statements that read and change them."""

from __future__ import annotations

import getpass
import os
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict, overload
from uuid import UUID

from psycopg.types.json import Jsonb

from prescore import errors
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.wording import did_you_mean


class Column(TypedDict):
    """A column of a version's table, as the catalog describes it.

    `type` is a name of `types.TYPES`; `role` is one of key, output, passthrough.
    """

    name: str
    type: str
    comment: str
    role: str


class CheckResult(TypedDict):
    """The result of one check of a version; `observed` is a finite number, a boolean, or a short text.

    With a `warning` the version passes, and a person has to approve its publication.
    """

    name: str
    passed: bool
    observed: Any
    expected: str
    warning: NotRequired[bool]


class Model(TypedDict):
    """A row of `prescore.models`."""

    model: str
    description: str
    published_version: int | None
    parent_name: str | None
    reads_deltas: bool
    canary_version: int | None
    canary_share: float | None
    last_version: int
    held_at: datetime | None
    held_by: str | None
    hold_reason: str | None


class Serving(TypedDict):
    """How the lookup API serves a version, as its spec says: ages and times in seconds, no max age as None."""

    max_age_seconds: float | None
    refuse_stale: bool
    cache_seconds: float
    in_memory: bool
    live: bool
    live_cache_seconds: float


class Version(Serving):
    """A row of `prescore.versions`."""

    model: str
    version: int
    id: UUID
    state: str
    table_name: str
    rows_version: int
    rows_table: str
    rows_stored: int | None
    base_version: int | None
    base_table: str | None
    content_version: int
    changes: dict[str, Any] | None
    changes_location: str | None
    unchanged_value: str | None
    kept: int
    updated: int
    tombstones: bool
    attached_at: datetime | None
    model_fingerprint: str | None
    domain_fingerprint: str
    spec_fingerprint: str
    spec: dict[str, Any]
    signature: dict[str, Any] | None
    runtime: str | None
    producer: str
    prescore_version: str
    examples_fingerprint: str | None
    chunk_rows: int | None
    parameters: dict[str, Any]
    key_columns: list[Column]
    output_columns: list[Column]
    snapshot_location: str | None
    snapshot_fingerprint: str | None
    snapshot_rows: int | None
    snapshot_chunks: int | None
    data_as_of: datetime | None
    rows: int | None
    rejected: int | None
    checks: list[CheckResult] | None
    checks_fingerprint: str | None
    comparison: dict[str, Any] | None
    seconds: dict[str, float]
    error: str | None
    started_at: datetime
    staged_at: datetime | None
    checked_at: datetime | None
    published_at: datetime | None
    superseded_at: datetime | None
    withdrawn_at: datetime | None
    pinned_at: datetime | None
    trial_rows: int | None
    as_of: datetime | None
    to_publish: bool
    retired_at: datetime | None


class Event(TypedDict):
    """A row of `prescore.events`: an entry of a model's history."""

    at: datetime
    model: str
    version: int | None
    event: str
    actor: str
    reason: str | None
    detail: dict[str, Any]


class Freshness(TypedDict):
    """A row of `predictions.freshness`: the age of a published version, in seconds."""

    model: str
    version: int
    data_as_of: datetime
    published_at: datetime
    age_seconds: float
    max_age_seconds: float | None
    stale: bool
    held: bool


def older(version: Version, other: Version) -> bool:
    """Return whether a version has older inputs than another; False while either has no `data_as_of`."""
    if version["data_as_of"] is None or other["data_as_of"] is None:
        return False
    return version["data_as_of"] < other["data_as_of"]


def precedes(version: Version, other: Version) -> bool:
    """Return whether a version is a backfill for a time before another version, or with older inputs."""
    if version["as_of"] is None:
        return False
    other_time = other["as_of"] or other["started_at"]
    return version["as_of"] < other_time or older(version, other)


class Catalog:
    """The catalog over one connection. The caller opens transactions.

    Statements run by name. `tests/test_queries.py` checks the names, parameters and row types of all calls.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.actor = actor()

    @overload
    def one(self, name: Literal["models_get", "models_lock"], /, **values: Any) -> Model | None: ...
    @overload
    def one(self, name: Literal["versions_get", "versions_before"], /, **values: Any) -> Version | None: ...
    @overload
    def one(self, name: str, /, **values: Any) -> Any: ...
    def one(self, name: str, /, **values: Any) -> Any:
        """Run a named statement and return its first row, or None when it returns no row."""
        return self.connection.execute(query(name), values).fetchone()

    @overload
    def all(
        self, name: Literal["versions_list", "versions_unfinished", "versions_leftover"], /, **values: Any
    ) -> list[Version]: ...
    @overload
    def all(self, name: Literal["events_list"], /, **values: Any) -> list[Event]: ...
    @overload
    def all(self, name: Literal["status_freshness"], /, **values: Any) -> list[Freshness]: ...
    @overload
    def all(self, name: str, /, **values: Any) -> list[Any]: ...
    def all(self, name: str, /, **values: Any) -> list[Any]:
        """Run a named statement and return all its rows."""
        return self.connection.execute(query(name), values).fetchall()

    def execute(self, name: str, /, **values: Any) -> int:
        """Run a named statement and return the number of rows that it changed."""
        return self.connection.execute(query(name), values).rowcount

    @property
    def name(self) -> str:
        """The name of this catalog's folder in a store, which several catalogs may share."""
        name: str = self.one("catalog_name")["name"]
        return name

    def now(self) -> datetime:
        """Return the time of the database's clock, which every time in the catalog comes from."""
        now: datetime = self.one("now")["now"]
        return now

    def model(self, model: str, *, lock: bool = False) -> Model:
        """Return a model, with `lock` locked against concurrent publications; raise NotFound."""
        row = self.one("models_lock", model=model) if lock else self.one("models_get", model=model)
        if row is None:
            known = [row["model"] for row in self.all("models_names")]
            raise errors.NotFound(
                f"Model {model!r} has never been run on this database.{did_you_mean(model, known)} "
                f"Run `prescore run {model}` to create its first version."
            )
        return row

    def version(self, model: str, version: int) -> Version:
        """Return a version of a model; raise NotFound."""
        row = self.one("versions_get", model=model, version=version)
        if row is None:
            raise errors.NotFound(f"{model} has no version {version}. `prescore versions {model}` lists all versions.")
        return row

    def versions(self, model: str) -> list[Version]:
        """Return all versions of a model, newest first."""
        return self.all("versions_list", model=model)

    def record_event(
        self, model: str, version: int | None, event: str, reason: str | None = None, **detail: Any
    ) -> None:
        """Add an event to the history, with the user of this process as its actor and `detail` as JSON."""
        self.execute(
            "events_add",
            model=model,
            version=version,
            event=event,
            actor=self.actor,
            reason=reason,
            detail=Jsonb(detail),
        )


def actor() -> str:
    """Return the user that the history records: PRESCORE_ACTOR if set, otherwise the operating system's user."""
    try:
        return os.environ.get("PRESCORE_ACTOR") or getpass.getuser()
    except (KeyError, OSError):
        # In a container, a user id need not have a name.
        return f"uid {os.getuid()}"
