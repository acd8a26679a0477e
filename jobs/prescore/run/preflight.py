"""Preflight checks: do model, domain, spec and checks fit together, and can the database take another version?

They run before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from prescore.catalog import roles
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.checks import expectations
from prescore.errors import NotAllowed, SpecInvalid
from prescore.project.folder import FILE
from prescore.project.spec import Spec
from prescore.run import disk
from prescore.run.job import Definition, Job
from prescore.scoring import (
    examples,
    labels,
    rejects,
    row_independence,
    snapshot_columns,
    verification,
)
from prescore.scoring.domain_columns import DomainColumns
from prescore.scoring.domain_conversion import DomainConverter
from prescore.scoring.predictor import Predictor
from prescore.scoring.rejects import Reject
from prescore.scoring.spec_scorer import SpecScorer
from prescore.sources import data_as_of, unchanged
from prescore.steps import score, snapshot
from prescore.store.model_file import ModelFile
from prescore.versions import compatibility, table
from prescore.versions.options import RunOptions
from prescore.wording import did_you_mean, utc


def check_inputs(job: Definition, as_of: datetime | None = None) -> Predictor:
    """Check the model file against spec and examples, and the domain's columns against both; return the predictor.

    Raises Mistake for what does not fit.
    """
    if as_of is not None:
        _require_dated(job, as_of)
    _require_used_parameters(job)
    predictor = open_predictor(job.onnx, job.spec)
    check_predictor(job, predictor)
    needed = snapshot_columns.needed_columns(job.spec, predictor.features)
    with job.source.open(job.query, 1, needed, limit=0) as stream:
        DomainConverter(job.spec, predictor.features, stream)
    return predictor


def open_predictor(model: ModelFile | None, spec: Spec) -> Predictor:
    """Return what makes the predictions of a spec: its model file, or the domain if there is none."""
    if model is None:
        return DomainColumns(spec)
    return SpecScorer(model, spec)


def check_first_rows(predictor: Predictor, rows: pa.RecordBatch) -> None:
    """Score a sample of the domain's first rows.

    Raises ModelInvalid if the scores do not fit the spec or the model's classes, or if the model mixes rows.
    """
    if isinstance(predictor, SpecScorer):
        row_independence.require(predictor, rows)
        labels.require_known(predictor, row_independence.sample(predictor, rows))


def _try_predictions(predictor: Predictor, rows: pa.RecordBatch, *, first: bool) -> tuple[int, list[Reject]]:
    """Return how many predictions were tried, and those that a run would reject.

    Predictions that are in the domain cost nothing to look at. A model makes them for a sample of the first batch.
    """
    if isinstance(predictor, SpecScorer):
        if not first:
            return 0, []
        rows = row_independence.sample(predictor, rows)
    return rows.num_rows, score.score_chunk(predictor, rows, rows.num_rows).rejects


def check_predictor(job: Definition, predictor: Predictor) -> None:
    """Check what makes the predictions against the limits and the examples of the spec, if it is a model file."""
    if isinstance(predictor, SpecScorer):
        _require_limits_fit(job.spec, predictor)
        check_examples(job, predictor)


def _require_limits_fit(spec: Spec, scorer: SpecScorer) -> None:
    """Raise SpecInvalid for a limit of numbers on a column whose integers are the classes that the model chooses."""
    for name, column in spec.comparison.columns.items():
        selection = scorer.signature.outputs.get(name)
        if selection is not None and selection.is_label and column.of_numbers:
            listed = ", ".join(column.of_numbers)
            raise SpecInvalid(
                f"comparison.columns.{name}: {name} is the class that the model chooses, which has no {listed}. Use "
                "changed, or set the limit on the probability of a class."
            )


def check_examples(job: Definition, scorer: SpecScorer) -> None:
    """Score the examples of the spec; raise ModelInvalid if the model does not reproduce them.

    Also raises SpecInvalid when the project requires examples and the spec has none.
    """
    if job.examples is not None:
        verification.require(scorer, job.examples)
    elif job.project.settings.require_examples:
        raise SpecInvalid(
            f"The spec of {job.model} has no examples, and {FILE} requires them: require_examples = true. "
            f"{examples.HOW_TO_ADD}"
        )


def warnings(job: Definition) -> list[str]:
    """Return a sentence for each thing that nothing verifies."""
    return [examples.MISSING] if job.onnx is not None and job.examples is None else []


def _require_dated(job: Definition, as_of: datetime) -> None:
    """Raise NotAllowed for a run as of a time in the future, or with a query that does not use the time."""
    when = utc(as_of)
    if as_of > datetime.now(UTC):
        raise NotAllowed(f"Cannot run {job.model} as of {when}: that time is in the future.")
    if not job.source.uses_as_of(job.query):
        raise NotAllowed(
            f"Cannot run {job.model} as of {when}: its domain query {job.spec.domain.query} does not use $as_of, so it "
            "would return today's rows. Restrict the query to what was known at that time, for example with: "
            "where seen_at <= $as_of."
        )


def _require_used_parameters(job: Definition) -> None:
    """Raise SpecInvalid for a parameter that no query of the spec uses: one of the two names is probably misspelt."""
    domain = job.spec.domain
    used = job.source.parameter_names(job.query)
    if domain.data_as_of is not None and domain.data_as_of.query is not None:
        used |= job.source.parameter_names(domain.data_as_of.query, data_as_of.LABEL)
    if domain.unchanged_if is not None:
        used |= job.source.parameter_names(domain.unchanged_if, unchanged.LABEL)
    for name in sorted(set(job.spec.domain.parameters) - used):
        raise SpecInvalid(
            f"domain.parameters.{name}: the domain query {job.spec.domain.query} does not use ${name}."
            f"{did_you_mean(name, used, '$')} Use it there, or remove it from the spec."
        )


def check_target(job: Job) -> None:
    """Check what needs the database: roles, store, disk budget and checks. Raise Mistake for what would end the run."""
    with job.database.connect() as connection:
        roles.require_writer(connection, job.model)
        table.require_types(connection, job.spec.output_columns)
        job.store.require_access()
        disk.require_room(connection, job)
    check_expectations(job)


def refreshed(job: Job, options: RunOptions) -> Job:
    """Return the job with the files as they are now, checked again if they have changed since the job read them.

    Call it once the lease is held: other runs and deployments may have come while this run waited. Spec, query and
    model file must fit together.
    """
    current = job.reloaded()
    if current.parts != job.parts:
        check_inputs(current, options.as_of)
        check_target(current)
    return current


def check_expectations(job: Job) -> None:
    """Raise SpecInvalid for a misspelt check before anything is scored for it.

    Checks that have run before are not looked at again: Great Expectations takes seconds to import.
    """
    with job.database.connect() as connection:
        row = Catalog(connection).one(
            "versions_checks_have_run",
            model=job.model,
            spec_fingerprint=job.spec.fingerprint,
            checks_fingerprint=job.spec.checks_fingerprint,
        )
    if not row["have_run"]:
        expectations.build(job.spec)


def check_columns(connection: Connection, spec: Spec) -> None:
    """Raise NotAllowed for columns that would break readers, before anything is scored for them.

    Accepts any columns while the model is on hold, because nothing is published then, and before the first publication.
    """
    model = Catalog(connection).one("models_get", model=spec.model)
    if model is None or model["published_version"] is None:
        return
    if model["held_at"] is not None:
        return
    changes = compatibility.breaking_changes(
        connection,
        spec.model,
        spec.key_columns,
        spec.output_columns,
    )
    if changes:
        raise compatibility.breaking_error(
            f"A version of {spec.model} with this spec",
            changes,
            f"prescore run {spec.model}",
        )


@dataclass(frozen=True)
class Validation:
    """What `validate` found: the number of rows, of rejects among them, and a sentence for each warning."""

    rows: int
    rejected: int
    warnings: list[str]


def validate(job: Definition) -> Validation:
    """Run every step short of writing, up to a snapshot that is not kept.

    Rows that are rejected for their predictions alone are counted in a sample. Raises Refused when there are too many
    rejects.
    """
    expectations.build(job.spec)
    predictor = check_inputs(job)
    data_as_of.query(job.source, job.spec)
    found = warnings(job)
    rows = 0
    tally = rejects.Tally(job.spec)
    needed = snapshot_columns.needed_columns(job.spec, predictor.features)
    chunk_rows = job.project.settings.chunk_rows
    with job.source.open(job.query, chunk_rows, needed) as stream:
        converter = DomainConverter(job.spec, predictor.features, stream)
        first = True
        for converted, rejected in map(converter.convert, stream.batches):
            if converted.num_rows:
                if first:
                    check_first_rows(predictor, converted)
                tried, bad = _try_predictions(predictor, converted, first=first)
                tally.add(bad)
                if first and len(bad) == tried:
                    found.append(f"Each of the first {tried} predictions that were tried would be rejected: {bad[0]}.")
                first = False
            rows += converted.num_rows + len(rejected)
            tally.add(rejected)
            job.on_progress("check", converted.num_rows + len(rejected), None)
        result = tally.require_within_limit(rows)
        if rows == tally.count:
            raise snapshot.empty_domain_error(job.model, result if rows else None)
        converter.data_as_of()
    return Validation(rows, tally.count, found)
