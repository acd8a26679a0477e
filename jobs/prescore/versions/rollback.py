"""Rollback: publish an earlier version again and put the model on hold."""

from __future__ import annotations

from prescore.catalog.catalog import Catalog, Model, Version
from prescore.catalog.database import Connection
from prescore.errors import NotAllowed
from prescore.versions import partitions, pointer, publishable
from prescore.versions.hold import hold
from prescore.versions.pointer import Move


def rollback(
    connection: Connection,
    model: str,
    to: int | None = None,
    reason: str | None = None,
) -> Version:
    """Publish the last good earlier version, or version `to`, put the model on hold, and return the version's row.

    The version that is left is marked as withdrawn, so that a second rollback goes further back. A canary ends. Raises
    NotAllowed when there is no version to go back to.
    """
    catalog = Catalog(connection)
    target = _target(catalog, catalog.model(model), to)
    number = target["version"]
    # Going back includes going back to the earlier version's columns, even if that breaks readers.
    redirected = partitions.attach(connection, [target], {}, breaking={model})
    with connection.transaction():
        row = catalog.model(model, lock=True)
        # The target may have been retired before the model was locked.
        target = _target(catalog, row, number)
        partitions.redirect(connection, target, redirected)
        left = row["published_version"]
        move = Move(
            event="rolled back",
            before=left,
            together={model: number},
            withdraw=True,
            ends_canary=f"rolled back to version {number}",
            reason=reason,
        )
        pointer.move(catalog, target, move)
        # A hold by hand keeps its own reason; that of an earlier rollback is out of date.
        if row["held_at"] is None or catalog.one("events_hold_by_rollback", model=model)["found"]:
            hold(connection, model, reason or f"rolled back from version {left} to {number}", rolled_back=True)
    return catalog.version(model, number)


def _target(catalog: Catalog, row: Model, to: int | None) -> Version:
    model = row["model"]
    published = row["published_version"]
    if published is None:
        raise NotAllowed(f"{model} has no published version to roll back from.")
    target: Version | None
    if to is None:
        target = catalog.one("versions_before", model=model, version=published)
    else:
        target = catalog.version(model, to)
    if target is None:
        raise NotAllowed(
            f"{model} has no earlier good version to roll back to. `prescore versions {model}` lists all versions."
        )
    if target["state"] != "superseded":
        raise publishable.unusable(target)
    publishable.require_table(catalog, target)
    return target
