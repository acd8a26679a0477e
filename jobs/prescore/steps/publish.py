"""Publish the version of a run: point readers at it."""

from __future__ import annotations

from prescore.catalog.catalog import Version
from prescore.catalog.database import Connection
from prescore.versions import pointer
from prescore.versions.lease import Lease
from prescore.versions.options import PublishOptions


def publish(
    connection: Connection,
    lease: Lease,
    model: str,
    version: int,
    options: PublishOptions,
) -> Version:
    """Point readers at a checked version while holding its model's lease; return the version's row.

    Raises NotAllowed, Busy, or LeaseLost.
    """
    return pointer.publish(connection, model, version, options, lease=lease)
