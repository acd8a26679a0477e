"""A real Postgres for the tests: one server for the session, and for each test a copy of a migrated template database.

PRESCORE_TEST_DATABASE_URL names a server to use, with a role that may create databases. Without it, an embedded server
is started in a temporary folder.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
_END_SESSIONS = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s"
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


@dataclass
class Databases:
    """Copies of the template, for one test each. A test that wrote nothing leaves its copy to the next one.

    To create and drop one takes longer than most tests do.
    """

    url: str
    connection: psycopg.Connection
    unused: str | None = None

    @contextmanager
    def lend(self) -> Iterator[Database]:
        """Yield a database with an empty catalog."""
        name = self.unused or self._create()
        self.unused = None
        before = self._last_write()
        yield Database(at(self.url, name))
        self.connection.execute(_END_SESSIONS, [name])
        if self._last_write() == before:
            self.unused = name
        else:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Drop a database."""
        self.connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def _create(self) -> str:
        name = f"prescore_test_{os.getpid()}_{next(_numbers)}"
        _recreate(self.connection, name, TEMPLATE)
        return name

    def _last_write(self) -> Any:
        """Return the server's place in its log of writes, which covers every database."""
        return self.connection.execute("select pg_current_wal_insert_lsn()").fetchone()


@pytest.fixture(scope="session")
def databases(server: str) -> Iterator[Databases]:
    """The databases of the tests that have one of their own."""
    with psycopg.connect(server, autocommit=True) as connection:
        databases = Databases(server, connection)
        yield databases
        if databases.unused is not None:
            databases.drop(databases.unused)


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """A database of the test's own, with a catalog."""
    with databases.lend() as database:
        yield database


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
        _recreate(connection, name, template)


def _recreate(connection: psycopg.Connection, name: str, template: str) -> None:
    connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
    statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
    connection.execute(statement)


def create_vector_extension(connection: Connection) -> None:
    """Install pgvector in the database of a connection; skip the test where the server does not have it."""
    available = connection.execute("select from pg_available_extensions where name = 'vector'").fetchone()
    if available is None:
        pytest.skip("the server does not have pgvector")
    connection.execute("create extension vector")
