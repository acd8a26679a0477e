"""Migrations of the catalog: apply them, and check whether a release and a catalog fit together.

The number of a catalog's last migration is the catalog's version. A release that changes the catalog adds one file.
Writers need exactly the version that they ship. Readers also work one version away in either direction, so that
programs and catalog can be upgraded one after the other.
"""

from __future__ import annotations

from contextlib import suppress

from psycopg import errors as pg

from prescore.catalog import roles
from prescore.catalog.database import Connection, Database
from prescore.catalog.driver_errors import first_line
from prescore.catalog.queries import Migration, migration_files, query
from prescore.catalog.urls import redacted
from prescore.errors import DatabaseRefused

_OBJECTS = (
    "objects_stored_tables",
    "objects_own_relations",
    "objects_table_fault",
    "objects_visible",
    "objects_canaries",
    "objects_canary_bucket",
    "objects_columns_changed",
    "objects_freshness",
)
"""Statements that create or replace the catalog's functions and views, in this order."""
REACH = 1
"""How many versions a reader may be ahead of the catalog, or behind it."""


def migrate(database: Database) -> list[str]:
    """Apply the missing migrations under a lock, restore the objects that are gone, and return the names of both.

    Roles that have rights get those that this release adds. Raises DatabaseRefused if this role may not migrate, if the
    catalog is newer than this release, or if an applied migration was edited.
    """
    with database.connect() as connection:
        missing = _missing(connection)
        if not missing:
            return []
        try:
            return _apply_alone(connection)
        except pg.InsufficientPrivilege as error:
            names = ", ".join(missing)
            raise DatabaseRefused(
                f"The catalog at {redacted(database.url)} lacks {names}, and this role may not apply it: "
                f"{first_line(error)} Ask the catalog owner to run `prescore db migrate`."
            ) from error


def require_current(database: Database) -> None:
    """Raise DatabaseRefused unless the catalog has exactly the migrations of this release."""
    with database.connect() as connection:
        missing = _missing(connection)
        if missing:
            raise DatabaseRefused(
                f"The catalog at {redacted(database.url)} is missing or older than this release of prescore: it lacks "
                f"{', '.join(missing)}. "
                "Ask the catalog owner to run `prescore db migrate`."
            )


def require_readable(database: Database) -> None:
    """Raise DatabaseRefused unless this release can read the catalog as it is. Never migrates."""
    with database.connect() as connection:
        applied = _applied(connection)
    where = redacted(database.url)
    if not applied:
        raise DatabaseRefused(
            f"The database at {where} has no prescore catalog. The first `prescore run` creates it, "
            "and so does `prescore db migrate`."
        )
    _require_unedited(applied)
    catalog_version = max(applied)
    release_version = max(migration.number for migration in migration_files())
    oldest, newest = release_version - REACH, release_version + REACH
    if catalog_version < oldest:
        raise DatabaseRefused(
            f"The catalog at {where} has version {catalog_version}, and this prescore reads version {oldest} or later. "
            "Ask the catalog owner to run `prescore db migrate`."
        )
    if catalog_version > newest:
        raise _too_new(catalog_version, newest)


def exists(connection: Connection) -> bool:
    """Return whether the database has a catalog at all."""
    return bool(_applied(connection))


def pending(connection: Connection) -> list[Migration]:
    """Return the migrations that the catalog lacks; raise DatabaseRefused as `migrate` does."""
    applied = _applied(connection)
    shipped = migration_files()
    newest = max(migration.number for migration in shipped)
    if applied and max(applied) > newest:
        raise _too_new(max(applied), newest)
    _require_unedited(applied)
    return [migration for migration in shipped if migration.number not in applied]


def _applied(connection: Connection) -> dict[int, str]:
    """Return the checksum of each applied migration by its number."""
    if not _applied_table_exists(connection):
        return {}
    rows = connection.execute(query("migrations_applied"))
    return {row["number"]: row["checksum"] for row in rows}


def _applied_table_exists(connection: Connection) -> bool:
    row = connection.execute(query("migrations_exist")).fetchone()
    return bool(row and row["present"])


def _require_unedited(applied: dict[int, str]) -> None:
    for migration in migration_files():
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise DatabaseRefused(
                f"Migration {migration.name} was edited after it was applied to this database, so the catalog may "
                "differ from what this prescore expects. Install the release that applied it, or put the change into "
                "a new migration."
            )


def _too_new(version: int, newest: int) -> DatabaseRefused:
    return DatabaseRefused(
        f"The catalog in this database has version {version}, and this prescore works with versions up to {newest}. "
        "Upgrade prescore here."
    )


def _missing(connection: Connection) -> list[str]:
    """Return the names of migrations that are not applied and, if there are none, of objects that are gone."""
    names = [migration.name for migration in pending(connection)]
    return names or [row["name"] for row in connection.execute(query("objects_missing"))]


def _apply_alone(connection: Connection) -> list[str]:
    """Apply what is missing, while no other process does."""
    while True:
        # Of processes that create the schema at the same time, all but one fail, and find it when they try again.
        with suppress(pg.UniqueViolation), connection.transaction():
            connection.execute(query("migrations_table"))
        if _applied_table_exists(connection):
            return _apply(connection)


def _apply(connection: Connection) -> list[str]:
    with connection.transaction():
        connection.execute(query("migrations_lock"))
        # Another process may have applied some while this one waited for the lock.
        names = _missing(connection)
        if not names:
            return []
        connection.execute(query("objects_schemas"))
        for migration in pending(connection):
            connection.execute(migration.text)
            row = {"number": migration.number, "name": migration.name, "checksum": migration.checksum}
            connection.execute(query("migrations_record"), row)
        for name in _OBJECTS:
            connection.execute(query(name))
        roles.grant(connection)
        return names
