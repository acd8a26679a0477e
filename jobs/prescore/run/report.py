"""What a run has to say when it is over: the object that `run --json` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from prescore.catalog.catalog import Catalog, CheckResult
from prescore.run.job import Job
from prescore.versions.pending import is_backfill

STEPS = ("snapshot", "score", "stage", "check", "publish")


@dataclass(frozen=True)
class Report:
    """One version after its run.

    `resumed` says whether the run went on with a version that an earlier one left unfinished, and `chunks_before` how
    many chunks it found. `seconds` has an entry a step and `total`, all of this run alone: the catalog adds up
    attempts, and a part must not be larger than the whole. `served` is what readers see now; `backfill` says that the
    version was asked for as of a time before that.
    """

    model: str
    version: int
    state: str
    published: bool
    resumed: bool
    chunks_before: int
    rows: int
    rejected: int
    chunks: int
    seconds: dict[str, float]
    checks: list[CheckResult]
    data_as_of: datetime | None
    trial_rows: int | None
    as_of: datetime | None
    backfill: bool
    served: int | None
    held: str | None
    error: str | None

    @classmethod
    def from_catalog(cls, job: Job, version: int, *, total: float | None = None) -> Self:
        """A version as the catalog has it now."""
        with job.database.connect() as connection:
            catalog = Catalog(connection)
            row = catalog.version(job.model, version)
            model = catalog.model(job.model)
            resumption = catalog.one("events_last_resumption", model=job.model, version=version)
            backfill = is_backfill(catalog, row)
        found: dict[str, Any] = resumption["detail"] if resumption else {"chunks": 0, "seconds": {}}
        return cls(
            model=job.model,
            version=version,
            state=row["state"],
            published=model["published_version"] == version,
            resumed=resumption is not None,
            chunks_before=found["chunks"],
            rows=row["rows"] or 0,
            rejected=row["rejected"] or 0,
            chunks=row["snapshot_chunks"] or 0,
            seconds=_since(found["seconds"], row["seconds"]) | ({} if total is None else {"total": round(total, 3)}),
            checks=row["checks"] or [],
            data_as_of=row["data_as_of"],
            trial_rows=row["trial_rows"],
            as_of=row["as_of"],
            backfill=backfill,
            served=model["published_version"],
            held=model["hold_reason"],
            error=row["error"],
        )

    @classmethod
    def newest(cls, job: Job) -> Self:
        """The version that a run made last, whatever became of it."""
        with job.database.connect() as connection:
            last = Catalog(connection).model(job.model)["last_version"]
        return cls.from_catalog(job, last)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _since(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    """What each step took since a run went on, in the order of the steps."""
    return {step: round(now[step] - before.get(step, 0.0), 3) for step in STEPS if step in now}
