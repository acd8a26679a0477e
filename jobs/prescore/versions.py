"""The life of a version on its writer's side: created with its table, gone on with, given up."""

from __future__ import annotations

from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from prescore.contract.catalog import Catalog, Version
from prescore.contract.database import Connection
from prescore.contract.queries import query
from prescore.contract.spec import Spec
from prescore.steps import stage
from prescore.store import Store


def create(connection: Connection, spec: Spec, made_of: dict[str, str]) -> int:
    """A new version, building, with its empty table; gives its number."""
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
        **made_of,
    )
    stage.create(connection, catalog.version(spec.model, version))
    return version


def unfinished(connection: Connection, model: str, made_of: dict[str, str]) -> int | None:
    """The newest version that a run left behind, if it is made of the same model file, query and spec."""
    left: list[Version] = Catalog(connection).all("versions_unfinished", model=model)
    same = (v for v in left if {name: v[name] for name in made_of} == made_of)  # type: ignore[literal-required]
    newest = next(same, None)
    return newest["version"] if newest else None


def abandon(connection: Connection, store: Store, model: str, *, but: int | None) -> None:
    """Give up what earlier runs left behind, but for the version that this run goes on with."""
    for left in Catalog(connection).all("versions_unfinished", model=model):
        if left["version"] != but:
            fail(connection, store, model, left["version"], "its run ended early, and a later run began anew")


def fail(
    connection: Connection, store: Store, model: str, version: int, error: str, checks: list[Any] | None = None
) -> None:
    """Mark a version that cannot be finished, and drop its table and snapshot; one that was checked stays as it is."""
    catalog = Catalog(connection)
    if catalog.execute("versions_fail", model=model, version=version, error=error, checks=Jsonb(checks or [])):
        table = catalog.version(model, version)["table_name"]
        connection.execute(query("tables_drop", table=sql.Identifier(table)))
        catalog.event(model, version, "failed", error)
        forget(catalog, store, catalog.version(model, version))


def forget(catalog: Catalog, store: Store, version: Version) -> None:
    """Remove what a version was made from, its model file only if no other version needs it."""
    store.drop_snapshot(version["model"], version["version"])
    if catalog.one("versions_of_model_file", model_fingerprint=version["model_fingerprint"])["versions"] == 0:
        store.drop_model(version["model_fingerprint"])
