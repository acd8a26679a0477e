"""A real Postgres for every test: one server a session, one database a test, copied from a migrated template.

PRESCORE_TEST_DATABASE_URL names a server to use (its role must be allowed to create databases); without it the
embedded one is started in a temporary folder.
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
_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server with a migrated template database."""
    named = os.environ.get("PRESCORE_TEST_DATABASE_URL")
    # Not in pytest's folder: a second session shuts out everybody but its own user, and the server's is another.
    folder = tempfile.TemporaryDirectory(prefix="prescore-tests-")
    project = Project(Path(folder.name), Settings(database="embedded"))
    url = named or embedded.start(project)
    try:
        if named is None:
            _lock_a_door(embedded.folder(project), url)
        recreate(url, TEMPLATE)
        migrations.migrate(Database(at(url, TEMPLATE)))
        yield url
    finally:
        if named is None:
            embedded.stop(project)
        folder.cleanup()


@pytest.fixture
def database(server: str) -> Iterator[Database]:
    """A database of this test's own."""
    name = f"prescore_test_{os.getpid()}_{next(_numbers)}"
    recreate(server, name, template=TEMPLATE)
    yield Database(at(server, name))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection to it, as prescore opens them."""
    with database.connect() as opened:
        yield opened


def at(url: str, name: str) -> str:
    """The same server, another database."""
    parts = conninfo_to_dict(url)
    host, user = parts.get("host", "localhost"), parts.get("user", "postgres")
    password = f":{parts['password']}" if parts.get("password") else ""
    if str(host).startswith("/"):
        return f"postgresql://{user}{password}@localhost/{name}?host={host}"
    return f"postgresql://{user}{password}@{host}:{parts.get('port', 5432)}/{name}"


def _lock_a_door(data: Path, url: str) -> None:
    """A role that must give its password: the embedded server trusts everybody else who reaches its socket."""
    rules = data / "pg_hba.conf"
    rules.write_text(f"local all {LOCKED} scram-sha-256\n" + rules.read_text())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login password 'right'").format(sql.Identifier(LOCKED)))
        connection.execute("select pg_reload_conf()")


def recreate(url: str, name: str, template: str = "template1") -> None:
    """A database of this name, made anew from a template."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        connection.execute(statement)
