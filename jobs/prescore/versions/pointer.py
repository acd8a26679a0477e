"""The pointer that readers follow, and the one transaction that moves it to another version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from prescore.catalog.catalog import Catalog, Model, Version
from prescore.catalog.database import Connection
from prescore.checks.results import sentence
from prescore.errors import Busy
from prescore.versions import partitions, withheld
from prescore.versions.lease import Lease
from prescore.versions.options import PublishOptions
from prescore.versions.publishable import require_publishable, version_label


@dataclass(frozen=True)
class Move:
    """One movement of the pointer.

    `event` is its name in the history, `before` the version that was published, `together` the versions of all models
    that are published in the same transaction. `withdraw` marks the version that is left as not to be rolled back to,
    and `ends_canary` is why the model's canary ends: without that, it stays one unless it is published itself.
    """

    event: str
    before: int | None
    together: Mapping[str, int]
    withdraw: bool = False
    ends_canary: str | None = None
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
    if len(ordered) > 1:
        command = " ".join(["prescore publish", *(f"{model} {version}" for model, version in together.items())])
        ordered = [(model, (version, replace(options, command=command))) for model, (version, options) in ordered]
    for model, (version, options) in ordered:
        versions.append(require_publishable(catalog, model, version, options))
        grants[model] = options.grants
        if options.allow_breaking:
            breaking.add(model)
    redirected = partitions.attach(connection, versions, grants, breaking)
    with connection.transaction():
        for model, (version, options) in ordered:
            before = catalog.model(model, lock=True)
            # The versions or the models may have changed before the models were locked.
            row = require_publishable(catalog, model, version, options)
            partitions.redirect(connection, row, redirected, options.grants)
            if lease is None:
                # A run publishes only what has been approved.
                _record_approval(catalog, row)
            move(
                catalog,
                row,
                Move(
                    event="published",
                    before=before["published_version"],
                    together=together,
                    ends_canary=_reason_to_end(catalog, before, row, redirected=model in redirected),
                    reason=_reason(before, version, options),
                ),
            )
        if lease is not None:
            lease.check(connection)
    return [catalog.version(model, version) for model, version in together.items()]


def _reason_to_end(catalog: Catalog, before: Model, version: Version, *, redirected: bool) -> str | None:
    """Return why the canary ends when a version is published: it must have the columns of that version, too."""
    if before["canary_version"] is None:
        return None
    canary = catalog.version(before["model"], before["canary_version"])
    has = {column["name"] for column in canary["output_columns"]}
    lacks = [column["name"] for column in version["output_columns"] if column["name"] not in has]
    if redirected or lacks:
        return f"version {version['version']} has other columns"
    return None


def _record_approval(catalog: Catalog, version: Version) -> None:
    """Record that publishing a version for the first time approves it, if it waited for that."""
    waited_for = withheld.unapproved(version)
    if waited_for:
        catalog.record_event(version["model"], version["version"], "approved", "; ".join(map(sentence, waited_for)))


def _reason(before: Model, version: int, options: PublishOptions) -> str | None:
    """Return why a version is published, for the history; None unless a reason is given or it is the canary."""
    if before["canary_version"] != version:
        return options.reason
    return f"promoted: {options.reason or 'it was the canary'}"


def move(catalog: Catalog, version: Version, moved: Move) -> None:
    """Move the pointer to a version, in the caller's transaction; raise Busy when the version changed meanwhile."""
    model, number = version["model"], version["version"]
    catalog.execute("versions_supersede", model=model, withdraw=moved.withdraw)
    published = catalog.execute("versions_publish", model=model, version=number)
    if not published:
        raise Busy(f"{version_label(version)} changed while it was being published. Try again.")
    canary = catalog.model(model)["canary_version"]
    ends_canary = moved.ends_canary is not None and canary not in (None, number)
    if ends_canary:
        catalog.record_event(model, canary, "canary ended", moved.ends_canary)
    catalog.execute("models_point", model=model, version=number, ends_canary=ends_canary)
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
