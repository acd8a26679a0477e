"""Migrations: applied once, never by readers, and refused where catalog and release do not fit together."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from doc_pages import ROOT
from fix_postgres import at, recreate
from fix_project import Sandbox
from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.catalog.queries import Migration, migration_files
from prescore.embedded import server as embedded
from prescore.errors import DatabaseRefused
from prescore.project.project import Project

VERSION = len(migration_files())


@pytest.fixture
def empty(server: str) -> Database:
    """A database without a catalog."""
    recreate(server, "prescore_empty")
    return Database(at(server, "prescore_empty"))


def set_version(database: Database, version: int) -> None:
    """Make a catalog look like one of another release."""
    with database.connect() as connection:
        connection.execute("delete from prescore.migrations where number > %s", [version])
        for number in range(VERSION + 1, version + 1):
            row = [number, f"{number:04}_later.sql"]
            connection.execute("insert into prescore.migrations (number, name, checksum) values (%s, %s, '')", row)


def test_concurrent_processes_migrate_once(empty: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = [future.result() for future in [pool.submit(migrations.migrate, empty) for _ in range(4)]]
    assert sorted(len(names) for names in applied) == [0, 0, 0, VERSION]
    migrations.require_current(empty)


def test_a_reader_does_not_create_a_catalog(empty: Database) -> None:
    with pytest.raises(DatabaseRefused, match="prescore db migrate"):
        migrations.require_readable(empty)
    with empty.connect() as connection:
        assert not migrations.exists(connection)


def test_a_writer_refuses_a_newer_catalog(database: Database) -> None:
    set_version(database, VERSION + 1)
    with pytest.raises(DatabaseRefused, match="Upgrade prescore here"):
        migrations.migrate(database)


def test_an_edited_migration_is_refused(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("update prescore.migrations set checksum = 'edited' where number = 1")
    for require in (migrations.migrate, migrations.require_current, migrations.require_readable):
        with pytest.raises(DatabaseRefused, match=r"0001_catalog\.sql was edited after it was applied"):
            require(database)


def test_what_was_dropped_by_hand_is_restored(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    with sandbox.database.connect() as connection:
        connection.execute("drop schema predictions cascade")
        connection.execute("drop view prescore.visible")
        connection.execute("drop function prescore.table_fault")
    lost = sandbox.cli("status")
    assert (lost.code, "`prescore db migrate` restores what belongs to the catalog" in lost.err) == (2, True), lost.err
    restored = sandbox.cli("db", "migrate")
    assert restored.code == 0, restored.err
    assert restored.out.splitlines() == [
        "schema predictions",
        "view prescore.visible",
        "view predictions.freshness",
        "function prescore.table_fault",
        "view predictions.churn",
    ]
    assert "grant all others again" in restored.err
    assert sandbox.rows("select count(*), min(version) from predictions.churn") == [(1000, 1)]
    assert sandbox.cli("lookup", "churn", "7").code == 0
    again = sandbox.cli("db", "migrate")
    assert (again.out, "grant all others" in again.err) == ("The catalog is up to date.\n", False)
    assert sandbox.cli("run", "churn", "--full").code == 0


def test_copies_of_a_catalog_have_names_of_their_own_in_a_store(own_postgres: Project, server: str) -> None:
    """Databases of the same OID on two servers, with the same id as after a restore."""
    copies = [Database(embedded.start(own_postgres)), Database(at(server, "postgres"))]
    names = set()
    for copy in copies:
        migrations.migrate(copy)
        with copy.connect() as connection:
            connection.execute("update prescore.catalog set id = '8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d'")
            names.add(Catalog(connection).name)
    # A copy of a server's files gets a name of its own by hand, with the statement in the runbook.
    with copies[0].connect() as connection:
        connection.execute(_statement_in_the_runbook("update prescore.catalog").encode())
        names.add(Catalog(connection).name)
    with copies[1].connect() as connection:
        connection.execute("drop schema prescore, predictions, prescore_versions cascade")
    assert len(names) == 3


def _statement_in_the_runbook(beginning: str) -> str:
    (statement,) = re.findall(f'"({beginning}.*)"', (ROOT / "docs/runbook.md").read_text())
    return str(statement)


READING = (
    ("status",),
    ("versions", "churn"),
    ("history", "churn"),
    ("lookup", "churn", "1"),
    ("hold", "churn", "--reason", "an upgrade"),
    ("release", "churn"),
    ("publish", "churn", "1"),
    ("rollback", "churn"),
)
"""Commands that work on a catalog as it is. The sandbox has versions 1 and 2, of which 2 is published."""


def test_reading_commands_work_one_version_away_and_never_migrate(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert sandbox.cli("run", "churn").code == 0
    set_version(sandbox.database, VERSION + 1)
    for command in READING:
        result = sandbox.cli(*command)
        # Publishing an older version is refused by its own rule, not because of the catalog.
        assert result.code == 0 or "newer" not in result.err, result.err
        assert "catalog" not in result.err
    set_version(sandbox.database, VERSION)
    later = Migration(VERSION + 1, "later.sql", "create table prescore.later (x integer)")
    monkeypatch.setattr(migrations, "migration_files", lambda: [*migration_files(), later])
    for command in READING:
        assert "catalog" not in sandbox.cli(*command).err
    assert sandbox.rows("select to_regclass('prescore.later')") == [(None,)]


def test_a_command_names_the_side_to_upgrade(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox.cli("run", "churn").code == 0
    set_version(sandbox.database, VERSION + 2)
    for command in READING:
        result = sandbox.cli(*command)
        assert result.code == 2
        assert "Upgrade prescore here" in result.err
    set_version(sandbox.database, VERSION)
    later = [Migration(VERSION + n, f"{n}.sql", "select 1") for n in (1, 2)]
    monkeypatch.setattr(migrations, "migration_files", lambda: [*migration_files(), *later])
    for command in READING:
        result = sandbox.cli(*command)
        assert result.code == 2
        assert "`prescore db migrate`" in result.err


def test_the_first_run_creates_the_catalog(sandbox: Sandbox, empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_DATABASE_URL", empty.url)
    before = sandbox.cli("status")
    assert before.code == 2
    assert "has no prescore catalog" in before.err
    assert sandbox.cli("run", "churn").code == 0
    assert sandbox.cli("status").code == 0
