"""Owner, writer and reader on a server where none of them is a superuser, nor whoever made them."""

from __future__ import annotations

import itertools
import os
import re
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
from fix_project import Sandbox, linear
from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Database
from prescore.catalog.queries import Migration, migration_files
from prescore.catalog.roles import grant, grant_version
from prescore.errors import DatabaseRefused
from prescore.run import materialize
from prescore.versions import lease
from prescore_api.http.app import build

PASSWORD = "right"
TYPED = "Use a Postgres of your own"
_numbers = itertools.count()


@dataclass(frozen=True)
class Roles:
    """A server's roles under names of their own, and what they log in to."""

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

    def type(self, text: str, role: str = "dba", name: str = "postgres") -> None:
        """SQL as the documentation shows it, typed by a role; statements by themselves, as psql does."""
        ours = re.sub(r"\b(prescore_(?=owner|writer|reader)|(?=anna\b))", f"{self.prefix}_", text).replace(
            "…", PASSWORD
        )
        with psycopg.connect(self.url(role, name), autocommit=True) as connection:
            for statement in re.sub(r"database predictions\b", f"database {self.prefix}", ours).split(";\n"):
                connection.execute(statement.encode())


@pytest.fixture
def roles(server: str) -> Iterator[Roles]:
    """A database and three roles, made by typing what the documentation says, by one who is no superuser."""
    made = Roles(server, f"prescore_roles_{os.getpid()}_{next(_numbers)}")
    with psycopg.connect(server, autocommit=True) as connection:
        if not (connection.execute("select rolcreaterole from pg_roles where rolname = user").fetchone() or [0])[0]:
            pytest.skip("the role of PRESCORE_TEST_DATABASE_URL may not make roles")
        connection.execute(f"create role {made.name('dba')} login createdb createrole password '{PASSWORD}'".encode())
        try:
            made.type(typed(TYPED, 0))
            yield made
        finally:
            connection.execute(f"drop database if exists {made.prefix} with (force)".encode())
            left = connection.execute("select rolname from pg_roles where starts_with(rolname, %s)", [made.prefix])
            names = sql.SQL(", ").join(sql.Identifier(row[0]) for row in left)
            # In one go: they are members of each other.
            connection.execute(sql.SQL("drop role {}").format(names))


def typed(heading: str, number: int) -> str:
    """A block of SQL below a heading of the how-to."""
    text = sections(ROOT / "docs/how-to.md")[heading]
    return [b.text for b in blocks(ROOT / "docs/how-to.md") if b.language == "sql" and b.text in text][number]


@pytest.fixture
def database(roles: Roles) -> Database:
    """What the sandbox's commands and jobs use unless they are told otherwise: the writer's login."""
    return roles.database("writer")


@pytest.fixture
def become(sandbox: Sandbox, roles: Roles) -> Callable[[str], None]:
    """Log in as another from the next command on."""
    return lambda role: sandbox.monkeypatch.setenv("PRESCORE_DATABASE_URL", roles.database(role).url)


@pytest.fixture
def granted(sandbox: Sandbox, roles: Roles, become: Callable[[str], None]) -> Sandbox:
    """The project after the owner has migrated and granted; commands are the writer's."""
    become("owner")
    assert sandbox.cli("db", "migrate").code == 0
    told = sandbox.cli("db", "grant", "--writer", roles.name("writer"), "--reader", roles.name("reader"))
    assert (told.code, roles.name("writer") in told.out, roles.name("reader") in told.out) == (0, True, True), told.err
    become("writer")
    return sandbox


def run(sandbox: Sandbox, bias: float) -> int:
    """Another version, by a command; gives its exit code."""
    sandbox.onnx(linear([1.0, -0.5], bias))
    return sandbox.cli("run", "churn").code


def refused(database: Database, *statements: str) -> None:
    """Each of the statements is forbidden."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_nobody_is_a_superuser(granted: Sandbox, roles: Roles) -> None:
    special = granted.rows(
        f"select count(*) from pg_roles where rolname ~ '^{roles.prefix}_(owner|writer|reader)'"
        " and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)"
    )
    assert special == [(0,)]


def test_a_writers_whole_life(granted: Sandbox, roles: Roles) -> None:
    # What a strict administrator does.
    roles.type("revoke all on database predictions from public")
    roles.type(f"grant connect on database predictions to {roles.name('writer')}")
    granted.edit("versions = 3", 'versions = 2\ngrace = "0s"')
    for bias in (0.0, 0.1, 0.2):
        assert run(granted, bias) == 0
    assert granted.rows("select state from prescore.versions order by version") == [
        ("retired",), ("superseded",), ("published",),
    ]  # fmt: skip
    for command in ("rollback churn", "release churn", "publish churn 3", "pin churn 2", "unpin churn 2"):
        told = granted.cli(*command.split())
        assert told.code == 0, told.err
    assert granted.cli("hold", "churn", "--reason", "a holiday").code == 0
    assert run(granted, 0.3) == 0
    assert granted.cli("release", "churn").code == 0
    assert granted.cli("publish", "churn", "4").code == 0
    assert granted.cli("retire", "churn").out == "Retired: 2\n"
    assert granted.rows("select count(*), min(version) from predictions.churn") == [(1000, 4)]
    for command in ("status", "versions churn", "history churn", "compare churn 3 4", "lookup churn 7"):
        assert granted.cli(*command.split()).code == 0


def test_a_writer_does_what_checks_refuse_and_outputs_that_come_later_need(granted: Sandbox) -> None:
    assert run(granted, 0.0) == 0
    granted.onnx(linear([1.0, -0.5], add=9.0))
    assert granted.cli("run", "churn").code == 4
    granted.edit("[[checks]]", 'later = { from = "score", type = "real" }\n[[checks]]')
    assert run(granted, 0.1) == 0
    assert granted.rows("select later = score from predictions.churn limit 1") == [(True,)]


def test_airflow_needs_no_more_than_the_writer(granted: Sandbox, airflow: Airflow) -> None:
    assert airflow.run()["state"] == "success"
    assert granted.rows("select count(*), min(version) from predictions.churn") == [(1000, 1)]


def test_a_writer_cannot_rewrite_history_or_touch_the_catalog(granted: Sandbox, roles: Roles) -> None:
    assert run(granted, 0.0) == 0
    refused(
        roles.database("writer"),
        "update prescore.events set actor = 'nobody'",
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


def test_a_writer_makes_and_revokes_api_keys_and_changes_nothing_of_them(granted: Sandbox, roles: Roles) -> None:
    for command in ("create shop --model churn --expires 90d", "list", "revoke shop", "create shop"):
        told = granted.cli("keys", *command.split())
        assert told.code == 0, told.err
    refused(
        roles.database("writer"),
        "update prescore.api_keys set hash = ''",
        "update prescore.api_keys set models = null",
        "update prescore.api_keys set expires_at = null",
        "update prescore.api_keys set created_by = 'nobody'",
        "delete from prescore.api_keys",
        "truncate prescore.api_keys",
    )


def test_a_reader_knows_api_keys_and_makes_none(granted: Sandbox, roles: Roles, become: Callable[[str], None]) -> None:
    assert granted.cli("keys", "create", "shop").code == 0
    with roles.database("reader").connect() as reader:
        assert [row["name"] for row in Catalog(reader).all("api_keys_valid")] == ["shop"]
    refused(
        roles.database("reader"),
        "insert into prescore.api_keys (id, name, hash, created_by) values ('x', 'x', '', 'x')",
        "update prescore.api_keys set revoked_at = now(), revoked_by = 'x'",
        "delete from prescore.api_keys",
    )
    become("reader")
    assert "shop" in granted.cli("keys", "list").out
    for command in ("create mine", "revoke shop"):
        told = granted.cli("keys", *command.split())
        assert (told.code, "Postgres forbids it: permission denied for" in told.err) == (2, True), (command, told)


def test_a_writer_lets_the_specs_roles_read(granted: Sandbox, roles: Roles) -> None:
    roles.type(f"create role {roles.name('analyst')} login password '…'")
    granted.edit("[freshness]", f'[grants]\nselect = ["{roles.name("analyst")}"]\n[freshness]')
    assert run(granted, 0.0) == 0
    with roles.database("analyst").connect() as analyst:
        assert analyst.execute("select count(*) as n from predictions.churn").fetchone() == {"n": 1000}
        assert analyst.execute("select held from predictions.freshness").fetchone() == {"held": False}
    refused(roles.database("analyst"), "select * from prescore.models", "select * from prescore_versions.churn_v1")


def test_a_reader_reads_by_sql_by_http_and_by_command(
    granted: Sandbox, roles: Roles, become: Callable[[str], None]
) -> None:
    reader = roles.database("reader")
    with serving(build(reader, OPEN)) as client:
        for model, bias in (("churn", 0.0), ("upsell", 0.1), ("churn", 0.2)):
            # A model that nobody knew of when the reader got its rights.
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
        told = granted.cli(*command.split())
        assert told.code == 0, told.err


def test_a_reader_is_enough_for_the_status_page(granted: Sandbox, roles: Roles) -> None:
    for bias in (0.0, 0.1):
        assert run(granted, bias) == 0
    with status_page(roles.database("reader")) as client:
        told = client.get("/")
    assert told.status_code == 200, told.text
    assert "score in version 2 and in version 1" in told.text


def test_a_reader_does_nothing_else(granted: Sandbox, roles: Roles, become: Callable[[str], None]) -> None:
    for bias in (0.0, 0.1):
        assert run(granted, bias) == 0
    refused(
        roles.database("reader"),
        "insert into prescore.events (model, event, actor) values ('churn', 'x', 'x')",
        "update prescore.models set published_version = 1",
        "delete from prescore.versions",
        "delete from predictions.churn",
        "create view predictions.x as select 1",
        "create table prescore_versions.x (x integer)",
        "delete from prescore_versions.churn_v1",
        "select * from prescore.leases",
        "select * from prescore.rejects",
        "create schema x",
    )
    become("reader")
    for command in (
        "publish churn 1 --allow-older",
        "rollback churn",
        "hold churn --reason x",
        "retire churn",
        "pin churn 1",
    ):
        told = granted.cli(*command.split())
        assert (told.code, "Postgres forbids it: permission denied for" in told.err) == (2, True), (command, told)
    told = granted.cli("run", "churn")
    assert told.code == 2
    assert f"The role {roles.name('reader')} may not write here" in told.err


def test_a_reader_reads_the_tables_of_versions_that_have_passed_their_checks(granted: Sandbox, roles: Roles) -> None:
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
    refused(reader, "select * from prescore_versions.churn_v2", "select * from prescore_versions.churn_v3")
    assert statistics(reader) == ["churn_v1"]
    assert run(granted, 0.1) == 0
    assert reads(reader, 3)


def test_a_version_that_does_not_pass_its_new_checks_is_closed_again(granted: Sandbox, roles: Roles) -> None:
    granted.interrupted("publish_version")
    assert reads(roles.database("reader"), 1)
    granted.edit("max_value = 1", "max_value = 0.5")
    assert granted.cli("run", "churn").code == 4
    assert granted.rows("select state from prescore.versions order by version") == [("refused",)]
    refused(roles.database("reader"), "select * from prescore_versions.churn_v1")


def test_a_new_reader_reads_the_versions_that_are_there(
    granted: Sandbox, roles: Roles, become: Callable[[str], None]
) -> None:
    for bias in (0.0, 0.1):
        assert run(granted, bias) == 0
    granted.onnx(linear([1.0, -0.5], add=9.0))
    assert granted.cli("run", "churn").code == 4
    roles.type(f"create role {roles.name('late')} login password '…'")
    become("owner")
    assert granted.cli("db", "grant", "--reader", roles.name("late")).code == 0
    assert reads(roles.database("late"), 1)
    assert reads(roles.database("late"), 2)
    refused(roles.database("late"), "select * from prescore_versions.churn_v3")


def test_a_reader_that_comes_while_a_version_is_checked_reads_it(granted: Sandbox, roles: Roles) -> None:
    granted.interrupted("check_table")
    roles.type(f"create role {roles.name('late')} login password '…'")
    with roles.database("writer").connect() as checking, ThreadPoolExecutor() as pool:
        with checking.transaction():
            grant_version(checking, "churn_v1", readable=True)
            checking.execute("update prescore.versions set state = 'checked', checked_at = now()")
            granting = pool.submit(let_read, roles, "late")
            with pytest.raises(TimeoutError):
                granting.result(timeout=0.3)
        granting.result(timeout=30)
    assert reads(roles.database("late"), 1)


def let_read(roles: Roles, role: str) -> None:
    with roles.database("owner").connect() as owner:
        grant(owner, readers=[roles.name(role)])


def reads(database: Database, version: int) -> bool:
    """Whether a version's own table can be read."""
    with database.connect() as connection:
        return bool(connection.execute(f"select * from prescore_versions.churn_v{version}".encode()).fetchall())


def statistics(database: Database) -> list[str]:
    """The versions' tables whose statistics a role sees."""
    with database.connect() as connection:
        seen = connection.execute(
            "select distinct tablename from pg_stats where schemaname = 'prescore_versions' order by 1"
        )
        return [row["tablename"] for row in seen]


def test_who_cannot_migrate_is_told_who_can(granted: Sandbox, roles: Roles, become: Callable[[str], None]) -> None:
    granted.monkeypatch.setattr(
        migrations,
        "migration_files",
        lambda: [*migration_files(), Migration(2, "0002_more.sql", "create table prescore.more (x integer)")],
    )
    for role in ("writer", "reader"):
        become(role)
        refused_run = granted.cli("run", "churn")
        assert refused_run.code == 2
        assert "lacks 0002_more.sql, and this role may not apply it" in refused_run.err
        assert "Ask the catalog owner to run `prescore db migrate`" in refused_run.err
    with roles.database("owner").connect() as owner:
        owner.execute(f"revoke insert on prescore.chunks from {roles.name('writer')}".encode())
        owner.execute(f"revoke select on prescore.events from {roles.name('reader')}".encode())
    become("owner")
    assert granted.cli("db", "migrate").out == "0002_more.sql\n"
    become("writer")
    assert run(granted, 0.0) == 0
    become("reader")
    assert granted.cli("history", "churn").code == 0


def test_a_database_without_catalog_is_the_owners_to_begin(sandbox: Sandbox, become: Callable[[str], None]) -> None:
    for role in ("writer", "reader"):
        become(role)
        told = sandbox.cli("run", "churn")
        assert told.code == 2
        assert "Ask the catalog owner to run `prescore db migrate`" in told.err


def test_a_second_writer_is_told_whose_the_tables_are(
    granted: Sandbox, roles: Roles, become: Callable[[str], None]
) -> None:
    assert run(granted, 0.0) == 0
    roles.type(f"create role anna login password '…';\ngrant {roles.name('anna')} to {roles.name('owner')}")
    become("owner")
    assert granted.cli("db", "grant", "--writer", roles.name("anna")).code == 0
    become("anna")
    told = granted.cli("run", "churn")
    assert told.code == 2
    assert f"The tables of churn belong to the role {roles.name('writer')}" in told.err
    roles.type(typed(TYPED, 1))
    told = granted.cli("run", "churn")
    assert told.code == 0, told.err
    become("writer")
    assert run(granted, 0.2) == 0
    owners = granted.rows("select distinct tableowner from pg_tables where schemaname = 'prescore_versions'")
    assert owners == [(roles.name("writer"),)]


def test_the_owner_may_what_the_writer_may(granted: Sandbox, become: Callable[[str], None]) -> None:
    for bias in (0.0, 0.1):
        assert run(granted, bias) == 0
    become("owner")
    assert granted.cli("rollback", "churn").code == 0
    assert granted.rows("select distinct version from predictions.churn") == [(1,)]


def test_one_role_for_everything_may_let_others_read(
    sandbox: Sandbox, roles: Roles, become: Callable[[str], None]
) -> None:
    become("owner")
    assert run(sandbox, 0.0) == 0
    told = sandbox.cli("db", "grant", "--reader", roles.name("reader"))
    assert told.out == f"may write: nobody but the owner\nmay read: {roles.name('reader')}\n"
    sandbox.spec((sandbox.root / "specs/churn.toml").read_text(), "upsell")
    assert sandbox.cli("run", "upsell").code == 0
    become("reader")
    for model in ("churn", "upsell"):
        assert sandbox.cli("lookup", model, "7").code == 0


@pytest.mark.parametrize("login", ["writer", "anna"])
def test_a_run_ends_the_sessions_of_the_one_it_takes_over_from(
    granted: Sandbox, roles: Roles, server: str, login: str
) -> None:
    if login == "anna":
        roles.type(f"create role anna login password '…';\n{typed(TYPED, 1)}")
        with psycopg.connect(server, autocommit=True) as administrator:
            administrator.execute(f"grant pg_signal_backend, pg_read_all_stats to {roles.name('writer')}".encode())
    with roles.database(login).connect() as connection:
        stuck = lease.acquire(connection, "churn", watched=False, seconds=0)
    stopped = replace(roles.database(login), name=stuck.session_name)
    with stopped.connect() as left, at_same_name(server, roles, stuck.session_name).connect() as superusers:
        materialize.run(granted.job())
        with pytest.raises(psycopg.OperationalError):
            left.execute("select 1")
        left.close()
        superusers.execute("select 1")


def at_same_name(server: str, roles: Roles, name: str) -> Database:
    """Somebody who calls a session as a run's are called, and whom no run may end."""
    return Database(at(server, roles.prefix), name=name)


def test_a_writer_that_sees_how_old_transactions_are_retires_past_new_ones(
    granted: Sandbox, roles: Roles, server: str
) -> None:
    granted.edit("versions = 3", "versions = 1")
    for bias in (0.0, 0.1):
        assert run(granted, bias) == 0
    granted.edit("versions = 1", 'versions = 1\ngrace = "0s"')
    with roles.database("reader").connect() as reader, reader.transaction():
        reader.execute("select count(*) from prescore.models")
        assert "left for the next time: 1" in granted.cli("retire", "churn").out
        # As if that had been decided long before.
        with granted.database.connect() as connection:
            connection.execute("update prescore.versions set retired_at = now() - interval '1 hour' where version = 1")
        assert "left for the next time: 1" in granted.cli("retire", "churn").out
        with psycopg.connect(server, autocommit=True) as administrator:
            administrator.execute(f"grant pg_read_all_stats to {roles.name('writer')}".encode())
        assert granted.cli("retire", "churn").out == "Retired: 1\n"


def test_grants_are_the_owners_to_give(granted: Sandbox, roles: Roles, become: Callable[[str], None]) -> None:
    roles.type(f"create role {roles.name('other')} login")
    become("writer")
    told = granted.cli("db", "grant", "--reader", roles.name("other"))
    assert (told.code, f"that is {roles.name('owner')}" in told.err) == (2, True), told.err
    become("owner")
    told = granted.cli("db", "grant", "--writer", roles.name("other"))
    assert (told.code, f"grant {roles.name('other')} to {roles.name('owner')};" in told.err) == (2, True), told.err
    told = granted.cli("db", "grant", "--reader", "nobody_at_all")
    assert (told.code, "no role nobody_at_all" in told.err) == (2, True), told.err


def test_rights_can_be_taken_away(granted: Sandbox, roles: Roles) -> None:
    assert run(granted, 0.0) == 0
    roles.type(typed("Let others read", 0), "owner", roles.prefix)
    assert run(granted, 0.1) == 0
    refused(
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
