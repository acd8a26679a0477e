"""Rollback: publish an earlier version again and put the model on hold."""

from __future__ import annotations

from prescore.catalog.catalog import Catalog, Model, Version
from prescore.catalog.database import Connection
from prescore.errors import NotAllowed
from prescore.versions import partitions, pointer
from prescore.versions.hold import hold
from prescore.versions.pointer import Move


def rollback(connection: Connection, model: str, to: int | None = None, reason: str | None = None) -> Version:
    """Publish the last good earlier version, or version `to`, put the model on hold, and return the version's row.

    The version that is left is marked as withdrawn, so that a second rollback goes further back. Raises NotAllowed
    when there is no version to go back to.
    """
    catalog = Catalog(connection)
    target = _target(catalog, catalog.model(model), to)
    # The columns of the earlier version are wanted too, even where they break readers of the current one.
    led = partitions.attach(connection, [target], {}, {model})
    with connection.transaction():
        row = catalog.model(model, lock=True)
        target = _target(catalog, row, target["version"])
        partitions.redirect(connection, target, led)
        left, number = row["published_version"], target["version"]
        pointer.move(catalog, target, Move("rolled back", left, {model: number}, withdraw=True, reason=reason))
        # An existing hold keeps its own reason.
        if row["held_at"] is None:
            hold(connection, model, reason or f"rolled back from version {left} to {number}")
    return catalog.version(model, target["version"])


def _target(catalog: Catalog, row: Model, to: int | None) -> Version:
    model, published = row["model"], row["published_version"]
    if published is None:
        raise NotAllowed(f"{model} has no published version to roll back from.")
    if to is not None:
        target: Version | None = catalog.version(model, to)
    else:
        target = catalog.one("versions_before", model=model, version=published)
    if target is None:
        raise NotAllowed(
            f"{model} has no earlier good version to roll back to. `prescore versions {model}` lists all versions."
        )
    if target["state"] != "superseded":
        raise pointer.unusable(target)
    return target
