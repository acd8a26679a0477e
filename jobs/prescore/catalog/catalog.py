"""Versions and models as the database has them: read and moved here, and nowhere else."""

from __future__ import annotations

import getpass
import os
from datetime import datetime
from typing import Any, TypedDict

from psycopg.types.json import Jsonb

from prescore import errors
from prescore.catalog.database import Connection
from prescore.catalog.queries import query


class Column(TypedDict):
    """A column of a version table as the catalog describes it.

    `type` is a Postgres type name, `role` one of key, output, passthrough.
    """

    name: str
    type: str
    comment: str
    role: str


class Model(TypedDict):
    """A row of `prescore.models`."""

    model: str
    description: str
    published_version: int | None
    parent_name: str | None
    last_version: int
    held_at: datetime | None
    held_by: str | None
    hold_reason: str | None


class Version(TypedDict):
    """A row of `prescore.versions`."""

    model: str
    version: int
    state: str
    table_name: str
    attached_at: datetime | None
    model_fingerprint: str
    domain_fingerprint: str
    spec_fingerprint: str
    key_columns: list[Column]
    output_columns: list[Column]
    snapshot_location: str | None
    snapshot_fingerprint: str | None
    snapshot_rows: int | None
    snapshot_chunks: int | None
    data_as_of: datetime | None
    max_age_seconds: float | None
    refuse_stale: bool
    cache_seconds: float
    in_memory: bool
    rows: int | None
    rejected: int | None
    checks: list[dict[str, Any]] | None
    checks_fingerprint: str | None
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


def older(one: Version, other: Version) -> bool:
    """Whether the inputs of one version are older than those of another."""
    mine, theirs = one["data_as_of"], other["data_as_of"]
    return mine is not None and theirs is not None and mine < theirs


def precedes(one: Version, other: Version) -> bool:
    """Whether a version was asked for as of a time before that of another, or has older inputs than it."""
    if one["as_of"] is None:
        return False
    return one["as_of"] < (other["as_of"] or other["started_at"]) or older(one, other)


class Catalog:
    """The catalog over one connection; transactions are the caller's."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.actor = actor()

    def one(self, name: str, **values: Any) -> Any:
        """The first row of a named query, or None."""
        return self.connection.execute(query(name), values).fetchone()

    def all(self, name: str, **values: Any) -> list[Any]:
        """All rows of a named query."""
        return self.connection.execute(query(name), values).fetchall()

    def execute(self, name: str, **values: Any) -> int:
        """Run a named statement; gives the number of rows it touched."""
        return self.connection.execute(query(name), values).rowcount

    @property
    def name(self) -> str:
        """What its files are called by in a store that it may share with other catalogs."""
        name: str = self.one("catalog_name")["name"]
        return name

    def now(self) -> datetime:
        """The database's clock, the one that all its moments are of."""
        when: datetime = self.one("now")["now"]
        return when

    def model(self, model: str, *, lock: bool = False) -> Model:
        """The model's row, locked against other publishers if asked; raises NotFound."""
        row: Model | None = self.one("models_lock" if lock else "models_get", model=model)
        if row is None:
            raise errors.NotFound(
                f"No model {model!r} was ever run on this database. `prescore run {model}` makes its first version."
            )
        return row

    def version(self, model: str, version: int) -> Version:
        """One version; raises NotFound."""
        row: Version | None = self.one("versions_get", model=model, version=version)
        if row is None:
            raise errors.NotFound(f"{model} has no version {version}. `prescore versions {model}` lists them.")
        return row

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, newest first."""
        return self.all("versions_list", model=model)

    def record_event(
        self, model: str, version: int | None, event: str, reason: str | None = None, **detail: Any
    ) -> None:
        """Add a row to the history; the actor is whoever runs this process."""
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
    """Who does it, for the history: PRESCORE_ACTOR if set, or the operating system's user."""
    try:
        return os.environ.get("PRESCORE_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user id need not have a name
        return f"uid {os.getuid()}"
