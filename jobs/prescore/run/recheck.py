"""Check a finished version again, by the checks that its spec has now, without scoring anything."""

from __future__ import annotations

from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog, Model, Version
from prescore.checks import expectations
from prescore.errors import NotAllowed
from prescore.project.spec import Spec
from prescore.run import timing
from prescore.run.job import Job
from prescore.run.report import Report
from prescore.steps import check
from prescore.versions import lease as leases
from prescore.versions import lifecycle
from prescore.versions.publishable import require_table, version_label

_REASONS = {
    "building": "is not finished: `prescore run {model}` resumes it",
    "failed": "has no table: `prescore run {model}` makes a new version",
    "retired": "has no table any more: `prescore run {model}` makes a new version",
    "published": "is published. `prescore rollback {model}` takes it back",
    "superseded": "has been published before: `prescore publish {model} {version}` publishes it again",
}
"""Why a version in this state cannot be checked again, and what to do."""


def check_again(job: Job, version: int) -> Report:
    """Run the spec's current checks on a version that is staged, checked or refused, and report on it.

    A refused version that passes becomes `checked`, and `prescore publish` can publish it. Nothing is published here.
    Raises Refused when a check fails, NotAllowed when the version has no table, has been published, or was made by
    another spec, Busy while a run writes the model, and NotFound.
    """
    migrations.require_current(job.database)
    _require_checkable(_read(job, version), job.spec)
    expected = expectations.build(job.spec)
    with leases.holding(job.database, job.model) as lease:
        leased = job.with_lease(lease)
        with timing.timed(leased, version, "check") as (catalog, row):
            # A run or a retirement may have had the lease since.
            _require_checkable(row, job.spec)
            _require_no_canary(catalog.model(job.model), version)
            require_table(catalog, row)
            if row["state"] == "refused":
                # Otherwise the next run would take it for its own unfinished version, and publish it.
                lifecycle.set_to_publish(catalog.connection, job.model, version, publishing=False)
            check.check_version(
                leased.database,
                catalog.connection,
                lease,
                row,
                job.spec,
                expected,
                again=True,
            )
    return Report.from_catalog(job, version)


def _read(job: Job, version: int) -> Version:
    with job.database.connect() as connection:
        catalog = Catalog(connection)
        catalog.model(job.model)
        return catalog.version(job.model, version)


def _require_checkable(version: Version, spec: Spec) -> None:
    reason = _REASONS.get(version["state"])
    if reason is not None:
        names = {"model": version["model"], "version": version["version"]}
        raise NotAllowed(f"{version_label(version)} {reason.format(**names)}.")
    if version["spec_fingerprint"] != spec.fingerprint:
        raise NotAllowed(
            f"{version_label(version)} was made by another spec: its key, features, outputs or indexes have changed "
            "since, so that the checks may not fit its table. "
            f"`prescore run {version['model']}` makes a version by the present one."
        )


def _require_no_canary(model: Model, version: int) -> None:
    """Raise NotAllowed for the canary: readers may have it, and the checks may refuse it."""
    if model["canary_version"] == version:
        name = model["model"]
        raise NotAllowed(f"{name} version {version} is the canary. `prescore canary {name} --drop` ends that first.")
