"""Connections: the settings that they have, and the errors that a driver error becomes."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast
from urllib.parse import quote

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from fix_api import OPEN, Shelf, serving
from fix_postgres import at
from fix_project import Sandbox
from prescore.catalog import migrations, session, waits
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.checks import expectations
from prescore.embedded import server as embedded
from prescore.errors import DatabaseRefused, DatabaseUnavailable
from prescore.project.project import Project as ProjectFiles
from prescore.public.project import Project
from prescore.run import materialize
from prescore_api.http.app import build


def test_every_table_and_view_of_the_catalog_has_a_comment(database: Database) -> None:
    with database.connect() as connection:
        uncommented = connection.execute(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname in ('prescore', 'predictions') and c.relkind in ('r', 'v')"
            " and obj_description(c.oid) is null and c.relname <> 'migrations'"
        ).fetchall()
    assert uncommented == []


def test_a_role_without_rights_is_denied_access(server: str, database: Database) -> None:
    with database.connect() as connection:
        connection.execute("drop role if exists prescore_stranger")
        connection.execute("create role prescore_stranger login")
        try:
            stranger = Database(database.url.replace("postgres@", "prescore_stranger@", 1))
            if stranger.url == database.url or "host=/" not in server:
                pytest.skip("a named server may require a password of a new role")
            with pytest.raises(DatabaseRefused, match="Postgres denies access"), stranger.connect() as other:
                other.execute("select * from prescore.models")
        finally:
            connection.execute("drop role prescore_stranger")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("set lock_timeout = '1ms'; select * from prescore.models", "Another session holds a lock"),
        ("set statement_timeout = '1ms'; select pg_sleep(60)", "took longer than statement_timeout"),
        (
            "do $$ begin raise exception 'no space' using errcode = 'disk_full'; end $$",
            "disk is full. Free space there",
        ),
        ("do $$ begin raise exception 'no room' using errcode = 'out_of_memory'; end $$", "is out of memory"),
    ],
)
def test_an_error_names_the_resource_that_a_server_lacks(database: Database, statement: str, message: str) -> None:
    with database.connect() as holder, holder.transaction():
        holder.execute("lock table prescore.models")
        with pytest.raises(DatabaseUnavailable) as raised, database.connect() as other:
            other.execute(statement.encode())
    assert message in str(raised.value)
    assert "Is it running" not in str(raised.value)


@pytest.mark.parametrize("embedded", [True, False])
def test_an_error_names_a_servers_lack_of_connections(server: str, database: Database, *, embedded: bool) -> None:
    if "host=/" not in server:
        pytest.skip("a named server may require a password of a new role")
    with database.connect() as connection:
        connection.execute("drop role if exists prescore_crowd")
        connection.execute("create role prescore_crowd login connection limit 0")
        try:
            crowded = Database(database.url.replace("postgres@", "prescore_crowd@", 1), embedded=embedded)
            with pytest.raises(DatabaseUnavailable, match="has no free connections"), crowded.connect():
                pass
        finally:
            connection.execute("drop role prescore_crowd")


def test_commands_report_a_read_only_server_as_worth_a_retry(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox.cli("run", "churn").code == 0
    sandbox.monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    monkeypatch.setattr(materialize, "PAUSES", (0.0,))
    for command in (["run", "churn"], ["hold", "churn", "--reason", "no reason"]):
        result = sandbox.cli(*command)
        assert (result.code, "This server is read-only: is it a standby" in result.err) == (3, True), result.err


def test_options_of_the_url_apply_to_the_checks_as_well(sandbox: Sandbox) -> None:
    url = sandbox.database.url
    options = "options=-c%20statement_timeout%3D60s%20-c%20work_mem%3D8MB"
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", f"{url}{'&' if '?' in url else '?'}{options}")
    result = sandbox.cli("run", "churn")
    assert (result.code, "published" in result.out) == (0, True), result.err


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://postgres:a$b%40c@localhost/{database}?host={folder}",
        "postgresql:///{database}?host={folder}&user=postgres&password=a%24b",
        "postgresql://postgres@{encoded_folder}/{database}",
        "postgresql://postgres@localhost,localhost/{database}?host={folder},{folder}",
        "host={folder} user=postgres dbname={database}",
    ],
)
def test_every_step_of_a_run_connects_with_any_url_of_libpq(sandbox: Sandbox, form: str) -> None:
    parts = conninfo_to_dict(sandbox.database.url)
    folder = str(parts["host"])
    if not folder.startswith("/"):
        pytest.skip("these URLs are of a server on a socket")
    url = form.format(folder=folder, encoded_folder=quote(folder, safe=""), database=parts["dbname"])
    sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", url)
    result = sandbox.cli("run", "churn")
    assert (result.code, "published" in result.out) == (0, True), result.err


def test_the_url_may_have_sqlalchemys_spelling(database: Database) -> None:
    assert Database.from_url(database.sqlalchemy_url) == database
    assert Database("postgres://host/name").sqlalchemy_url == "postgresql+psycopg://host/name"


ODD_SETTINGS = {
    "bytea_output": "escape",
    "datestyle": "SQL, DMY",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "extra_float_digits": "-15",
    "idle_session_timeout": "1s",
    "intervalstyle": "iso_8601",
    "quote_all_identifiers": "on",
    "row_security": "on",
    "search_path": "shadow, pg_catalog",
    "timezone": "Asia/Kolkata",
}
"""Settings of a database or a role that change the text of values, the meaning of a statement, or what it may do."""


def test_no_setting_of_a_database_changes_a_run_or_an_answer(sandbox: Sandbox, shelf: Shelf) -> None:
    with sandbox.database.connect() as connection:
        for name, value in ODD_SETTINGS.items():
            shelf.alter_database(f"{name} = {value if name == 'search_path' else repr(value)}")
        connection.execute("create schema shadow")
        connection.execute(
            "create function shadow.now() returns timestamptz language sql return timestamptz '-infinity'"
        )
    sandbox.edit('customer = "bigint"', 'code = "text"\nat = "timestamptz"')
    sandbox.query(
        "select customer::varchar as code, timestamptz '2026-01-31 12:00:00+00' as at, visits, spend"
        " from read_parquet('data/customers.parquet')"
    )
    # The second run compares its columns with those of the view.
    for _ in range(2):
        done = sandbox.cli("run", "churn", "--full")
        assert done.code == 0, done.err
    (score,) = Project(sandbox.root).read("churn").query("code == '7'")["score"]
    answer = json.loads(sandbox.cli("lookup", "churn", "7", "2026-01-31T12:00:00Z", "--json").out)
    assert np.float32(answer["prediction"]["score"]) == score
    assert sandbox.cli("keys", "create", "anna").code == 0
    with serving(build(sandbox.database, OPEN)) as client:
        served = client.get("/v1/predictions/churn", params={"code": "7", "at": "2026-01-31T12:00:00Z"}).json()
    assert served["prediction"] == answer["prediction"]
    assert served["data_as_of"].endswith("+00:00")


def test_a_connection_lost_during_the_checks_is_worth_a_retry(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job())
    with sandbox.database.connect() as connection:
        version = Catalog(connection).version("churn", 1)
    own = expectations.build(sandbox.job().spec)
    with pytest.raises(DatabaseUnavailable, match="Lost the connection to the database during the checks"):
        expectations.validate(Database("postgresql://unknown@localhost:1/nothing"), version, own)


def test_a_commit_that_waits_for_a_standby_is_logged(
    own_postgres: ProjectFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waits, "_PATIENCE_SECONDS", 0.2)
    database = Database(embedded.start(own_postgres))

    def write() -> None:
        with waits.logged(database), database.connect() as connection:
            connection.execute("update prescore.catalog set id = id")

    with database.connect() as administrator, ThreadPoolExecutor(1) as pool:
        administrator.execute("alter system set synchronous_standby_names = 'absent'")
        administrator.execute("select pg_reload_conf()")
        waiting = pool.submit(write)
        try:
            deadline = time.monotonic() + 20
            while "synchronous_standby_names is 'absent'" not in caplog.text:
                assert time.monotonic() < deadline
        finally:
            administrator.execute("alter system reset synchronous_standby_names")
            administrator.execute("select pg_reload_conf()")
        waiting.result()


def test_a_server_that_is_too_old_is_refused() -> None:
    info = cast("psycopg.ConnectionInfo", SimpleNamespace(server_version=140_023))
    with pytest.raises(DatabaseRefused, match="PostgreSQL 14, and prescore needs 15 or later"):
        session.require_supported(info)


def test_a_database_without_an_encoding_returns_text(server: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("drop database if exists prescore_ascii with (force)")
        connection.execute("create database prescore_ascii template template0 encoding 'SQL_ASCII' locale 'C'")
    database = Database(at(server, "prescore_ascii"))
    migrations.migrate(database)
    with database.connect() as connection:
        assert connection.execute("select 'Zürich'::text as name").fetchone() == {"name": "Zürich"}
