"""What a run works with: one model of a project, its store, and the database it goes to."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.project.project import Project
from prescore.project.spec import Spec
from prescore.sources import source
from prescore.sources.source import Source
from prescore.store.store import Store, read_model
from prescore.versions.lease import Lease

OnProgress = Callable[[str, int, int | None], None]
"""Told of progress: the step, the rows done since the last call, the rows in all if known."""


def no_progress(step: str, rows: int, total: int | None) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Definition:
    """One model of a project, before there is any database: what it is made from."""

    project: Project
    spec: Spec
    on_progress: OnProgress = field(default=no_progress, compare=False, kw_only=True)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.spec.model

    @cached_property
    def query(self) -> str:
        """The domain query's text; raises DomainInvalid when there is none."""
        return source.query_text(self.project, self.spec)

    @cached_property
    def source(self) -> Source:
        """Where the domain is read."""
        return source.open_source(self.project, self.spec, Store(self.project.store).spill(self.model))

    @cached_property
    def onnx(self) -> bytes:
        """The model file's content; raises ModelInvalid when it is not there or empty."""
        return read_model(self.project.root / self.spec.onnx.file)

    @property
    def parts(self) -> tuple[Spec, str, bytes]:
        """What decides the predictions, apart from the data: spec, query and model file, as this job has read them."""
        return self.spec, self.query, self.onnx

    def reloaded(self) -> Self:
        """The same job, of what its files are now."""
        return replace(self, spec=self.project.spec(self.model))

    @property
    def workers(self) -> int:
        """Chunks scored side by side."""
        if self.project.settings.workers:
            return self.project.settings.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS


@dataclass(frozen=True)
class Job(Definition):
    """The same, on its way into a database."""

    database: Database

    @cached_property
    def store(self) -> Store:
        """Where the catalog's snapshots and models are kept."""
        with self.database.connect() as connection:
            return Store(self.project.store, Catalog(connection).name)

    def with_lease(self, lease: Lease) -> Self:
        """The same job, its connections named after the lease: a successor ends them when this run is stuck."""
        # With what it has read of its files.
        named = copy(self)
        object.__setattr__(named, "database", replace(self.database, name=lease.connections))
        return named
