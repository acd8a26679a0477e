"""What can be known of a run before anything is written: whether model, domain, spec and checks fit each other."""

from __future__ import annotations

from datetime import UTC, datetime

from prescore.catalog import roles
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.checks import expectations
from prescore.errors import NotAllowed
from prescore.project.spec import Spec
from prescore.run import disk
from prescore.run.job import Definition, Job
from prescore.scoring import rejects
from prescore.scoring.scorer import Scorer
from prescore.steps import snapshot
from prescore.versions import compatibility
from prescore.versions.options import RunOptions


def check_inputs(job: Definition, as_of: datetime | None = None) -> Scorer:
    """The model, held against the spec and the domain's columns before anything is written; raises Mistake."""
    if as_of is not None:
        _require_dated(job, as_of)
    scorer = Scorer(job.onnx, job.spec)
    expected = snapshot.expected_types(job.spec, scorer.features)
    with job.source.open(job.query, 1, expected, limit=0) as stream:
        snapshot.DomainConverter(job.spec, scorer.features, stream.schema)
    return scorer


def _require_dated(job: Definition, as_of: datetime) -> None:
    """Raise NotAllowed for a run as of a time that has not come, or that the query does not ask for."""
    if as_of > datetime.now(UTC):
        raise NotAllowed(f"A run of {job.model} as of {as_of:%Y-%m-%d %H:%M:%S %Z} has to wait: that is yet to come.")
    if not job.source.uses_as_of(job.query):
        raise NotAllowed(
            f"A run of {job.model} as of {as_of:%Y-%m-%d %H:%M:%S %Z} would give today's rows: its domain query "
            f"{job.spec.domain.query} does not ask for $as_of. Let it take only what was known then, "
            "such as: where seen_at <= $as_of."
        )


def check_target(job: Job) -> None:
    """What only the database can tell, before anything is written: raises a Mistake for what would end the run."""
    with job.database.connect() as connection:
        roles.require_writer(connection, job.model)
        job.store.require_access()
        disk.require_room(connection, job)
    check_expectations(job)


def refreshed(job: Job, options: RunOptions) -> Job:
    """The job of what its files are now, for the holder of the lease: while it waited, others may have come.

    What has changed since the job was validated and vetted, is so again: spec, query and model file must be of a piece.
    """
    now = job.reloaded()
    if now.parts != job.parts:
        check_inputs(now, options.as_of)
        check_target(now)
    return now


def check_expectations(job: Job) -> None:
    """Raise SpecInvalid for a misspelt check before anything is scored for it.

    Checks that have run before need no look: Great Expectations takes seconds to import.
    """
    with job.database.connect() as connection:
        known = Catalog(connection).one(
            "versions_checks_have_run",
            model=job.model,
            spec_fingerprint=job.spec.fingerprint,
            checks_fingerprint=job.spec.checks_fingerprint,
        )
    if not known["have_run"]:
        expectations.build(job.spec)


def check_columns(connection: Connection, spec: Spec) -> None:
    """Raise NotAllowed for columns that would break readers, before anything is scored for them.

    While the model is on hold nothing is published, and before the first publication there is nobody to break.
    """
    model = Catalog(connection).one("models_get", model=spec.model)
    if model is None or model["held_at"] is not None or model["published_version"] is None:
        return
    if found := compatibility.breaking_changes(connection, spec.model, spec.key_columns, spec.output_columns):
        raise compatibility.breaking_error(
            f"A version of {spec.model} by this spec", found, f"prescore run {spec.model}"
        )


def validate(job: Definition) -> tuple[int, int]:
    """Everything short of writing: validate, then freeze every row into nothing.

    Gives the number of rows, and how many of them would be set aside; raises Refused when there are too many.
    """
    expectations.build(job.spec)
    scorer = check_inputs(job)
    snapshot.query_data_as_of(job.source, job.spec)
    rows, tally = 0, rejects.Tally(job.spec)
    with job.source.open(
        job.query, job.project.settings.chunk_rows, snapshot.expected_types(job.spec, scorer.features)
    ) as stream:
        converter = snapshot.DomainConverter(job.spec, scorer.features, stream.schema)
        for batch in stream.batches:
            rows += batch.num_rows
            tally.add(converter.convert(batch)[1])
            job.on_progress("check", batch.num_rows, None)
        few = tally.require_within_limit(rows)
        if rows == tally.count:
            raise snapshot.empty_domain_error(job.model, few if rows else None)
        converter.data_as_of()
    return rows, tally.count
