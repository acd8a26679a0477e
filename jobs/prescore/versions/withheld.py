"""Versions that are withheld although they passed their checks.

The model is on hold, newer data is served, or a check warns, so that a person has to approve the publication.
"""

from __future__ import annotations

from collections.abc import Iterable

from prescore.catalog.catalog import Catalog, CheckResult, Model, Version, precedes
from prescore.catalog.database import Connection
from prescore.versions import lifecycle


def waits(connection: Connection, model: str, version: int) -> bool:
    """Return whether neither this run nor a later one is to publish the version, and record that."""
    catalog = Catalog(connection)
    row = catalog.version(model, version)
    on_hold = catalog.model(model)["held_at"] is not None
    waiting = on_hold or is_backfill(catalog, row) or bool(warnings(row["checks"] or ()))
    if waiting:
        lifecycle.set_to_publish(connection, model, version, publishing=False)
    return waiting


def warnings(results: Iterable[CheckResult]) -> list[CheckResult]:
    """Return the check results that require a person's approval."""
    return [result for result in results if result.get("warning")]


def unapproved(version: Version) -> list[CheckResult]:
    """Return the warnings that a version's first publication approves."""
    return warnings(version["checks"] or ()) if version["state"] == "checked" else []


def awaited(version: Version, model: Model) -> list[CheckResult]:
    """Return the warnings for which a version waits for approval, also while it is the canary: none if overtaken."""
    is_newer = version["version"] > (model["published_version"] or 0)
    return unapproved(version) if is_newer else []


def is_backfill(catalog: Catalog, version: Version) -> bool:
    """Return whether the version is for a time before that of the published one, and is kept beside it."""
    model = version["model"]
    published = catalog.model(model)["published_version"]
    if published is None or published == version["version"]:
        return False
    return precedes(version, catalog.version(model, published))
