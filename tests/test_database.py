"""The catalog's schema: applied once, under a lock, and not by readers."""

from __future__ import annotations

import psycopg
import pytest

from fix_postgres import at
from fix_project import Sandbox
from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.catalog.queries import statements
from prescore.checks import expectations
from prescore.errors import DatabaseRefused, DatabaseUnavailable
from prescore.run import materialize


def test_every_table_and_column_of_the_catalog_that_needs_a_word_has_one(database: Database) -> None:
    with database.connect() as connection:
        silent = connection.execute(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname in ('prescore', 'predictions') and c.relkind in ('r', 'v')"
            " and obj_description(c.oid) is null and c.relname <> 'migrations'"
        ).fetchall()
    assert silent == []


def test_a_role_without_rights_is_told_so(server: str, database: Database) -> None:
    with database.connect() as connection:
        connection.execute("drop role if exists prescore_nobody")
        connection.execute("create role prescore_nobody login")
        try:
            nobody = Database(database.url.replace("postgres@", "prescore_nobody@", 1))
            if nobody.url == database.url or "host=/" not in server:
                pytest.skip("a named server may want a password for a new role")
            with pytest.raises(DatabaseRefused, match="Postgres forbids it"), nobody.connect() as other:
                other.execute("select * from prescore.models")
        finally:
            connection.execute("drop role prescore_nobody")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("set lock_timeout = '1ms'; select * from prescore.models", "Somebody else holds a lock"),
        ("set statement_timeout = '1ms'; select pg_sleep(60)", "took longer than statement_timeout allows"),
        ("do $$ begin raise exception 'no space' using errcode = 'disk_full'; end $$", "disk is full. Make room there"),
        ("do $$ begin raise exception 'no room' using errcode = 'out_of_memory'; end $$", "is out of memory"),
    ],
)
def test_what_a_server_is_short_of_is_told_as_that(database: Database, statement: str, told: str) -> None:
    with database.connect() as holder, holder.transaction():
        holder.execute("lock table prescore.models")
        with pytest.raises(DatabaseUnavailable) as short, database.connect() as other:
            other.execute(statement.encode())
    assert told in str(short.value)
    assert "Is it running" not in str(short.value)


@pytest.mark.parametrize("embedded", [True, False])
def test_a_server_that_takes_no_more_connections_says_so(server: str, database: Database, *, embedded: bool) -> None:
    if "host=/" not in server:
        pytest.skip("a named server may want a password for a new role")
    with database.connect() as connection:
        connection.execute("drop role if exists prescore_crowd")
        connection.execute("create role prescore_crowd login connection limit 0")
        try:
            crowded = Database(database.url.replace("postgres@", "prescore_crowd@", 1), embedded=embedded)
            with pytest.raises(DatabaseUnavailable, match="takes no more connections"), crowded.connect():
                pass
        finally:
            connection.execute("drop role prescore_crowd")


def test_every_statement_has_a_name_and_every_name_a_statement() -> None:
    assert all(text and not text.startswith("--") for text in statements().values())


def test_a_server_that_only_reads_is_told_and_waited_for(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox.cli("run", "churn").code == 0
    sandbox.monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    monkeypatch.setattr(materialize, "PAUSES", (0.0,))
    for command in ("run", "hold"):
        done = sandbox.cli(command, "churn", *(["--reason", "no reason"] if command == "hold" else []))
        assert (done.code, "This server only reads: a standby" in done.err) == (3, True), done.err


def test_what_the_url_sets_holds_for_the_checks_too(sandbox: Sandbox) -> None:
    url = sandbox.database.url
    more = "options=-c%20statement_timeout%3D60s%20-c%20work_mem%3D8MB"
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", f"{url}{'&' if '?' in url else '?'}{more}")
    done = sandbox.cli("run", "churn")
    assert (done.code, "published" in done.out) == (0, True), done.err


def test_settings_that_would_end_a_run_are_not_the_sessions(sandbox: Sandbox) -> None:
    sandbox.monkeypatch.setenv(
        "PGOPTIONS", "-c idle_session_timeout=1s -c default_transaction_isolation=repeatable\\ read"
    )
    with sandbox.database.connect() as connection:
        shown = [
            connection.execute(f"show {name}".encode()).fetchone()
            for name in ("idle_session_timeout", "default_transaction_isolation")
        ]
    assert shown == [{"idle_session_timeout": "0"}, {"default_transaction_isolation": "read committed"}]


def test_no_connection_for_the_checks_is_no_bug(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job())
    with sandbox.database.connect() as connection:
        version = Catalog(connection).version("churn", 1)
    with pytest.raises(DatabaseUnavailable, match="went away during the checks"):
        expectations.validate(Database("postgresql://nobody@localhost:1/nothing"), version, [])


def test_a_database_of_no_encoding_does_too(server: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("drop database if exists prescore_ascii with (force)")
        connection.execute("create database prescore_ascii template template0 encoding 'SQL_ASCII' locale 'C'")
    made = Database(at(server, "prescore_ascii"))
    migrations.migrate(made)
    with made.connect() as opened:
        assert opened.execute("select 'Zürich'::text as name").fetchone() == {"name": "Zürich"}
