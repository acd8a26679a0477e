"""Domains from MariaDB, if PRESCORE_TEST_MYSQL_URL names a database there and a role that may create others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pymysql
import pytest
import sqlalchemy as sa

from fix_project import Sandbox, linear
from prescore.errors import SourceUnavailable
from prescore.sources import engines
from prescore.sources.databases import DatabaseSource
from prescore.sources.source import Needed
from test_file_sources import write_spec

SERVER = os.environ.get("PRESCORE_TEST_MYSQL_URL", "")
# Several processes run tests at the same time.
DATABASE = f"prescore_test_{os.getpid()}"
URL = sa.make_url(SERVER).set(database=DATABASE).render_as_string(hide_password=False) if SERVER else ""
SOURCE = 'query = "sql/domains/m.sql"'
pytestmark = pytest.mark.skipif(not SERVER, reason="PRESCORE_TEST_MYSQL_URL is not set")

TABLE = """create or replace table people (
  id bigint unsigned primary key, x double, f float, active tinyint(1), flag bit(1), day date, at datetime(6),
  seen timestamp, note varchar(20), padded char(5), n decimal(20, 2), big bigint unsigned, span time
)"""
ROWS = """insert into people values
  (1, 1.5, 16777217, 1, 1, '2024-02-29', '2024-02-29 10:00:00.123456', '2024-02-29 10:00:00', 'a:b 100%', 'ab', 1.25,
   18446744073709551615, '10:00:00'),
  (2, 2.5, 0.1, 0, 0, '0000-00-00', null, '2024-02-29 10:00:00', 'it''s', 'cd', 2, 3, '-10:00:00'),
  (3, 3.5, 0.1, 2, 0, null, null, '2024-02-29 10:00:00', null, null, null, null, null),
  (4, 4.5, 0.1, null, null, null, null, '2024-02-29 10:00:00', null, null, null, 5, null)"""


@pytest.fixture
def admin() -> Iterator[pymysql.cursors.Cursor]:
    """A session that may write, in a database of its own with the table people."""
    url = sa.make_url(SERVER)
    connection = pymysql.connect(
        host=url.host,
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        autocommit=True,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(f"create or replace database {DATABASE}")
        cursor.execute(f"use {DATABASE}")
        cursor.execute("set session sql_mode = '', time_zone = '+02:00'")
        cursor.execute(TABLE)
        cursor.execute(ROWS)
        yield cursor
        cursor.execute("unlock tables")
        cursor.execute(f"drop database {DATABASE}")


@pytest.fixture
def shop(sandbox: Sandbox, admin: pymysql.cursors.Cursor) -> Sandbox:
    """The model m, score = sigmoid(x), with the source `maria`."""
    assert admin
    sandbox.onnx(linear([1.0]), "m")
    sandbox.settings(f'[sources]\nmaria = "{URL}"\n')
    return sandbox


def _write(sandbox: Sandbox, query: str, **spec: str) -> None:
    write_spec(sandbox, 'id = "bigint"', **{"onnx": 'allow_precision_loss = ["x"]', **spec})
    sandbox.edit(SOURCE, f'source = "maria"\n{SOURCE}', "m")
    sandbox.query(query, "m")


def test_values_are_exact_and_a_bad_one_costs_its_row(shop: Sandbox) -> None:
    columns = """[passthrough]
active = "boolean"
flag = "boolean"
day = "date"
at = "timestamp"
seen = "timestamp"
zoned = "timestamptz"
note = "text"
padded = "text"
big = "bigint"
"""
    query = "select *, date_format(seen, '%Y-%m-%dT%H:%i:%sZ') as zoned from people; # all of them"
    _write(shop, query, passthrough=columns, top="max_rejects = 3")
    done = shop.cli("run", "m")
    assert done.code == 0, done.err
    assert shop.rows("select id, active, flag, big, seen::text, zoned = '2024-02-29 08:00Z' from predictions.m") == [
        (4, None, None, 5, "2024-02-29 08:00:00", True)
    ]
    assert shop.rows("select key ->> 'id', column_name from prescore.rejects order by 1") == [
        ("1", "big"),
        ("2", "day"),
        ("3", "active"),
    ]
    _write(shop, query, passthrough=columns.replace('big = "bigint"\n', ""), top="max_rejects = 2")
    assert shop.cli("run", "m", "--allow-breaking").code == 0
    exact = "select active and flag and day = '2024-02-29' and at = '2024-02-29 10:00:00.123456' and note = 'a:b 100%'"
    assert shop.rows(f"{exact} and padded = 'ab' from predictions.m where id = 1") == [(True,)]


def test_a_float_needs_a_cast_as_the_server_rounds_it(shop: Sandbox) -> None:
    _write(shop, "select id, f as x from people")
    refused = shop.cli("validate", "m")
    assert (refused.code, "Column x is FLOAT in the domain" in refused.err) == (2, True)
    _write(shop, "select id, cast(f as double) as x from people where id = 1")
    assert shop.cli("validate", "m").code == 0


@pytest.mark.parametrize(
    "statement",
    [
        "drop table people",
        "truncate people",
        "create table written as select 1",
        "select 1 as id, 1.0 as x; drop table people",
        "select id, x from people /*! into outfile '/tmp/prescore-written' */",
        "select id, x from people into @a, @b",
    ],
)
def test_a_query_writes_nothing(shop: Sandbox, admin: pymysql.cursors.Cursor, statement: str) -> None:
    _write(shop, statement)
    refused = shop.cli("validate", "m")
    assert (refused.code, "Nothing was run" in refused.err) == (2, True), refused.err
    admin.execute("select count(*) from people")
    assert admin.fetchone() == (4,)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select id, x from nosuch", "nosuch' doesn't exist"),
        ("select id, y from people", "Unknown column 'y'"),
        ("select id, x form people where", "You have an error in your SQL syntax"),
    ],
)
def test_a_query_that_fails_is_the_users_mistake(shop: Sandbox, query: str, message: str) -> None:
    _write(shop, query)
    failed = shop.cli("validate", "m", "--json")
    assert (failed.code, json.loads(failed.out)["error"]["code"]) == (2, "domain_invalid"), failed.err
    assert message in failed.err


def test_a_server_that_is_away_or_refuses_the_login(shop: Sandbox) -> None:
    _write(shop, "select id, x from people")
    url = sa.make_url(URL)
    for wrong, code, error in (
        (url.set(port=1), 3, "source_unavailable"),
        (url.set(username="prescore_nosuch", password="hunter2"), 2, "database_refused"),
        (url.set(database="prescore_nosuch"), 2, "database_refused"),
    ):
        shop.settings(f'[sources]\nmaria = "{wrong.render_as_string(hide_password=False)}"\n')
        failed = shop.cli("validate", "m", "--json")
        assert (failed.code, json.loads(failed.out)["error"]["code"]) == (code, error), failed.err
        assert "hunter2" not in failed.err


def test_a_server_that_is_busy_or_slow_is_worth_a_retry(shop: Sandbox, admin: pymysql.cursors.Cursor) -> None:
    """By the server's own errors: PyMySQL also knows their SQLSTATE, which says less than their number."""
    limits = "set session lock_wait_timeout = 1, session max_statement_time = 2"
    url = sa.make_url(URL).update_query_dict({"init_command": limits})
    shop.settings(f'[sources]\nmaria = "{url.render_as_string(hide_password=False)}"\n')
    admin.execute("lock tables people write")
    slow = "select sum(a.seq * b.seq) as id, 1.0 as x from seq_1_to_100000 a, seq_1_to_100000 b"
    for query, message in (
        ("select id, x from people", "Another session holds a lock"),
        (slow, "Did the query exceed a timeout"),
    ):
        _write(shop, query)
        failed = shop.cli("validate", "m", "--json")
        assert (failed.code, message in failed.err) == (3, True), failed.err


def test_a_role_without_the_right_to_read_is_refused(shop: Sandbox, admin: pymysql.cursors.Cursor) -> None:
    admin.execute(f"create or replace user {DATABASE} identified by 'blind'")
    try:
        url = sa.make_url(URL).set(username=DATABASE, password="blind", database=None)
        shop.settings(f'[sources]\nmaria = "{url.render_as_string(hide_password=False)}"\n')
        _write(shop, f"select id, x from {DATABASE}.people")
        failed = shop.cli("validate", "m", "--json")
        assert (failed.code, json.loads(failed.out)["error"]["code"]) == (2, "database_refused"), failed.err
    finally:
        admin.execute(f"drop user {DATABASE}")


def test_the_session_refuses_to_write(admin: pymysql.cursors.Cursor) -> None:
    engine = engines.create("maria", URL, Path())
    for statement in ("drop table people", "create table written as select 1", "delete from people"):
        with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="READ ONLY"):
            connection.exec_driver_sql(statement)
    admin.execute("select count(*) from people")
    assert admin.fetchone() == (4,)


def _source() -> DatabaseSource:
    return DatabaseSource(query_file="m.sql", name="maria", url=URL, root=Path())


def test_a_session_that_ends_half_way_is_worth_a_retry(admin: pymysql.cursors.Cursor, shop: Sandbox) -> None:
    assert shop
    admin.execute("create or replace table many as select seq as id, repeat('x', 1000) as s from seq_1_to_200000")
    needed = {"id": Needed(pa.int64())}
    # What is left of a result is not read when a run ends in the middle of it.
    with _source().open("select id, s from many", 100, needed) as stream:
        assert next(stream.batches).rows.column("id").to_pylist() == list(range(1, 101))
    with _source().open("select id, s from many", 100, {**needed, "s": Needed(pa.string())}) as stream:
        next(stream.batches)
        admin.execute(
            "select id from information_schema.processlist where info like '%many%' and id <> connection_id()"
        )
        for (session,) in admin.fetchall():
            admin.execute(f"kill {session}")
        with pytest.raises(SourceUnavailable, match="Source maria is not available"):
            list(stream.batches)
