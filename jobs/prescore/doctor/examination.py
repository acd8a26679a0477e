"""The whole examination: the database, then what only an open connection and a readable catalog can show."""

from __future__ import annotations

from collections.abc import Iterator

from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.doctor import files, models, server
from prescore.doctor.finding import Finding, fault, ok
from prescore.errors import PrescoreError
from prescore.project.project import Project


def examine(database: Database, project: Project | None) -> Iterator[Finding]:
    """Yield every finding about a database and a project's store and specs; writes only a marker into the store."""
    try:
        with database.connect() as connection:
            catalog = Catalog(connection)
            yield from server.examine(catalog)
            yield from _catalog(database, catalog, project)
    except PrescoreError as error:
        yield fault("database", str(error), "Nothing else can be examined before this works.")


def _catalog(database: Database, catalog: Catalog, project: Project | None) -> Iterator[Finding]:
    try:
        migrations.require_readable(database)
        missing = migrations.pending(catalog.connection)
    except PrescoreError as error:
        yield fault("catalog", str(error), "")
        return
    if missing:
        names = ", ".join(migration.name for migration in missing)
        yield fault("catalog", f"lacks {names}", "Ask the catalog owner to run `prescore db migrate`.")
    else:
        yield ok("catalog", "has all migrations of this release")
    yield from models.examine(catalog, None if project is None else project.models())
    if project is not None:
        yield from files.examine(catalog, project.store)
