"""The report on a run: the object that `prescore run --json` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from prescore.catalog.catalog import Catalog, CheckResult, Version
from prescore.checks import expectations
from prescore.run.job import Job
from prescore.scoring.examples import MISSING
from prescore.versions.kept import KEPT_NO_ROW
from prescore.versions.withheld import is_backfill
from prescore.wording import count

STEPS = ("snapshot", "reuse", "score", "stage", "check", "publish")


@dataclass(frozen=True)
class Report:
    """One version after its run.

    `resumed` says whether the run resumed a version that an earlier run had left unfinished, and `chunks_before` how
    many chunks it found. `kept` counts the rows whose keys have vanished from the domain. `changes` says what an
    incremental run reused, as the catalog records it, and `rebased_to` is the full copy that is served in the place of
    a large delta. `seconds` has an entry for each step and `total`. All are of this run alone, while the catalog adds
    up all attempts: no step takes longer than the total. `served` is the version that readers see now. `backfill` says
    that the version is for a time before that one's. `warnings` has a sentence for what its run could not verify, and
    for rows that it could not keep.
    """

    model: str
    version: int
    state: str
    published: bool
    rebased_to: int | None
    resumed: bool
    chunks_before: int
    rows: int
    rejected: int
    kept: int
    chunks: int
    changes: dict[str, Any] | None
    seconds: dict[str, float]
    checks: list[CheckResult]
    data_as_of: datetime | None
    trial_rows: int | None
    as_of: datetime | None
    parameters: dict[str, Any]
    backfill: bool
    served: int | None
    held: str | None
    error: str | None
    warnings: list[str]

    @classmethod
    def from_catalog(cls, job: Job, version: int, *, total: float | None = None) -> Self:
        """Return the report on a version as the catalog has it now."""
        with job.database.connect() as connection:
            catalog = Catalog(connection)
            row = catalog.version(job.model, version)
            model = catalog.model(job.model)
            resumption = catalog.one("events_last", model=job.model, version=version, event="resumed")
            kept_none = catalog.one("events_last", model=job.model, version=version, event=KEPT_NO_ROW)
            backfill = is_backfill(catalog, row)
            rebased_to = _rebased_to(catalog, model["published_version"], row)
        before: dict[str, Any] = resumption["detail"] if resumption else {"chunks": 0, "seconds": {}}
        seconds = _since(before["seconds"], row["seconds"])
        if total is not None:
            seconds["total"] = round(total, 3)
        return cls(
            model=job.model,
            version=version,
            state=row["state"],
            published=model["published_version"] == version or rebased_to is not None,
            rebased_to=rebased_to,
            resumed=resumption is not None,
            chunks_before=before["chunks"],
            rows=row["rows"] or 0,
            rejected=row["rejected"] or 0,
            kept=row["kept"],
            chunks=row["snapshot_chunks"] or 0,
            changes=row["changes"],
            seconds=seconds,
            checks=row["checks"] or [],
            data_as_of=row["data_as_of"],
            trial_rows=row["trial_rows"],
            as_of=row["as_of"],
            parameters=row["parameters"],
            backfill=backfill,
            served=model["published_version"],
            held=model["hold_reason"],
            error=row["error"],
            warnings=[*unverified(row), *_left_out_checks(job, row), *_not_kept(kept_none)],
        )

    def reuse(self) -> str | None:
        """Return what an incremental run reused, as a clause, or why it reused nothing; None for any other run."""
        match self.changes:
            case {"unchanged_since": earlier}:
                return f"nothing has changed since version {earlier}: its rows are served, with new times"
            case {
                "base": base,
                "carried": carried,
                "changed": changed,
                "new": new,
                "vanished": gone,
                "rejected": rejected,
            }:
                rows = f"{count(carried, 'row')} carried over from version {base}"
                also = f"; the snapshot rejected {rejected:,}" if rejected else ""
                return f"{rows}; since then, {changed:,} changed, {new:,} new and {gone:,} vanished{also}"
            case {"reason": reason}:
                return f"every row was scored: {reason}"
            case {"copy_of": version}:
                return f"a full copy of version {version}"
        return None

    @classmethod
    def newest(cls, job: Job) -> Self:
        """Return the report on the version that was made last, in whatever state it is."""
        with job.database.connect() as connection:
            last = Catalog(connection).model(job.model)["last_version"]
        return cls.from_catalog(job, last)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a dict for JSON."""
        return asdict(self)


def _rebased_to(catalog: Catalog, served: int | None, version: Version) -> int | None:
    """Return the served version if it is the full copy of a version, otherwise None."""
    if served is None or served == version["version"]:
        return None
    changes = catalog.version(version["model"], served)["changes"] or {}
    return served if changes.get("copy_of") == version["version"] else None


def unverified(version: Version) -> list[str]:
    """Return a sentence for each thing about a version that its run could not verify."""
    is_verified = version["model_fingerprint"] is None or version["examples_fingerprint"] is not None
    return [] if is_verified else [MISSING]


def _left_out_checks(job: Job, version: Version) -> Iterator[str]:
    """Yield a sentence on the checks that did not run because the version is a trial."""
    names = expectations.needing_all_rows(job.spec)
    if version["trial_rows"] is not None and names:
        yield f"These checks need every row of the domain, and do not run on a trial: {', '.join(names)}."


def _not_kept(event: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield a sentence on why the version keeps no row, from the event that says so."""
    if event is not None:
        yield f"No row whose key has vanished was kept: {event['reason']}."


def _since(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    """Return the seconds that each step has taken since a run was resumed, in the order of the steps."""
    seconds = {}
    for step in STEPS:
        if step in now:
            seconds[step] = round(now[step] - before.get(step, 0.0), 3)
    return seconds
