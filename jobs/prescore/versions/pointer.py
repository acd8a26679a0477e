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
    """Point readers at a checked or superseded version and return its row; raise NotAllowed or Busy.

    The pointer moves in one transaction: readers see the whole old version, then the whole new one.
    """
    chosen = {model: (version, options or PublishOptions())}
    rows = publish_together(connection, chosen, lease=lease)
    return rows[0]


def publish_together(
    connection: Connection, chosen: Mapping[str, tuple[int, PublishOptions]], *, lease: Lease | None = None
) -> list[Version]:
    """Point readers at versions of several models, all in one transaction or none, and return their rows.

    Raises NotAllowed for a version that may not be published, Busy when a lock or a concurrent publication is in the
    way.
    """
    catalog = Catalog(connection)
    # Every publisher locks models in the same order, so that none waits for another in a circle.
    ordered = sorted(chosen.items())
    together = {model: version for model, (version, _) in ordered}
    versions = []
    grants = {}
    breaking = set()
    for model, (version, options) in ordered:
        versions.append(_publishable(catalog, model, version, options))
        grants[model] = options.grants
        if options.allow_breaking:
            breaking.add(model)
    redirected = partitions.attach(connection, versions, grants, breaking)
    with connection.transaction():
        for model, (version, options) in ordered:
            published = catalog.model(model, lock=True)["published_version"]
            # The versions or the models may have changed before the models were locked.
            row = _publishable(catalog, model, version, options)
            partitions.redirect(connection, row, redirected, options.grants)
            move(
                catalog,
                row,
                Move(
                    event="published",
                    before=published,
                    together=together,
                ),
            )
        if lease is not None:
            lease.check(connection)
    return [catalog.version(model, version) for model, version in together.items()]


def move(catalog: Catalog, version: Version, moved: Move) -> None:
    """Move the pointer to a version, in the caller's transaction; raise Busy when the version changed meanwhile."""
    model, number = version["model"], version["version"]
    catalog.execute("versions_supersede", model=model, withdraw=moved.withdraw)
    published = catalog.execute("versions_publish", model=model, version=number)
    if not published:
        raise Busy(f"{_name(version)} changed while it was being published. Try again.")
    catalog.execute("models_point", model=model, version=number)
    catalog.execute(
        "models_record_publication",
        model=model,
        version=number,
        models=list(moved.together),
        versions=list(moved.together.values()),
    )
    catalog.record_event(
        model,
        number,
        moved.event,
        moved.reason,
        was=moved.before,
    )
    catalog.execute("models_notify", model=model)


def unusable(version: Version) -> NotAllowed:
    """Return the error for a version whose state allows neither publication nor rollback."""
    reason = STATE_MESSAGES[version["state"]]
    return NotAllowed(f"{_name(version)} {reason}. `prescore versions {version['model']}` lists all versions.")


def _publishable(
    catalog: Catalog,
    model: str,
    version: int,
    options: PublishOptions,
) -> Version:
    """Return the version's row; raise NotAllowed unless it may be published."""
    row = catalog.model(model)
    _require_no_hold(row)
    chosen = catalog.version(model, version)
    if chosen["state"] not in ("checked", "superseded"):
        raise unusable(chosen)
    _require_whole(chosen)
    _require_checks(chosen, options)
    _require_expected(chosen, row, options)
    published = row["published_version"]
    if published is not None and not options.allow_older:
        _require_newer(chosen, catalog.version(model, published))
    return chosen


def _require_no_hold(model: Model) -> None:
    if model["held_at"] is None:
        return
    name = model["model"]
    since = f"{model['held_at']:%Y-%m-%d %H:%M}"
    raise NotAllowed(
        f"{name} has been on hold since {since} by {model['held_by']} ({model['hold_reason']}). "
        f"Nothing is published until `prescore release {name}`."
    )


def _require_whole(version: Version) -> None:
    rows = version["trial_rows"]
    if rows is None:
        return
    raise NotAllowed(
        f"{_name(version)} is a trial on at most {rows:,} rows, and trials are never published. "
        f"`prescore run {version['model']}` makes a whole version."
    )


def _require_checks(version: Version, options: PublishOptions) -> None:
    if version["state"] != "checked" or options.checks is None:
        return
    if options.checks != version["checks_fingerprint"]:
        raise NotAllowed(
            f"{_name(version)} passed other checks than the spec has now. "
            f"`prescore run {version['model']}` makes a version that must pass the current ones."
        )


def _require_expected(version: Version, model: Model, options: PublishOptions) -> None:
    expected = options.instead_of
    published = model["published_version"] or 0
    if expected is None or expected == published:
        return
    raise NotAllowed(
        f"{_name(version)} was compared with version {expected or 'none'}, and version "
        f"{published or 'none'} is served now. Check it again, or run "
        f"`prescore publish {version['model']} {version['version']}`."
    )


def _require_newer(chosen: Version, published: Version) -> None:
    if not older(chosen, published):
        return
    model = chosen["model"]
    chosen_at = f"{chosen['data_as_of']:%Y-%m-%d %H:%M:%S %Z}"
    published_at = f"{published['data_as_of']:%Y-%m-%d %H:%M:%S %Z}"
    raise NotAllowed(
        f"{_name(chosen)} has data as of {chosen_at}, and the published version {published['version']} has data as of "
        f"{published_at}. Was older data loaded into the source? To go back, run `prescore rollback {model}`; "
        f"to publish it anyway, run `prescore publish {model} {chosen['version']} --allow-older`."
    )


def _name(version: Version) -> str:
    return f"{version['model']} version {version['version']}"
