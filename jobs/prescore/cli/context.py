"""What a command opens before it works: the project's database, its catalog, a job. Nothing heavy is imported early."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prescore.errors import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prescore.catalog.catalog import Catalog
    from prescore.catalog.database import Database
    from prescore.run.job import Job


def flow() -> Any:
    """The modules of the flow and of its material; raises Mistake where only the lookup API is installed."""
    try:
        from prescore.run import job, materialize, preflight
    except ImportError as error:
        raise _not_installed(error) from error
    return materialize, preflight, job


def retirement() -> Any:
    """The module that keeps and drops versions; raises Mistake where the jobs are not installed."""
    try:
        from prescore.versions import retention
    except ImportError as error:
        raise _not_installed(error) from error
    return retention


def _not_installed(error: ImportError) -> Mistake:
    return Mistake(f"The jobs are not installed ({error}): pip install 'prescore[jobs]'.")


def database() -> Database:
    """The database that the environment names, or else the project here, whose embedded one is started first."""
    from prescore.catalog.database import EMBEDDED, URL_VARIABLE, Database

    named = os.environ.get(URL_VARIABLE)
    if named and named != EMBEDDED:
        return Database.from_url(named)

    from prescore.embedded import server
    from prescore.project.project import Project

    return server.database(Project.find())


@contextmanager
def catalog() -> Iterator[Catalog]:
    """Open the catalog as it is. No project is needed where the environment names a database."""
    from prescore.catalog import migrations
    from prescore.catalog.catalog import Catalog

    opened = database()
    migrations.require_readable(opened)
    with opened.connect() as connection:
        yield Catalog(connection)


@contextmanager
def job(name: str) -> Iterator[Job]:
    """A model of the project here on its database, with progress bars."""
    from prescore.cli import display
    from prescore.embedded import server
    from prescore.project.project import Project
    from prescore.run.job import Job

    project = Project.find()
    spec = project.spec(name)
    with display.bars() as bars:
        yield Job(project, spec, server.database(project), on_progress=bars)
