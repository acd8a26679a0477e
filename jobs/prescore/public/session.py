"""What every call of the public API opens: the project's files, its database, its catalog, a job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prescore.catalog import migrations, waits
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import EMBEDDED, Database
from prescore.catalog.urls import URL_VARIABLE
from prescore.embedded import server
from prescore.errors import Mistake
from prescore.project.folder import FILE, PROJECT
from prescore.project.project import Project as ProjectFiles
from prescore.public import extras

if TYPE_CHECKING:
    from prescore.run.job import Definition, Job, OnProgress


class Session:
    """A project and its database, opened again by each call: settings, specs and server may change in between.

    Without a path, the project is found from PRESCORE_PROJECT or the current folder. It may be missing when
    PRESCORE_DATABASE_URL names a database: calls that need only the catalog then work. Raises Mistake.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._start = None if path is None else _require_folder(Path(path))
        if path is not None or _environment_url() is None:
            # Later calls find the same project even if the process changes its folder.
            self._start = self._root()

    def _root(self) -> Path:
        try:
            return self.files.root
        except Mistake as error:
            if self._start is not None or PROJECT in os.environ:
                raise
            raise Mistake(
                f"{error} To use a database without a project, as an application does, set {URL_VARIABLE}."
            ) from error

    @property
    def files(self) -> ProjectFiles:
        """The project's folder, settings and specs as they are now; raises Mistake or SpecInvalid."""
        return ProjectFiles.find(self._start)

    @property
    def optional_files(self) -> ProjectFiles | None:
        """The same, or None without a project when the environment names the database."""
        try:
            return self.files
        except Mistake:
            if _environment_url() is None:
                raise
            return None

    @property
    def database(self) -> Database:
        """The database that the environment or the project names; the embedded one is started first."""
        url = _environment_url()
        return server.database(self.files) if url is None else Database.from_url(url)

    @contextmanager
    def catalog(self) -> Iterator[Catalog]:
        """Open the catalog as it is, without migrating it; raises DatabaseRefused or DatabaseUnavailable."""
        database = self.database
        migrations.require_readable(database)
        with waits.logged(database), database.connect() as connection:
            yield Catalog(connection)

    def definition(self, name: str, on_progress: OnProgress) -> Definition:
        """Return a model's spec, query, model file and source, without a database; raises NotFound or SpecInvalid."""
        with extras.needed("jobs"):
            from prescore.run.job import Definition

        files = self.files
        return Definition(files, files.spec(name), on_progress=on_progress)

    def job(self, name: str, on_progress: OnProgress) -> Job:
        """Return the same together with the project's database."""
        with extras.needed("jobs"):
            from prescore.run.job import Job

        files = self.files
        return Job(files, files.spec(name), self.database, on_progress=on_progress)


def uses_embedded_server(root: Path) -> bool:
    """Return whether a project uses the embedded Postgres, as a folder does that becomes a project."""
    if not (root / FILE).exists():
        return _environment_url() is None
    return ProjectFiles.find(root).database_name == EMBEDDED


def _environment_url() -> str | None:
    url = os.environ.get(URL_VARIABLE)
    return url if url and url != EMBEDDED else None


def _require_folder(path: Path) -> Path:
    if not path.is_dir():
        raise Mistake(f"{path} is not a folder. Use the folder that holds prescore.toml, or one below it.")
    return path
