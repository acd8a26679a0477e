"""Which version may be published: a whole one that passed the current checks, while its model is not on hold."""

from __future__ import annotations

from prescore.catalog.catalog import Catalog, Model, Version
from prescore.errors import NotAllowed
from prescore.versions.lifecycle import trial_note
from prescore.versions.options import PublishOptions
from prescore.wording import utc

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


def unusable(version: Version) -> NotAllowed:
    """Return the error for a version whose state allows neither publication nor rollback."""
    reason = STATE_MESSAGES[version["state"]]
    return NotAllowed(f"{version_label(version)} {reason}. `prescore versions {version['model']}` lists all versions.")


def require_publishable(
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
    require_table(catalog, chosen)
    _require_whole(chosen, options)
    _require_checks(chosen, options)
    _require_expected(chosen, row, options)
    if options.promotes:
        require_canary(row, version)
    published = row["published_version"]
    if published is not None and not options.allow_older:
        _require_newer(chosen, catalog.version(model, published), options)
    return chosen


def require_table(catalog: Catalog, version: Version) -> None:
    """Raise NotAllowed for a version whose table was dropped or emptied by hand."""
    row = catalog.one("versions_table_fault", model=version["model"], version=version["version"])
    if row["fault"] is not None:
        raise NotAllowed(
            f"The table of {version_label(version)} {row['fault']} by hand, so it cannot be served. "
            f"`prescore versions {version['model']}` lists all versions."
        )


def _require_no_hold(model: Model) -> None:
    if model["held_at"] is None:
        return
    name = model["model"]
    since = utc(model["held_at"])
    raise NotAllowed(
        f"{name} has been on hold since {since} by {model['held_by']} ({model['hold_reason']}). "
        f"Nothing is published until `prescore release {name}`."
    )


def require_canary(model: Model, version: int | None = None) -> int:
    """Return the number of a model's canary; raise NotAllowed if there is none, or if another version is meant."""
    name, canary = model["model"], model["canary_version"]
    if canary is None:
        raise NotAllowed(f"{name} has no canary. `prescore canary {name} VERSION --share 0.1` starts one.")
    if version not in (None, canary):
        raise NotAllowed(f"Version {canary} has become the canary of {name} in place of version {version}. Try again.")
    return canary


def _require_whole(version: Version, options: PublishOptions) -> None:
    if version["trial_rows"] is None:
        return
    # A canary, or a publication together with other models, is not what a run publishes by itself.
    option = "" if options.command is None else " --no-publish"
    raise NotAllowed(
        f"{version_label(version)} is {trial_note(version)}, and trials are never published. "
        f"`prescore run {version['model']}{option}` makes a whole version."
    )


def _require_checks(version: Version, options: PublishOptions) -> None:
    if version["state"] != "checked" or options.checks is None:
        return
    if options.checks != version["checks_fingerprint"]:
        raise NotAllowed(
            f"{version_label(version)} passed other checks than the spec has now. "
            f"`prescore check-again {version['model']} {version['version']}` runs those on it."
        )


def _require_expected(version: Version, model: Model, options: PublishOptions) -> None:
    expected = options.instead_of
    published = model["published_version"] or 0
    if expected is None or expected == published:
        return
    raise NotAllowed(
        f"{version_label(version)} was compared with version {expected or 'none'}, and version "
        f"{published or 'none'} is served now. Check it again, or run "
        f"`prescore publish {version['model']} {version['version']}`."
    )


def _require_newer(chosen: Version, published: Version, options: PublishOptions) -> None:
    chosen_at, published_at = chosen["data_as_of"], published["data_as_of"]
    if chosen_at is None or published_at is None or chosen_at >= published_at:
        return
    raise NotAllowed(
        f"{version_label(chosen)} has data as of {utc(chosen_at)}, and the published version {published['version']} "
        f"has data as of {utc(published_at)}. {_advice_on_older(chosen, options)}"
    )


def _advice_on_older(version: Version, options: PublishOptions) -> str:
    """Return what to do about inputs that are older than the published ones, as the caller meant the version."""
    model, number = version["model"], version["version"]
    if options.command is not None:
        return f"To accept its older data, run `{options.command} --allow-older`."
    cause = "Was older data loaded into the source?"
    if version["state"] == "superseded":
        cause = f"To go back to it, run `prescore rollback {model} --to {number}`."
    return f"{cause} To publish it anyway, run `prescore publish {model} {number} --allow-older`."


def version_label(version: Version) -> str:
    """Return how messages call a version."""
    return f"{version['model']} version {version['version']}"
