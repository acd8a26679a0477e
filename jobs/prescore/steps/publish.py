"""Publish the version of a run: readers see it from the moment the pointer moves."""

from __future__ import annotations

from prescore.catalog.catalog import Version
from prescore.catalog.database import Connection
from prescore.versions import pointer
from prescore.versions.lease import Lease
from prescore.versions.options import PublishOptions


def publish(connection: Connection, lease: Lease, model: str, version: int, options: PublishOptions) -> Version:
    """Point readers at a checked version, as only the holder of the lease can; return its row.

    Raises NotAllowed, Busy, or LeaseLost.
    """
    return pointer.publish(connection, model, version, options, lease=lease)
