"""What a run has to say when it is over: the object that `run --json` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from prescore.contract.catalog import Catalog
from prescore.job import Job

STEPS = ("snapshot", "score", "stage", "check", "publish")


@dataclass(frozen=True)
class Report:
    """One version after its run. `seconds` has an entry a step and `total`; `served` is what readers see now."""

    model: str
    version: int
    state: str
    published: bool
    rows: int
    rejected: int
    chunks: int
    seconds: dict[str, float]
    checks: list[dict[str, Any]]
    data_as_of: datetime | None
    served: int | None
    held: str | None
    error: str | None

    @classmethod
    def of(cls, job: Job, version: int, *, total: float | None = None) -> Self:
        """A version as the catalog has it now."""
        with job.database.connect() as connection:
            catalog = Catalog(connection)
            row = catalog.version(job.model, version)
            model = catalog.model(job.model)
        seconds = {step: row["seconds"][step] for step in STEPS if step in row["seconds"]}
        return cls(
            model=job.model,
            version=version,
            state=row["state"],
            published=model["published_version"] == version,
            rows=row["rows"] or 0,
            rejected=row["rejected"] or 0,
            chunks=row["snapshot_chunks"] or 0,
            seconds=seconds | ({} if total is None else {"total": round(total, 3)}),
            checks=row["checks"] or [],
            data_as_of=row["data_as_of"],
            served=model["published_version"],
            held=model["hold_reason"],
            error=row["error"],
        )

    @classmethod
    def newest(cls, job: Job) -> Self:
        """The version that a run made last, whatever became of it."""
        with job.database.connect() as connection:
            last = Catalog(connection).model(job.model)["last_version"]
        return cls.of(job, last)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
