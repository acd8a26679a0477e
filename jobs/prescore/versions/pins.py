"""Pins: versions that an operator keeps, whatever retention says."""

from __future__ import annotations

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.errors import NotAllowed


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
