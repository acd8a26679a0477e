"""Catalog owner, writer and reader, on a server where neither they nor their administrator are superusers."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from doc_pages import ROOT, blocks, sections
from fix_airflow import Airflow
from fix_api import OPEN, serving
from fix_page import status_page
from fix_postgres import at
from fix_project import Sandbox, customers, linear
from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.catalog.queries import Migration, migration_files
from prescore.catalog.roles import grant, grant_version
from prescore.comparison import distribution
from prescore.errors import DatabaseRefused
from prescore.run import materialize
from prescore.versions import lease
from prescore_api.http.app import build

PASSWORD = "right"
HOW_TO = "Use your own Postgres"
"""The section of the how-to guide that creates the roles."""
_numbers = itertools.count()


@dataclass(frozen=True)
class Roles:
    """The roles of the documentation under names of one test's own, and the database that they share."""

    server: str
    prefix: str

    def name(self, role: str) -> str:
        return f"{self.prefix}_{role}"

    def database(self, role: str) -> Database:
        return Database(self.url(role, self.prefix))

    def url(self, role: str, name: str) -> str:
        user = conninfo_to_dict(self.server).get("user", "postgres")
        old, new = f"//{user}", f"//{self.name(role)}:{PASSWORD}"
        return at(re.sub(r"//([^:@/]+)(:[^@/]*)?@", r"//\1@", self.server), name).replace(old, new, 1)

    def run_sql(self, text: str, role: str = "dba", name: str = "postgres") -> None:
        """Run SQL of the documentation as a role, one statement at a time as psql does, with the names of this test."""
        text = re.sub(r"\b(prescore_(?=owner|writer|reader)|(?=anna\b))", f"{self.prefix}_", text)
        text = re.sub(r"database predictions\b", f"database {self.prefix}", text)
        text = text.replace("…", PASSWORD)
        with psycopg.connect(self.url(role, name), autocommit=True) as connection:
            for statement in text.split(";\n"):
                connection.execute(statement.encode())


@pytest.fixture
def roles(server: str) -> Iterator[Roles]:
    """A database and three roles, created with the SQL of the documentation by a role that is not a superuser."""
    created = Roles(server, f"prescore_roles_{os.getpid()}_{next(_numbers)}")
    with psycopg.connect(server, autocommit=True) as connection:
        if not (connection.execute("select rolcreaterole from pg_roles where rolname = user").fetchone() or [0])[0]:
            pytest.skip("the role of PRESCORE_TEST_DATABASE_URL may not create roles")
        connection.execute(
            f"create role {created.name('dba')} login createdb createrole password '{PASSWORD}'".encode()
        )
        try:
            created.run_sql(documented_sql(HOW_TO, 0))
            yield created
        finally:
            connection.execute(f"drop database if exists {created.prefix} with (force)".encode())
            remaining = connection.execute(
                "select rolname from pg_roles where starts_with(rolname, %s)", [created.prefix]
            )
            names = sql.SQL(", ").join(sql.Identifier(row[0]) for row in remaining)
            # One statement drops them all, because they are members of each other.
            connection.execute(sql.SQL("drop role {}").format(names))


def documented_sql(heading: str, number: int) -> str:
    """Return a block of SQL from a section of the how-to guide."""
    page = ROOT / "docs/how-to/operate.md"
    section = sections(page)[heading]
    texts = [block.text for block in blocks(page) if block.language == "sql" and block.text in section]
    return texts[number]


@pytest.fixture
def database(roles: Roles) -> Database:
    """The database with the writer's login, which the sandbox's commands and jobs use by default."""
    return roles.database("writer")


@pytest.fixture
def become(sandbox: Sandbox, roles: Roles) -> Callable[[str], None]:
    """A function that makes the commands that follow log in as another role."""
    return lambda role: sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", roles.database(role).url)


@pytest.fixture
def granted(sandbox: Sandbox, roles: Roles, become: Callable[[str], None]) -> Sandbox:
    """The project once the catalog owner has migrated and granted. Commands log in as the writer."""
    become("owner")
    assert sandbox.cli("db", "migrate").code == 0
    result = sandbox.cli("db", "grant", "--writer", roles.name("writer"), "--reader", roles.name("reader"))
    assert result.code == 0, result.err
    assert roles.name("writer") in result.out
    assert roles.name("reader") in result.out
    become("writer")
    return sandbox


def run(sandbox: Sandbox, bias: float) -> int:
    """Make another version with a command, and return its exit code."""
    sandbox.onnx(linear([1.0, -0.5], bias))
    return sandbox.cli("run", "churn").code


def assert_denied(database: Database, *statements: str) -> None:
    """Assert that Postgres denies each of the statements."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_no_role_is_a_superuser(granted: Sandbox, roles: Roles) -> None:
    privileged = granted.rows(
        f"select count(*) from pg_roles where rolname ~ '^{roles.prefix}_(owner|writer|reader)'"
        " and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)"
    )
    assert privileged == [(0,)]


def test_a_writer_can_do_everything_that_versions_need(granted: Sandbox, roles: Roles) -> None:
    # As a strict administrator does.
    roles.run_sql("revoke all on database predictions from public")
    roles.run_sql(f"grant connect on database predictions to {roles.name('writer')}")
    granted.edit("versions = 3", 'versions = 2\ngrace = "0s"')
    for bias in (0.0, 0.1, 0.2):
        assert run(granted, bias) == 0
    assert granted.rows("select state from prescore.versions order by version") == [
        ("retired",), ("superseded",), ("published",),
    ]  # fmt: skip
    for command in ("rollback churn", "release churn", "publish churn 3", "pin churn 2", "unpin churn 2"):
        result = granted.cli(*command.split())
        assert result.code == 0, result.err
    assert granted.cli("hold", "churn", "--reason", "a holiday").code == 0
    assert run(granted, 0.3) == 0
    assert granted.cli("release", "churn").code == 0
    assert granted.cli("publish", "churn", "4").code == 0
    assert granted.cli("retire", "churn").out == "Retired: 2\n"
    assert granted.rows("select count(*), min(version) from predictions.churn") == [(1000, 4)]
    for command in ("status", "versions churn", "history churn", "compare churn 3 4", "lookup churn 7"):
        assert granted.cli(*command.split()).code == 0


def test_a_writer_can_make_refused_versions_and_add_outputs(granted: Sandbox) -> None:
    assert run(granted, 0.0) == 0
    granted.onnx(linear([1.0, -0.5], add=9.0))
    assert granted.cli("run", "churn").code == 4
    granted.edit("[[checks]]", 'later = { from = "score", type = "real" }\n[[checks]]')
    assert run(granted, 0.1) == 0
    assert granted.rows("select later = score from predictions.churn limit 1") == [(True,)]


def test_the_writers_rights_are_enough_for_airflow(granted: Sandbox, airflow: Airflow) -> None:
    assert airflow.run()["state"] == "success"
    assert granted.rows("select count(*), min(version) from predictions.churn") == [(1000, 1)]


def test_a_writer_cannot_rewrite_history_or_touch_the_catalog(granted: Sandbox, roles: Roles) -> None:
    assert run(granted, 0.0) == 0
    assert_denied(
        roles.database("writer"),
        "update prescore.events set actor = 'x'",
        "delete from prescore.events",
        "update prescore.publications set version = 1",
        "delete from prescore.publications",
        "delete from prescore.versions",
        "delete from prescore.models",
        "truncate prescore.chunks",
        "insert into prescore.migrations (number, name) values (9, 'x')",
        "alter table prescore.models add column x integer",
        "create table prescore.x (x integer)",
        "create or replace view predictions.freshness as select 1",
        "drop schema predictions cascade",
        "create schema x",
        "create role x",
    )


def test_a_writer_creates_and_revokes_api_keys_but_cannot_change_them(granted: Sandbox, roles: Roles) -> None:
    for command in ("create shop --model churn --expires 90d", "list", "revoke shop", "create shop"):
        result = granted.cli("keys", *command.split())
        assert result.code == 0, result.err
    assert_denied(
        roles.database("writer"),
        "update prescore.api_keys set hash = ''",
        "update prescore.api_keys set models = null",
        "update prescore.api_keys set expires_at = null",
        "update prescore.api_keys set created_by = 'x'",
        "delete from prescore.api_keys",
        "truncate prescore.api_keys",
    )


def test_a_reader_lists_api_keys_but_cannot_create_them(
    granted: Sandbox, roles: Roles, become: Callable[[str], None]
) -> None:
    assert granted.cli("keys", "create", "shop").code == 0
    with roles.database("reader").connect() as reader:
        assert [row["name"] for row in Catalog(reader).all("api_keys_valid")] == ["shop"]
    assert_denied(
        roles.database("reader"),
        "insert into prescore.api_keys (id, name, hash, created_by) values ('x', 'x', '', 'x')",
        "update prescore.api_keys set revoked_at = now(), revoked_by = 'x'",
        "delete from prescore.api_keys",
    )
    become("reader")
    assert "shop" in granted.cli("keys", "list").out
    for command in ("create mine", "revoke shop"):
        result = granted.cli("keys", *command.split())
        assert (result.code, "Postgres denies access: permission denied for" in result.err) == (2, True), (
            command,
            result,
        )


def test_a_writer_grants_reading_to_the_roles_of_the_spec(granted: Sandbox, roles: Roles) -> None:
    roles.run_sql(f"create role {roles.name('analyst')} login password '…'")
    granted.edit("[freshness]", f'[grants]\nselect = ["{roles.name("analyst")}"]\n[freshness]')
    assert run(granted, 0.0) == 0
    with roles.database("analyst").connect() as analyst:
        assert analyst.execute("select count(*) as n from predictions.churn").fetchone() == {"n": 1000}
        assert analyst.execute("select held from predictions.freshness").fetchone() == {"held": False}
    assert_denied(
        roles.database("analyst"), "select * from prescore.models", "select * from prescore_versions.churn_v1"
    )


def test_a_reader_reads_with_sql_over_http_and_by_command(
    granted: Sandbox, roles: Roles, become: Callable[[str], None]
) -> None:
    reader = roles.database("reader")
    with serving(build(reader, OPEN)) as client:
        for model, bias in (("churn", 0.0), ("upsell", 0.1), ("churn", 0.2)):
            # This model did not exist yet when the reader was granted its rights.
            if model == "upsell":
                granted.spec((granted.root / "specs/churn.toml").read_text(), "upsell")
            granted.onnx(linear([1.0, -0.5], bias))
            assert granted.cli("run", model).code == 0
            answer = client.get(f"/v1/predictions/{model}/7").json()
            with reader.connect() as connection:
                row = connection.execute(
                    f"select score, version from predictions.{model} where customer = 7".encode()
                ).fetchone()
            assert row == {"score": answer["prediction"]["score"], "version": answer["version"]}
        assert client.get("/health/ready").status_code == 200
        assert {m["model"] for m in client.get("/v1/models").json()["models"]} == {"churn", "upsell"}
    become("reader")
    for command in ("status", "versions churn", "history churn", "lookup churn 7"):
        result = granted.cli(*command.split())
        assert result.code == 0, result.err


def test_the_readers_rights_are_enough_for_the_status_page(granted: Sandbox, roles: Roles) -> None:
    for bias in (0.0, 0.1):
        assert run(granted, bias) == 0
    with status_page(roles.database("reader")) as client:
        result = client.get("/")
    assert result.status_code == 200, result.text
    assert "score in version 2 and in version 1" in result.text


def test_roles_without_rights_cannot_hold_up_a_publication(granted: Sandbox, roles: Roles) -> None:
    assert_denied(
        roles.database("reader"),
        "select from prescore.locks for share",
        "select from prescore.model_files for share",
        "select from prescore.models for share",
        "do $$ begin lock table prescore.locks in access share mode; end $$",
        "do $$ begin lock table prescore.migrations in share mode; end $$",
    )
    with psycopg.connect(roles.database("reader").url, autocommit=True) as outsider:
        # The only advisory lock is that of a lease, which also expires.
        outsider.execute("select pg_advisory_lock(key) from generate_series(7737260, 7737270) key")
        assert run(granted, 0.1) == 0


def test_restored_views_belong_to_the_writer_and_are_open_to_readers(
    granted: Sandbox, roles: Roles, become: Callable[[str], None]
) -> None:
    assert run(granted, 0.1) == 0
    with roles.database("owner").connect() as connection:
        connection.execute("drop schema predictions cascade")
    become("owner")
    assert granted.cli("db", "migrate").code == 0
    with roles.database("reader").connect() as connection:
        assert connection.execute("select count(*) as rows from predictions.churn").fetchone() == {"rows": 1000}
    become("writer")
    assert run(granted, 0.2) == 0


def test_policies_never_hide_rows_from_a_reader(granted: Sandbox, roles: Roles, become: Callable[[str], None]) -> None:
    """As where an event trigger enables row-level security on every new table."""
    granted.edit("[retention]", "[lookup]\nin_memory = true\n[retention]")
    assert run(granted, 0.1) == 0
    with roles.database("writer").connect() as connection:
        connection.execute("alter table prescore_versions.churn_v1 enable row level security")
        with serving(build(roles.database("reader"), OPEN)) as client:
            deadline = time.monotonic() + 20
            while (status := client.get("/v1/models/churn").json()["in_memory"]) is None:
                assert time.monotonic() < deadline
            assert (status["version"], "cannot be read" in status["refused"]) == (None, True)
            assert client.get("/v1/predictions/churn/7?version=1").status_code == 503
            # The view reads with the rights of the tables' owner, until policies apply to it, too.
            assert client.get("/v1/predictions/churn/7").json()["found"] is True
            connection.execute(
                "alter table prescore_versions.churn enable row level security, force row level security"
            )
            assert client.get("/v1/predictions/churn/7").status_code == 503
    become("reader")
    refused = granted.cli("lookup", "churn", "7")
    assert (refused.code, "Policies would hide rows without an error" in refused.err) == (2, True), refused.err


def test_a_reader_can_only_read(granted: Sandbox, roles: Roles, become: Callable[[str], None]) -> None:
    for bias in (0.0, 0.1):
        assert run(granted, bias) == 0
    assert_denied(
        roles.database("reader"),
        "insert into prescore.events (model, event, actor) values ('churn', 'x', 'x')",
        "update prescore.models set published_version = 1",
        "delete from prescore.versions",
        "delete from predictions.churn",
        "create view predictions.x as select 1",
        "create table prescore_versions.x (x integer)",
        "delete from prescore_versions.churn_v1",
        "update prescore.leases set token = 0",
        "select * from prescore.rejects",
        "create schema x",
    )
    become("reader")
    for command in ("status churn", "versions churn", "doctor"):
        result = granted.cli(*command.split())
        assert result.code == 0, result
    for command in (
        "publish churn 1 --allow-older",
        "rollback churn",
        "hold churn --reason x",
        "retire churn",
        "pin churn 1",
    ):
        result = granted.cli(*command.split())
        assert (result.code, "Postgres denies access: permission denied for" in result.err) == (2, True), (
            command,
            result,
        )
    result = granted.cli("run", "churn")
    assert result.code == 2
    assert f"The role {roles.name('reader')} does not have the rights of a writer" in result.err


def test_a_reader_reads_the_tables_of_versions_that_passed_their_checks(granted: Sandbox, roles: Roles) -> None:
    assert granted.cli("run", "churn", "--no-publish").code == 0
    granted.onnx(linear([1.0, -0.5], add=9.0))
    assert granted.cli("run", "churn").code == 4
    granted.onnx(linear([1.0, -0.5], 0.1))
    granted.interrupted("check_table")
    assert granted.rows("select state from prescore.versions order by version") == [
        ("checked",), ("refused",), ("staged",),
    ]  # fmt: skip
    reader = roles.database("reader")
    assert reads(reader, 1)
    assert_denied(reader, "select * from prescore_versions.churn_v2", "select * from prescore_versions.churn_v3")
    assert statistics(reader) == ["churn_v1"]
    assert run(granted, 0.1) == 0
    assert reads(reader, 3)


def test_deltas_need_no_other_rights(granted: Sandbox, roles: Roles, become: Callable[[str], None]) -> None:
    # Versions with as few rows have profiles, too.
    granted.monkeypatch.setattr(distribution, "EXACT_ROWS", 100)
    with (granted.root / "specs/churn.toml").open("a") as spec:
        spec.write("[incremental]\n")
    assert granted.cli("run", "churn").code == 0
    granted.data(customers().slice(5))
    assert granted.cli("run", "churn").code == 0
    reader = roles.database("reader")
    assert reads(reader, 2)
    with reader.connect() as connection:
        rows = connection.execute('select count(*) from prescore_versions."churn_v2_DELTA"').fetchone()
        assert rows is not None
    granted.data(customers().slice(9))
    granted.interrupted("check_table")
    assert_denied(
        reader, "select * from prescore_versions.churn_v3", 'select * from prescore_versions."churn_v3_DELTA"'
    )
    with roles.database("owner").connect() as connection:
        connection.execute("drop view predictions.churn")
    become("owner")
    assert granted.cli("db", "migrate").code == 0
    with reader.connect() as connection:
        shown = connection.execute("select count(*) as rows, min(version) as version from predictions.churn").fetchone()
        assert shown == {"rows": 995, "version": 2}
    become("writer")
    assert granted.cli("run", "churn").code == 0
    assert reads(reader, 3)
    # A large delta, version 4, is copied into a full version.
    granted.data(customers().slice(300))
    assert granted.cli("run", "churn").code == 0
    assert reads(reader, 5)
    profiled = "select distinct version from prescore.profiles order by version"
    assert granted.rows(profiled) == [(1,), (5,)]
    # Without all rights on profiles, all rows are compared, and versions are retired.
    with roles.database("owner").connect() as connection:
        connection.execute(f"revoke select on prescore.profiles from {roles.name('writer')}".encode())
    granted.data(customers().slice(305))
    assert granted.cli("run", "churn").code == 0
    assert reads(reader, 6)
    assert granted.rows(
        "select base_version, comparison #> '{keys,vanished}' from prescore.versions where version = 6"
    ) == [(5, 5)]
    assert granted.cli("retire", "churn").code == 0


def test_a_version_that_fails_its_new_checks_is_closed_to_readers(granted: Sandbox, roles: Roles) -> None:
    granted.interrupted("publish_version")
    assert reads(roles.database("reader"), 1)
    granted.edit("max_value = 1", "max_value = 0.5")
    assert granted.cli("run", "churn").code == 4
    assert granted.rows("select state from prescore.versions order by version") == [("refused",)]
    assert_denied(roles.database("reader"), "select * from prescore_versions.churn_v1")


def test_a_new_reader_reads_existing_versions(granted: Sandbox, roles: Roles, become: Callable[[str], None]) -> None:
    for bias in (0.0, 0.1):
        assert run(granted, bias) == 0
    granted.onnx(linear([1.0, -0.5], add=9.0))
    assert granted.cli("run", "churn").code == 4
    roles.run_sql(f"create role {roles.name('late')} login password '…'")
    become("owner")
    assert granted.cli("db", "grant", "--reader", roles.name("late")).code == 0
    assert reads(roles.database("late"), 1)
    assert reads(roles.database("late"), 2)
    assert_denied(roles.database("late"), "select * from prescore_versions.churn_v3")


def test_a_reader_that_is_granted_during_the_checks_reads_the_version(granted: Sandbox, roles: Roles) -> None:
    granted.interrupted("check_table")
    roles.run_sql(f"create role {roles.name('late')} login password '…'")
    with roles.database("writer").connect() as checking, ThreadPoolExecutor() as pool:
        with checking.transaction():
            grant_version(checking, "churn_v1", readable=True)
            checking.execute("update prescore.versions set state = 'checked', checked_at = now()")
            granting = pool.submit(grant_reading, roles, "late")
            with pytest.raises(TimeoutError):
                granting.result(timeout=0.3)
        granting.result(timeout=30)
    assert reads(roles.database("late"), 1)


def grant_reading(roles: Roles, role: str) -> None:
    with roles.database("owner").connect() as owner:
        grant(owner, readers=[roles.name(role)])


def reads(database: Database, version: int) -> bool:
    """Return whether a version's own table has rows to read; raise InsufficientPrivilege without the right."""
    with database.connect() as connection:
        return bool(connection.execute(f"select * from prescore_versions.churn_v{version}".encode()).fetchall())


def statistics(database: Database) -> list[str]:
    """Return the version tables whose statistics a role can see."""
    with database.connect() as connection:
        rows = connection.execute(
            "select distinct tablename from pg_stats where schemaname = 'prescore_versions' order by 1"
        )
        return [row["tablename"] for row in rows]


def test_a_role_that_cannot_migrate_is_referred_to_the_catalog_owner(
    granted: Sandbox, roles: Roles, become: Callable[[str], None]
) -> None:
    granted.monkeypatch.setattr(
        migrations,
        "migration_files",
        lambda: [*migration_files(), Migration(2, "0002_more.sql", "create table prescore.more (x integer)")],
    )
    for role in ("writer", "reader"):
        become(role)
        result = granted.cli("run", "churn")
        assert result.code == 2
        assert "lacks 0002_more.sql, and this role may not apply it" in result.err
        assert "Ask the catalog owner to run `prescore db migrate`" in result.err
    with roles.database("owner").connect() as owner:
        owner.execute(f"revoke insert on prescore.chunks from {roles.name('writer')}".encode())
        owner.execute(f"revoke select on prescore.events from {roles.name('reader')}".encode())
    become("owner")
    assert granted.cli("db", "migrate").out == "0002_more.sql\n"
    become("writer")
    assert run(granted, 0.0) == 0
    become("reader")
    assert granted.cli("history", "churn").code == 0


def test_only_the_catalog_owner_can_create_the_catalog(sandbox: Sandbox, become: Callable[[str], None]) -> None:
    for role in ("writer", "reader"):
        become(role)
        result = sandbox.cli("run", "churn")
        assert result.code == 2
        assert "Ask the catalog owner to run `prescore db migrate`" in result.err


def test_a_second_writer_is_referred_to_the_role_that_owns_the_tables(
    granted: Sandbox, roles: Roles, become: Callable[[str], None]
) -> None:
    assert run(granted, 0.0) == 0
    roles.run_sql(f"create role anna login password '…';\ngrant {roles.name('anna')} to {roles.name('owner')}")
    become("owner")
    assert granted.cli("db", "grant", "--writer", roles.name("anna")).code == 0
    become("anna")
    result = granted.cli("run", "churn")
    assert result.code == 2
    assert f"The tables of churn belong to the role {roles.name('writer')}" in result.err
    roles.run_sql(documented_sql(HOW_TO, 1))
    result = granted.cli("run", "churn")
    assert result.code == 0, result.err
    become("writer")
    assert run(granted, 0.2) == 0
    owners = granted.rows("select distinct tableowner from pg_tables where schemaname = 'prescore_versions'")
    assert owners == [(roles.name("writer"),)]


def test_the_catalog_owner_can_do_what_the_writer_can(granted: Sandbox, become: Callable[[str], None]) -> None:
    for bias in (0.0, 0.1):
        assert run(granted, bias) == 0
    become("owner")
    assert granted.cli("rollback", "churn").code == 0
    assert granted.rows("select distinct version from predictions.churn") == [(1,)]


def test_a_single_role_for_everything_can_grant_reading(
    sandbox: Sandbox, roles: Roles, become: Callable[[str], None]
) -> None:
    become("owner")
    assert run(sandbox, 0.0) == 0
    result = sandbox.cli("db", "grant", "--reader", roles.name("reader"))
    assert result.out == f"may write: only the catalog owner\nmay read: {roles.name('reader')}\n"
    sandbox.spec((sandbox.root / "specs/churn.toml").read_text(), "upsell")
    assert sandbox.cli("run", "upsell").code == 0
    become("reader")
    for model in ("churn", "upsell"):
        assert sandbox.cli("lookup", model, "7").code == 0


@pytest.mark.parametrize("login", ["writer", "anna"])
def test_a_run_ends_the_sessions_of_the_run_that_it_takes_over_from(
    granted: Sandbox, roles: Roles, server: str, login: str
) -> None:
    if login == "anna":
        roles.run_sql(f"create role anna login password '…';\n{documented_sql(HOW_TO, 1)}")
        with psycopg.connect(server, autocommit=True) as administrator:
            administrator.execute(f"grant pg_signal_backend, pg_read_all_stats to {roles.name('writer')}".encode())
    with roles.database(login).connect() as connection:
        stuck = lease.acquire(connection, "churn", watched=False, seconds=0)
    stopped = replace(roles.database(login), name=stuck.session_name)
    with stopped.connect() as abandoned, at_same_name(server, roles, stuck.session_name).connect() as superusers:
        materialize.run(granted.job())
        with pytest.raises(psycopg.OperationalError):
            abandoned.execute("select 1")
        abandoned.close()
        superusers.execute("select 1")


def at_same_name(server: str, roles: Roles, name: str) -> Database:
    """Return the database with a superuser's login and a run's session name, whose sessions no run may end."""
    return Database(at(server, roles.prefix), name=name)


def test_a_writer_that_can_see_transactions_ignores_new_ones_when_retiring(
    granted: Sandbox, roles: Roles, server: str
) -> None:
    granted.edit("versions = 3", "versions = 1")
    for bias in (0.0, 0.1):
        assert run(granted, bias) == 0
    granted.edit("versions = 1", 'versions = 1\ngrace = "0s"')
    with roles.database("reader").connect() as reader, reader.transaction():
        reader.execute("select count(*) from prescore.models")
        assert "left for the next retirement: 1" in granted.cli("retire", "churn").out
        # As if the version had been retired an hour ago.
        with granted.database.connect() as connection:
            connection.execute("update prescore.versions set retired_at = now() - interval '1 hour' where version = 1")
        assert "left for the next retirement: 1" in granted.cli("retire", "churn").out
        with psycopg.connect(server, autocommit=True) as administrator:
            administrator.execute(f"grant pg_read_all_stats to {roles.name('writer')}".encode())
        assert granted.cli("retire", "churn").out == "Retired: 1\n"


def test_only_the_catalog_owner_can_grant_rights(granted: Sandbox, roles: Roles, become: Callable[[str], None]) -> None:
    roles.run_sql(f"create role {roles.name('other')} login")
    become("writer")
    result = granted.cli("db", "grant", "--reader", roles.name("other"))
    assert (result.code, f"that is {roles.name('owner')}" in result.err) == (2, True), result.err
    become("owner")
    result = granted.cli("db", "grant", "--writer", roles.name("other"))
    assert (result.code, f"grant {roles.name('other')} to {roles.name('owner')};" in result.err) == (2, True), (
        result.err
    )
    result = granted.cli("db", "grant", "--reader", "no_such_role")
    assert (result.code, "no role no_such_role" in result.err) == (2, True), result.err


def test_rights_can_be_revoked(granted: Sandbox, roles: Roles) -> None:
    assert run(granted, 0.0) == 0
    roles.run_sql(documented_sql("Grant read access", 0), "owner", roles.prefix)
    assert run(granted, 0.1) == 0
    assert_denied(
        roles.database("reader"),
        "select * from predictions.churn",
        "select * from prescore.models",
        "select * from prescore_versions.churn_v1",
    )
    with roles.database("owner").connect() as owner:
        _, readers = grant(owner)
    assert readers == []
    with pytest.raises(DatabaseRefused):
        migrations.require_current(roles.database("reader"))
