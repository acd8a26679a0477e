"""The canary: a checked version beside the published one, served to a share of the keys, or to none and compared."""

from __future__ import annotations

from dataclasses import replace

from prescore.catalog.catalog import Catalog, Model, Version
from prescore.catalog.database import Connection
from prescore.errors import Mistake, NotAllowed
from prescore.versions import partitions, pointer
from prescore.versions.options import PublishOptions
from prescore.versions.publishable import require_canary, require_publishable, version_label


def start(
    connection: Connection,
    model: str,
    version: int,
    share: float,
    options: PublishOptions | None = None,
    reason: str | None = None,
) -> int:
    """Make a version the model's canary for a share of the keys, from 0 (shadow) to 1, or change the share.

    Returns the published version. Another canary is replaced. Raises Mistake for another share, NotAllowed unless
    the version may be published as it is and another version is, and Busy when a lock is in the way.
    """
    if not 0 <= share <= 1:
        raise Mistake(f"The share is {share:g}. Use a number from 0 to 1: 0.1 is a tenth of the keys.")
    catalog = Catalog(connection)
    served = f"--share {share:g}" if share else "--shadow"
    options = replace(options or PublishOptions(), command=f"prescore canary {model} {version} {served}")
    row = require_publishable(catalog, model, version, options)
    _require_eligible(catalog.model(model), row)
    partitions.attach_canary(connection, row, options.grants)
    with connection.transaction():
        before = catalog.model(model, lock=True)
        # The model or the version may have changed before the model was locked.
        published = _require_eligible(before, require_publishable(catalog, model, version, options))
        if before["canary_version"] not in (None, version):
            catalog.record_event(model, before["canary_version"], "canary ended", f"replaced by version {version}")
        # Otherwise, the next run would publish what an interrupted run was about to.
        catalog.execute("versions_set_to_publish", model=model, version=version, publishing=False)
        _set(catalog, model, version, share)
        event = "canary changed" if before["canary_version"] == version else "canary started"
        catalog.record_event(model, version, event, reason, share=share)
    return published


def promote(connection: Connection, model: str, options: PublishOptions, reason: str | None = None) -> Version:
    """Publish the canary, which then is none any more, and return its row; raise NotAllowed or Busy."""
    canary = require_canary(Catalog(connection).model(model))
    promoting = replace(options, promotes=True, reason=reason, command=f"prescore promote {model}")
    return pointer.publish(connection, model, canary, promoting)


def drop(connection: Connection, model: str, reason: str | None = None) -> int:
    """End the canary and return its version, which stays a checked version; raise NotAllowed without a canary."""
    catalog = Catalog(connection)
    with connection.transaction():
        canary = require_canary(catalog.model(model, lock=True))
        _set(catalog, model, None, None)
        catalog.record_event(model, canary, "canary ended", reason)
    return canary


def _require_eligible(model: Model, version: Version) -> int:
    """Return the model's published version; raise NotAllowed if there is none to try a version beside."""
    published = model["published_version"]
    if published is None:
        name = model["model"]
        raise NotAllowed(
            f"{name} has no published version, and a canary is tried beside one. "
            f"`prescore publish {name} {version['version']}` publishes {version_label(version)}."
        )
    return published


def _set(catalog: Catalog, model: str, version: int | None, share: float | None) -> None:
    catalog.execute("models_set_canary", model=model, version=version, share=share)
    catalog.execute("models_notify", model=model)
