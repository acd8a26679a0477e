"""The life of a version on its writer's side: created with its table, gone on with, given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from prescore import rejects
from prescore.contract.catalog import Catalog, Version
from prescore.contract.database import Connection
from prescore.contract.queries import query
from prescore.contract.spec import Spec
from prescore.steps import stage
from prescore.store import Store

STALE = timedelta(days=1)


def create(connection: Connection, spec: Spec, made_of: dict[str, str], trial_rows: int | None = None) -> int:
    """A new version, building, with its empty table; gives its number. With `trial_rows` it is never published."""
    catalog = Catalog(connection)
    version: int = catalog.one("versions_number", model=spec.model)["version"]
    promise = spec.freshness.max_age
    catalog.execute(
        "versions_create",
        model=spec.model,
        version=version,
        table_name=f"{spec.model}_v{version}",
        key_columns=Jsonb(spec.key_columns),
        output_columns=Jsonb(spec.output_columns),
        max_age_seconds=None if promise is None else promise.total_seconds(),
        trial_rows=trial_rows,
        **made_of,
    )
    stage.create(connection, catalog.version(spec.model, version))
    return version


def unfinished(connection: Connection, store: Store, model: str, made_of: dict[str, str]) -> int | None:
    """The newest version that a run left behind, if it can be gone on with.

    It must be made of the same model file, query and spec, its snapshot must be as it was, its inputs not older than a
    day (last week's half is no help tonight), and its rejects kept: of a version that was sure to be refused only the
    first are, and by now more may be allowed.
    """
    left: list[Version] = Catalog(connection).all("versions_unfinished", model=model)
    for version in left:
        same = all(version[name] == value for name, value in made_of.items())  # type: ignore[literal-required]
        recent = datetime.now(UTC) - version["started_at"] < STALE
        if same and recent and store.intact(version) and rejects.complete(connection, version):
            return version["version"]
    return None


def note_resumption(connection: Connection, model: str, version: int) -> None:
    """Note in the history that a run goes on with a version, and what it found: chunks, and the time they had taken."""
    catalog = Catalog(connection)
    chunks = catalog.one("chunks_total", model=model, version=version)["chunks"]
    seconds = catalog.version(model, version)["seconds"]
    catalog.event(model, version, "resumed", chunks=chunks, seconds=seconds)


def abandon(connection: Connection, model: str, *, but: int) -> list[Version]:
    """Give up what earlier runs left behind, but for one version; gives those that are, for `forget` after the commit.

    One that passed its checks stays for whoever wants to publish it.
    """
    left: list[Version] = Catalog(connection).all("versions_unfinished", model=model)
    others = [version for version in left if version["version"] != but]
    for version in others:
        intend(connection, model, version["version"], publishing=False)
    why = "its run ended early, and a later run began anew"
    return [version for version in others if fail(connection, version, why)]


def intend(connection: Connection, model: str, version: int, *, publishing: bool) -> None:
    """Note whether a run means to publish a version, so that the next one does if this one does not come to that."""
    Catalog(connection).execute("versions_intend", model=model, version=version, publishing=publishing)


def fail(connection: Connection, version: Version, error: str, checks: list[Any] | None = None) -> bool:
    """Mark a version that cannot be finished and drop its table; False, and nothing done, for one that was checked."""
    catalog, name = Catalog(connection), {"model": version["model"], "version": version["version"]}
    if not catalog.execute("versions_fail", **name, error=error, checks=Jsonb(checks or [])):
        return False
    connection.execute(query("tables_lock_timeout"))  # a stopped process may hold the table open for ever
    connection.execute(query("tables_drop", table=sql.Identifier(version["table_name"])))
    catalog.event(version["model"], version["version"], "failed", error)
    return True


def forget(connection: Connection, store: Store, version: Version) -> None:
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
