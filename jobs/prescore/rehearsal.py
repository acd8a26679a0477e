"""What can be known of a run before anything is written: whether model, domain, spec and checks fit each other."""

from __future__ import annotations

from prescore import disk, expectations, rejects
from prescore.contract import roles, views
from prescore.contract.catalog import Catalog
from prescore.contract.database import Connection
from prescore.contract.spec import Spec
from prescore.job import Job, Material
from prescore.scorer import Scorer
from prescore.steps import snapshot
from prescore.store import read_model


def validate(job: Material) -> Scorer:
    """The model, held against the spec and the domain's columns before anything is written; raises Mistake."""
    scorer = Scorer(read_model(job.project.root / job.spec.onnx.file), job.spec)
    expected = snapshot.expected(job.spec, scorer.features)
    with job.source.open(job.query, 1, expected, limit=0) as stream:
        snapshot.Freezer(job.spec, scorer.features, stream.schema)
    return scorer


def vet(job: Job) -> None:
    """What only the database can tell, before anything is written: raises a Mistake for what would end the run."""
    with job.database.connect() as connection:
        roles.require_writer(connection, job.model)
        disk.require_room(connection, job)
    vet_checks(job)


def vet_checks(job: Job) -> None:
    """Raise SpecInvalid for a misspelt check before anything is scored for it.

    Checks that have run before need no look: Great Expectations takes seconds to import.
    """
    with job.database.connect() as connection:
        known = Catalog(connection).one(
            "versions_vetted",
            model=job.model,
            spec_fingerprint=job.spec.fingerprint,
            checks_fingerprint=job.spec.checks_fingerprint,
        )
    if not known["vetted"]:
        expectations.build(job.spec)


def vet_columns(connection: Connection, spec: Spec) -> None:
    """Raise NotAllowed for columns that would break readers, before anything is scored for them.

    While the model is on hold nothing is published, and before the first publication there is nobody to break.
    """
    model = Catalog(connection).one("models_get", model=spec.model)
    if model is None or model["held_at"] is not None or model["published_version"] is None:
        return
    if found := views.breaks(connection, spec.model, spec.key_columns, spec.output_columns):
        raise views.broken(f"A version of {spec.model} by this spec", found, f"prescore run {spec.model}")


def rehearse(job: Material) -> tuple[int, int]:
    """Everything short of writing: validate, then freeze every row into nothing.

    Gives the number of rows, and how many of them would be set aside; raises Refused when there are too many.
    """
    expectations.build(job.spec)
    scorer = validate(job)
    snapshot.asked_clock(job.source, job.spec)
    rows, tally = 0, rejects.Tally(job.spec)
    with job.source.open(
        job.query, job.project.settings.chunk_rows, snapshot.expected(job.spec, scorer.features)
    ) as stream:
        freezer = snapshot.Freezer(job.spec, scorer.features, stream.schema)
        for batch in stream.batches:
            rows += batch.num_rows
            tally(freezer.freeze(batch)[1])
            job.on_rows("check", batch.num_rows, None)
        few = tally.require_few(rows)
        if rows == tally.count:
            raise snapshot.empty(job.model, few if rows else None)
        freezer.data_as_of()
    return rows, tally.count
