"""Register the version that a run works on in the catalog: an unfinished one that it resumes, or a new one."""

from __future__ import annotations

from importlib.metadata import version as release
from typing import Any

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.run import preflight
from prescore.run.job import Job
from prescore.scoring.graph import Graph
from prescore.scoring.session import RUNTIME
from prescore.sources import domain
from prescore.versions import lifecycle, privileges, resumption
from prescore.versions.lease import Lease
from prescore.versions.options import DEFAULTS, RunOptions


def begin(job: Job, lease: Lease, options: RunOptions = DEFAULTS) -> int:
    """Resume the unfinished version that is made of the same things, or create one, and return its number.

    Abandons other unfinished versions. Raises NotAllowed for columns that would break readers, if the version is to be
    published and the options do not allow them.
    """
    made_of = {
        "model_fingerprint": None if job.onnx is None else job.onnx.fingerprint,
        "domain_fingerprint": domain.fingerprint(job.source, job.query, options.trial_rows, options.as_of),
        "spec_fingerprint": job.spec.fingerprint,
        "runtime": None if job.onnx is None else RUNTIME,
        "chunk_rows": _significant_chunk_rows(job),
    }
    # Storing a model file and verifying a large snapshot take a while, so both are done before anything is locked.
    if job.onnx is not None:
        job.store.keep_model(job.onnx)
    with job.database.connect() as connection:
        resumable = None
        if not options.full:
            resumable = resumption.find_resumable(connection, job.store, job.model, made_of)
        with connection.transaction():
            _require_publishable(connection, job, options)
            version = _register(connection, job, options, made_of, resumable)
            abandoned = []
            # A trial leaves unfinished versions to the run that it is a trial of.
            if not options.trial_rows:
                abandoned = lifecycle.abandon(connection, job.model, but=version, as_of=options.as_of)
            lease.check(connection)
        for other in abandoned:
            lifecycle.discard(connection, job.store, other)
        _sweep_snapshots(connection, job, lease)
        lifecycle.sweep_model_files(connection, job.store)
    return version


def _significant_chunk_rows(job: Job) -> int | None:
    """Return the rows of a chunk if the model's scores depend on how the domain is divided into chunks."""
    onnx = job.spec.onnx
    if onnx is None or not onnx.allow_batch_dependence:
        return None
    return job.project.settings.chunk_rows


def _require_publishable(connection: Connection, job: Job, options: RunOptions) -> None:
    privileges.require_roles(connection, job.spec.grants.select)
    if options.publishes and not options.allow_breaking:
        preflight.check_columns(connection, job.spec)


def _register(
    connection: Connection,
    job: Job,
    options: RunOptions,
    made_of: dict[str, Any],
    resumable: int | None,
) -> int:
    """Record in the catalog that a run works on the resumable version, or on a new one, and return its number."""
    producer = ""
    if job.onnx is not None:
        lifecycle.lock_model_file(connection, job.onnx.fingerprint)
        # Another run may have removed the file before it was locked. Now none can.
        job.store.keep_model(job.onnx)
        producer = Graph.parse(job.onnx.content, job.model).producer
    catalog = Catalog(connection)
    catalog.execute("models_register", model=job.model, description=job.spec.description)
    if resumable is None:
        version = lifecycle.create(connection, job.spec, made_of, options)
    else:
        version = resumable
        resumption.resume(connection, job.spec, version)
    lifecycle.set_to_publish(connection, job.model, version, publishing=options.publishes)
    catalog.execute(
        "versions_set_origin",
        model=job.model,
        version=version,
        producer=producer,
        prescore_version=release("prescore"),
        examples_fingerprint=None if job.examples is None else job.examples.fingerprint,
    )
    return version


def _sweep_snapshots(connection: Connection, job: Job, lease: Lease) -> None:
    """Remove snapshot files that no version has, such as those of a process that died while it wrote one."""
    with connection.transaction():
        # The lease stays locked until the transaction ends, so no successor begins a snapshot meanwhile.
        lease.check(connection)
        locations: set[str] = set()
        for version in Catalog(connection).versions(job.model):
            if version["state"] not in ("failed", "retired"):
                locations.update(filter(None, [version["snapshot_location"], version["changes_location"]]))
        job.store.sweep(job.model, locations)
