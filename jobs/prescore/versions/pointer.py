"""The pointer that readers follow: which version may be published, and the one transaction that publishes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prescore.catalog.catalog import Catalog, Model, Version, older
from prescore.catalog.database import Connection
from prescore.errors import Busy, NotAllowed
from prescore.versions import partitions
from prescore.versions.lease import Lease
from prescore.versions.options import PublishOptions

STATE_MESSAGES = {
    "published": "is already the published one",
    "refused": "was refused by its checks",
    "building": "is still being built",
    "staged": "has not been checked",
    "failed": "was never finished",
    "retired": "is retired: its table is gone",
    "checked": "was never published, so there is no going back to it; publish it",
}
"""Why a version in this state can be neither published nor rolled back to."""


@dataclass(frozen=True)
class Move:
    """One movement of the pointer.

    `event` is its name in the history, `before` the version that was published, `together` the versions of all models
    that are published in the same transaction. `withdraw` marks the version that is left as not to be rolled back to.
    """

    event: str
    before: int | None
    together: Mapping[str, int]
    withdraw: bool = False
    reason: str | None = None


def publish(
    connection: Connection,
    model: str,
    version: int,
    options: PublishOptions | None = None,
    *,
    lease: Lease | None = None,
) -> Version:
    """Point readers at a checked or superseded version and return its row; raises NotAllowed or Busy.

    The pointer moves in one transaction: readers see the whole old version, then the whole new one.
    """
    return publish_together(connection, {model: (version, options or PublishOptions())}, lease=lease)[0]


def publish_together(
    connection: Connection, chosen: Mapping[str, tuple[int, PublishOptions]], *, lease: Lease | None = None
) -> list[Version]:
    """Point readers at versions of several models, all in one transaction or none, and return their rows.

    Raises NotAllowed for a version that may not be published, Busy when a lock or a concurrent publication is in the
    way.
    """
    catalog = Catalog(connection)
    # Every publisher locks models in the same order, so that none waits for another in a circle.
    ordered = [(model, *chosen[model]) for model in sorted(chosen)]
    publishable = [_publishable(catalog, model, version, options) for model, version, options in ordered]
    grants = {model: options.grants for model, _, options in ordered}
    breaking = {model for model, _, options in ordered if options.allow_breaking}
    led = partitions.attach(connection, publishable, grants, breaking)
    together = {model: version for model, version, _ in ordered}
    with connection.transaction():
        for model, version, options in ordered:
            before = catalog.model(model, lock=True)["published_version"]
            row = _publishable(catalog, model, version, options)
            partitions.redirect(connection, row, led, grants[model])
            move(catalog, row, Move("published", before, together))
        if lease is not None:
            lease.check(connection)
    return [catalog.version(model, version) for model, version, _ in ordered]


def move(catalog: Catalog, version: Version, moved: Move) -> None:
    """Move the pointer to a version, in the caller's transaction; raises Busy when the version changed meanwhile."""
    name = {"model": version["model"], "version": version["version"]}
    catalog.execute("versions_supersede", model=version["model"], withdraw=moved.withdraw)
    if catalog.execute("versions_publish", **name) != 1:
        raise Busy(f"{_name(version)} changed while it was being published; try again.")
    catalog.execute("models_point", **name)
    models, numbers = list(moved.together), list(moved.together.values())
    catalog.execute("models_record_publication", **name, models=models, versions=numbers)
    catalog.record_event(version["model"], version["version"], moved.event, moved.reason, was=moved.before)
    catalog.execute("models_notify", model=version["model"])


def unusable(version: Version) -> NotAllowed:
    """Return the error for a version whose state allows neither publication nor rollback."""
    reason = STATE_MESSAGES[version["state"]]
    return NotAllowed(f"{_name(version)} {reason}. `prescore versions {version['model']}` lists all versions.")


def _publishable(catalog: Catalog, model: str, version: int, options: PublishOptions) -> Version:
    row = catalog.model(model)
    _require_no_hold(row)
    chosen = catalog.version(model, version)
    if chosen["state"] not in ("checked", "superseded"):
        raise unusable(chosen)
    _require_whole(chosen)
    _require_checks(chosen, options)
    _require_expected(chosen, row, options)
    if row["published_version"] is not None and not options.allow_older:
        _require_newer(chosen, catalog.version(model, row["published_version"]))
    return chosen


def _require_no_hold(model: Model) -> None:
    if model["held_at"] is not None:
        since, by, reason = f"{model['held_at']:%Y-%m-%d %H:%M}", model["held_by"], model["hold_reason"]
        raise NotAllowed(
            f"{model['model']} has been on hold since {since} by {by} ({reason}). "
            f"Nothing is published until `prescore release {model['model']}`."
        )


def _require_whole(version: Version) -> None:
    if version["trial_rows"] is not None:
        raise NotAllowed(
            f"{_name(version)} is a trial on at most {version['trial_rows']:,} rows, and trials are never published. "
            f"`prescore run {version['model']}` makes a whole version."
        )


def _require_checks(version: Version, options: PublishOptions) -> None:
    if version["state"] == "checked" and options.checks not in (None, version["checks_fingerprint"]):
        raise NotAllowed(
            f"{_name(version)} passed other checks than the spec has now. "
            f"`prescore run {version['model']}` makes a version that must pass the current ones."
        )


def _require_expected(version: Version, model: Model, options: PublishOptions) -> None:
    published = model["published_version"]
    if options.instead_of not in (None, published or 0):
        raise NotAllowed(
            f"{_name(version)} was compared with version {options.instead_of or 'none'}, and version "
            f"{published or 'none'} is served now. Check it again, or run "
            f"`prescore publish {version['model']} {version['version']}`."
        )


def _require_newer(chosen: Version, published: Version) -> None:
    if older(chosen, published):
        model, version = chosen["model"], chosen["version"]
        mine, theirs = (f"{row['data_as_of']:%Y-%m-%d %H:%M:%S %Z}" for row in (chosen, published))
        raise NotAllowed(
            f"{_name(chosen)} has data as of {mine}, and the published version {published['version']} has data as of "
            f"{theirs}. Was older data loaded into the source? To go back, run `prescore rollback {model}`; "
            f"to publish it anyway, run `prescore publish {model} {version} --allow-older`."
        )


def _name(version: Version) -> str:
    return f"{version['model']} version {version['version']}"
