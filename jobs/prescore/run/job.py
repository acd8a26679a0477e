"""What a run works with: one model of a project, its store, and the database that it writes to."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Database
from prescore.project.project import Project
from prescore.project.spec import Spec
from prescore.scoring.examples import ExampleFile
from prescore.sources import domain
from prescore.sources.source import Source
from prescore.store.model_file import ModelFile
from prescore.store.store import Store
from prescore.versions.lease import Lease

OnProgress = Callable[[str, int, int | None], None]
"""Called with a step, the rows processed since the last call, and the total number of rows if it is known."""


def no_progress(step: str, rows: int, total: int | None) -> None:
    """Show no progress."""


@dataclass
class Definition:
    """One model of a project without a database: what its predictions are made from.

    Each file is read once, when it is first needed, so that all steps of a run see the same content.
    """

    project: Project
    spec: Spec
    on_progress: OnProgress = field(default=no_progress, kw_only=True)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.spec.model

    @cached_property
    def query(self) -> str:
        """The domain query's text; raises DomainInvalid when there is none."""
        return domain.query_text(self.project, self.spec)

    @cached_property
    def source(self) -> Source:
        """The source that the domain query runs on."""
        spill = Store(self.project.store).spill_folder(self.model)
        return domain.open_source(self.project, self.spec, spill)

    @cached_property
    def onnx(self) -> ModelFile | None:
        """The model file, None if predictions are made elsewhere.

        Raises ModelInvalid when it is missing, empty or incomplete.
        """
        if self.spec.onnx is None:
            return None
        return ModelFile.read(self.project.root / self.spec.onnx.file)

    @cached_property
    def examples(self) -> ExampleFile | None:
        """The examples that the model must reproduce, None if the spec has none; raises ModelInvalid."""
        onnx = self.spec.onnx
        if onnx is None or onnx.examples is None:
            return None
        return ExampleFile.read(self.project.root / onnx.examples.file)

    @property
    def parts(self) -> tuple[Spec, str, ModelFile | None, ExampleFile | None]:
        """Spec, query, model file and examples, which together with the data decide the predictions."""
        return self.spec, self.query, self.onnx, self.examples

    def reloaded(self) -> Self:
        """Return the same job with the files as they are now."""
        return replace(self, spec=self.project.spec(self.model))

    @property
    def workers(self) -> int:
        """The number of chunks to score in parallel."""
        if self.project.settings.workers:
            return self.project.settings.workers
        # macOS has no sched_getaffinity.
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1


@dataclass
class Job(Definition):
    """One model of a project, and the database that its predictions are written to."""

    database: Database

    @cached_property
    def store(self) -> Store:
        """The store of the catalog's snapshots and model files."""
        with self.database.connect() as connection:
            return Store(self.project.store, Catalog(connection).name)

    def version_row(self, version: int) -> Version:
        """Return a version's row in the catalog, as it is now; raises NotFound."""
        with self.database.connect() as connection:
            return Catalog(connection).version(self.model, version)

    def source_at(self, version: Version) -> Source:
        """Return the source as a version's run reads it, with the time that the version is for."""
        return self.source.with_as_of(version["as_of"] or version["started_at"])

    def with_lease(self, lease: Lease) -> Self:
        """Return the same job with sessions named after the lease, by which a successor ends them if this run is stuck.

        The files that this job has read are not read again.
        """
        job = copy(self)
        job.database = replace(self.database, name=lease.session_name)
        return job
