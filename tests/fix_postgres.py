"""A real Postgres for the tests: one server for the session, and for each test a copy of a migrated template database.

PRESCORE_TEST_DATABASE_URL names a server to use, with a role that may create databases. Without it, an embedded server
is started in a temporary folder.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from prescore.catalog import migrations
from prescore.catalog.database import Connection, Database
from prescore.embedded import server as embedded
from prescore.project.project import Project, Settings

TEMPLATE = "prescore_template"
LOCKED = "prescore_locked"
"""A role of the embedded server that has to log in with a password."""
_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server that has a migrated template database."""
    external_url = os.environ.get("PRESCORE_TEST_DATABASE_URL")
    # Pytest's own temporary folder does not work: it is closed to other users, and the server runs as one.
    folder = tempfile.TemporaryDirectory(prefix="prescore-tests-")
    project = Project(Path(folder.name), Settings(database="embedded"))
    url = external_url or embedded.start(project)
    try:
        if external_url is None:
            _create_role_with_password(embedded.folder(project), url)
        recreate(url, TEMPLATE)
        migrations.migrate(Database(at(url, TEMPLATE)))
        yield url
    finally:
        if external_url is None:
            embedded.stop(project)
        folder.cleanup()


@pytest.fixture
def database(server: str) -> Iterator[Database]:
    """A database of the test's own, with a catalog."""
    name = f"prescore_test_{os.getpid()}_{next(_numbers)}"
    recreate(server, name, template=TEMPLATE)
    yield Database(at(server, name))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection to the test's database, opened as prescore does."""
    with database.connect() as connection:
        yield connection


def at(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    parts = conninfo_to_dict(url)
    host = parts.get("host", "localhost")
    user = parts.get("user", "postgres")
    password = f":{parts['password']}" if parts.get("password") else ""
    if str(host).startswith("/"):
        return f"postgresql://{user}{password}@localhost/{name}?host={host}"
    return f"postgresql://{user}{password}@{host}:{parts.get('port', 5432)}/{name}"


def _create_role_with_password(data: Path, url: str) -> None:
    """Create a role that has to log in with a password. The embedded server trusts all others that reach its socket."""
    rules = data / "pg_hba.conf"
    rules.write_text(f"local all {LOCKED} scram-sha-256\n" + rules.read_text())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login password 'right'").format(sql.Identifier(LOCKED)))
        connection.execute("select pg_reload_conf()")


def recreate(url: str, name: str, template: str = "template1") -> None:
    """Create a database from a template, after dropping an existing one of the same name."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        connection.execute(statement)


def create_vector_extension(connection: Connection) -> None:
    """Install pgvector in the database of a connection; skip the test where the server does not have it."""
    available = connection.execute("select from pg_available_extensions where name = 'vector'").fetchone()
    if available is None:
        pytest.skip("the server does not have pgvector")
    connection.execute("create extension vector")
