"""Make a checked version the one that readers see, in one short transaction; go back to an earlier one the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from prescore.catalog.catalog import Catalog, Model, Version, older
from prescore.catalog.database import Connection
from prescore.errors import Busy, NotAllowed
from prescore.project.spec import Spec
from prescore.versions import partitions
from prescore.versions.lease import Lease


@dataclass(frozen=True)
class Terms:
    """On which a version is published.

    `grants` are roles that may read the view. `checks` is the fingerprint of the checks that it must have passed, None
    for whatever they were. `older` allows inputs that are older than those of the published version, `breaking` columns
    that break readers. `instead_of` is the version that must still be the published one, 0 for none, None for whatever.
    """

    grants: tuple[str, ...] = ()
    checks: str | None = None
    older: bool = False
    breaking: bool = False
    instead_of: int | None = None

    @classmethod
    def of(cls, spec: Spec, *, older: bool = False, breaking: bool = False, instead_of: int | None = None) -> Self:
        """Those of a spec."""
        return cls(spec.grants.select, spec.checks_fingerprint, older, breaking, instead_of)


def publish(
    connection: Connection, model: str, version: int, terms: Terms | None = None, *, lease: Lease | None = None
) -> Version:
    """Point readers at a checked version, or at a superseded one again; gives its row. Raises NotAllowed or Busy.

    The pointer moves in one transaction: readers see the old version whole, then the new one whole.
    """
    return publish_together(connection, {model: (version, terms or Terms())}, lease=lease)[0]


def publish_together(
    connection: Connection, chosen: Mapping[str, tuple[int, Terms]], *, lease: Lease | None = None
) -> list[Version]:
    """Point readers at versions of several models, all in one transaction or none; gives their rows."""
    catalog = Catalog(connection)
    ordered = [(model, *chosen[model]) for model in sorted(chosen)]  # in one order everywhere: no deadlock
    publishable = [_publishable(catalog, *named) for named in ordered]
    grants = {model: terms.grants for model, _, terms in ordered}
    led = partitions.attach(connection, publishable, grants, {model for model, _, terms in ordered if terms.breaking})
    with connection.transaction():
        for model, version, terms in ordered:
            was = catalog.model(model, lock=True)["published_version"]
            row = _publishable(catalog, model, version, terms)
            partitions.lead(connection, row, led, grants[model])
            _point(catalog, row, "published", was=was, together={m: n for m, n, _ in ordered})
        if lease is not None:
            lease.check(connection)
    return [catalog.version(model, version) for model, version, _ in ordered]


def rollback(connection: Connection, model: str, to: int | None = None, reason: str | None = None) -> Version:
    """Publish the last good earlier version, or the one named, and put the model on hold; gives its row.

    The version that is left is marked as withdrawn, so that a second roll-back goes further back and not forth.
    Raises NotAllowed when there is nothing to go back to.
    """
    catalog = Catalog(connection)
    chosen = _earlier(catalog, catalog.model(model), to)
    led = partitions.attach(connection, [chosen], {}, {model})  # whoever rolls back wants the columns from before, too
    with connection.transaction():
        row = catalog.model(model, lock=True)
        chosen = _earlier(catalog, row, chosen["version"])
        partitions.lead(connection, chosen, led)
        together = {model: chosen["version"]}
        was = row["published_version"]
        _point(catalog, chosen, "rolled back", together=together, withdraw=True, was=was, reason=reason)
        if row["held_at"] is None:  # a hold that is there already has its own reason, and its own owner
            hold(
                connection,
                model,
                reason or f"rolled back from version {row['published_version']} to {chosen['version']}",
            )
    return catalog.version(model, chosen["version"])


def hold(connection: Connection, model: str, reason: str) -> None:
    """From now on runs go on but nothing is published."""
    with connection.transaction():
        catalog = Catalog(connection)
        catalog.model(model, lock=True)
        catalog.event(model, None, "held", reason)
        catalog.execute("models_hold", model=model, reason=reason, actor=catalog.actor)


def release(connection: Connection, model: str) -> None:
    """Publishing is allowed again; raises NotAllowed when the model is not on hold."""
    with connection.transaction():
        catalog = Catalog(connection)
        if catalog.model(model, lock=True)["held_at"] is None:
            raise NotAllowed(f"{model} is not on hold.")
        catalog.execute("models_release", model=model)
        catalog.event(model, None, "released")


def _publishable(catalog: Catalog, model: str, version: int, terms: Terms) -> Version:
    row = catalog.model(model)
    if row["held_at"] is not None:
        raise NotAllowed(
            f"{model} is on hold since {row['held_at']:%Y-%m-%d %H:%M} by {row['held_by']} ({row['hold_reason']}). "
            f"Nothing is published until `prescore release {model}`."
        )
    chosen = catalog.version(model, version)
    if chosen["state"] not in ("checked", "superseded"):
        raise NotAllowed(_why_not(chosen))
    if chosen["trial_rows"] is not None:
        raise NotAllowed(
            f"{model} version {version} is a trial on at most {chosen['trial_rows']:,} rows, and never published. "
            f"`prescore run {model}` makes a whole version."
        )
    if chosen["state"] == "checked" and terms.checks not in (None, chosen["checks_fingerprint"]):
        raise NotAllowed(
            f"{model} version {version} passed other checks than those that the spec has now. "
            f"`prescore run {model}` makes a version that must pass these."
        )
    if terms.instead_of not in (None, row["published_version"] or 0):
        raise NotAllowed(
            f"{model} version {version} was compared with version {terms.instead_of or 'none'}, and by now version "
            f"{row['published_version'] or 'none'} is served. Check it anew, or `prescore publish {model} {version}`."
        )
    if row["published_version"] is not None and not terms.older:
        _require_newer(chosen, catalog.version(model, row["published_version"]))
    return chosen


def _require_newer(chosen: Version, published: Version) -> None:
    if older(chosen, published):
        model, version = chosen["model"], chosen["version"]
        mine, theirs = (f"{row['data_as_of']:%Y-%m-%d %H:%M:%S %Z}" for row in (chosen, published))
        raise NotAllowed(
            f"{model} version {version} is of data as of {mine}; the published version {published['version']} is of "
            f"{theirs}. Was the source loaded with older data? To go back, use `prescore rollback {model}`; "
            f"to publish it all the same, `prescore publish {model} {version} --older`."
        )


def _earlier(catalog: Catalog, row: Model, to: int | None) -> Version:
    model, now = row["model"], row["published_version"]
    if now is None:
        raise NotAllowed(f"{model} has no published version to roll back from.")
    chosen: Version | None = (
        catalog.version(model, to) if to is not None else catalog.one("versions_before", model=model, version=now)
    )
    if chosen is None:
        raise NotAllowed(
            f"{model} has no earlier good version to go back to. `prescore versions {model}` lists what there is."
        )
    if chosen["state"] != "superseded":
        raise NotAllowed(_why_not(chosen))
    return chosen


def _point(
    catalog: Catalog,
    chosen: Version,
    event: str,
    *,
    was: int | None,
    together: Mapping[str, int],
    withdraw: bool = False,
    reason: str | None = None,
) -> None:
    model, version = chosen["model"], chosen["version"]
    catalog.execute("versions_supersede", model=model, withdraw=withdraw)
    if catalog.execute("versions_publish", model=model, version=version) != 1:
        raise Busy(f"{model} version {version} changed while it was being published; try again.")
    catalog.execute("models_point", model=model, version=version)
    group = {"models": list(together), "versions": list(together.values())}
    catalog.execute("models_note_publication", model=model, version=version, **group)
    catalog.event(model, version, event, reason, was=was)
    catalog.execute("models_notify", model=model)


def _why_not(version: Version) -> str:
    name, state = f"{version['model']} version {version['version']}", version["state"]
    why = {
        "published": "is already the published one",
        "refused": "was refused by its checks",
        "building": "is still being built",
        "staged": "has not been checked",
        "failed": "was never finished",
        "retired": "is retired: its table is gone",
        "checked": "was never published, so there is no going back to it; publish it",
    }[state]
    return f"{name} {why}. `prescore versions {version['model']}` lists what there is."
