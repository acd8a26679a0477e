"""Domains from SQLite and Postgres: only read, only the needed columns, and a bad value costs its row."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import psycopg
import pymysql
import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from fix_project import Sandbox, linear
from prescore.errors import DatabaseRefused, DomainInvalid, PrescoreError, SourceUnavailable
from prescore.run import materialize
from prescore.sources import database_errors
from test_file_sources import write_spec

CSV_ADVICE = (
    "Cast it in the domain query. In CSV, read it as text with read_csv(…, types = {'name': 'VARCHAR'}): a cast would "
    "make 7 of 007, and true of t."
)
ADVICE = "Fix or cast it in the domain query."
SOURCE = 'query = "sql/domains/m.sql"'


@pytest.fixture
def shop(sandbox: Sandbox) -> Sandbox:
    """The model m, score = sigmoid(x), with an SQLite file `shop` and this test's own Postgres `pg` as sources."""
    sandbox.onnx(linear([1.0]), "m")
    sandbox.monkeypatch.setenv("PG_URL", sandbox.database.url)
    sandbox.settings('[sources]\nshop = "sqlite:///data/shop.db?timeout=0.1"\npg = "env:PG_URL"\n')
    (sandbox.root / "data").mkdir(exist_ok=True)
    with sqlite3.connect(_file(sandbox)) as connection:
        connection.execute("create table t (id integer, x real, active integer, day, at, note)")
        connection.executemany(
            "insert into t values (?, ?, ?, ?, ?, ?)",
            [
                (1, 1.5, 1, "2024-02-29", "2024-02-29 10:00:00.5", 7),
                (2, 2.5, 0, "2024-02-30", "2024-02-29T10:00:00Z", "seven"),
                (3, 3.5, 2, "2024-03-01", "2024-03-01 10:00", b"7"),
                (4, 4.5, None, None, None, None),
            ],
        )
    connection.close()
    return sandbox


def _file(sandbox: Sandbox) -> Path:
    return sandbox.root / "data/shop.db"


def _from(sandbox: Sandbox, source: str, query: str, **spec: str) -> None:
    """Write the spec of m with its domain from a source; without `key`, that is id."""
    key = spec.pop("key", 'id = "bigint"')
    write_spec(sandbox, key, **{"onnx": 'allow_precision_loss = ["x"]', **spec})
    sandbox.edit(SOURCE, f'source = "{source}"\n{SOURCE}', "m")
    sandbox.query(query, "m")


def test_booleans_and_times_of_sqlite_are_exact(shop: Sandbox) -> None:
    columns = '[passthrough]\nactive = "boolean"\nday = "date"\nat = "timestamp"'
    _from(shop, "shop", "select * from t", passthrough=columns, top="max_rejects = 2")
    done = shop.cli("run", "m")
    assert done.code == 0, done.err
    assert shop.rows("select id, active, day::text, at::text from predictions.m order by id") == [
        (1, True, "2024-02-29", "2024-02-29 10:00:00.5"),
        (4, None, None, None),
    ]
    assert shop.rows("select key ->> 'id', reason from prescore.rejects order by 1") == [
        (
            "2",
            f"Column day holds 2024-02-30, which is not a date such as 2013-07-04. {ADVICE}",
        ),
        ("3", f"Column active holds 2, which is neither 0 nor 1. {ADVICE}"),
    ]


def test_a_column_of_several_types_costs_only_the_rows_that_do_not_fit(shop: Sandbox) -> None:
    _from(shop, "shop", "select * from t", passthrough='[passthrough]\nnote = "text"', top="max_rejects = 2")
    done = shop.cli("run", "m")
    assert done.code == 0, done.err
    assert shop.rows("select id, note from predictions.m order by id") == [(2, "seven"), (4, None)]
    assert shop.rows("select key ->> 'id', reason from prescore.rejects order by 1") == [
        ("1", f"Column note is bigint in the domain, but must be text. {CSV_ADVICE}"),
        ("3", "Column note is binary in the domain, but must be text. Cast it in the domain query."),
    ]


def test_the_age_of_the_data_can_come_from_text(shop: Sandbox) -> None:
    query = "select id, x, '2024-02-29T10:00:00+02:00' as seen from t"
    for clock in ('column = "seen"', "query = \"select '2024-02-29 08:00'; -- the load\""):
        _from(shop, "shop", query)
        shop.edit("[key]", f"[domain.data_as_of]\n{clock}\n[key]", "m")
        assert shop.cli("run", "m").code == 0
        newest = "select data_as_of = '2024-02-29 08:00Z' from prescore.versions order by version desc limit 1"
        assert shop.rows(newest) == [(True,)]


@pytest.mark.parametrize(
    "statement",
    [
        "drop table t",
        "pragma journal_mode = wal",
        "attach 'data/other.db' as other",
        "vacuum",
        "with doomed as (select 1) delete from t returning 1 as id, 1.0 as x",
        "select 1 as id, 1.0 as x; drop table t",
    ],
)
def test_a_query_writes_nothing_in_sqlite(shop: Sandbox, statement: str) -> None:
    before = _file(shop).read_bytes()
    _from(shop, "shop", statement)
    for command in ("validate", "run"):
        refused = shop.cli(command, "m")
        assert refused.code == 2, refused.err
    assert _file(shop).read_bytes() == before
    assert [path.name for path in (shop.root / "data").glob("*.db*")] == ["shop.db"]


def test_an_sqlite_file_that_is_missing_or_locked_has_its_own_error(shop: Sandbox, tmp_path: Path) -> None:
    _from(shop, "shop", "select id, x from t")
    with sqlite3.connect(_file(shop), isolation_level=None) as writer:
        writer.execute("begin exclusive")
        locked = shop.cli("validate", "m", "--json")
        assert (locked.code, json.loads(locked.out)["error"]["code"]) == (3, "source_unavailable"), locked.err
        writer.execute("rollback")
    writer.close()
    # The path is relative to the project, wherever the command is run.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shop.monkeypatch.chdir(elsewhere)
    assert shop.cli("validate", "m").code == 0
    _file(shop).unlink()
    missing = shop.cli("validate", "m")
    assert (missing.code, "unable to open database file" in missing.err) == (2, True), missing.err
    assert not _file(shop).exists()


def test_text_that_is_not_utf8_costs_its_row(shop: Sandbox) -> None:
    query = "select id, x, cast(x'c3' as text) as other, case id when 1 then cast(x'c3' as text) end as note from t"
    _from(shop, "shop", query)
    assert shop.cli("validate", "m").code == 0
    _from(shop, "shop", query, passthrough='[passthrough]\nnote = "text"', top="max_rejects = 1")
    assert shop.cli("run", "m").code == 0
    assert shop.rows("select count(*) from predictions.m") == [(3,)]


@pytest.mark.parametrize(
    ("source", "query"),
    [
        ("shop", "select id, x from customers"),
        ("shop", "select id, y from t"),
        ("shop", "select id, x frm t"),
        ("pg", "select id, x from customers"),
        ("pg", "select 1 as id, 1::real as x where 1 = $1"),
        ("pg", "select 1 as id, 1.0 / 0 as x"),
        ("pg", "select id, x from (values (1, 'a'), (2, 'b')) t(id, x)"),
    ],
)
def test_a_query_that_fails_is_the_users_mistake(shop: Sandbox, source: str, query: str) -> None:
    _from(shop, source, query)
    failed = shop.cli("validate", "m", "--json")
    assert (failed.code, json.loads(failed.out)["error"]["code"]) == (2, "domain_invalid"), failed.err


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("nosuchdb://reader:hunter2@localhost/x", 2, "no dialect for 'nosuchdb'"),
        ("oracle+cx_oracle://reader:hunter2@localhost/x", 2, "needs the driver cx_Oracle, which is not installed"),
        ("hunter2", 2, "The URL of source pg is not valid"),
        ("postgresql+psycopg://reader:hunter2@localhost:port/x", 2, "The URL of source pg is not valid"),
        ("postgres://reader:hunter2@localhost:1/x", 3, "Check that its database is up and reachable"),
        ("host=localhost password=hunter2 nosuch=1", 2, "The URL of source pg is not valid"),
        ("", 2, "PG_URL, which is not set, or empty"),
    ],
)
def test_a_url_that_does_not_work_is_reported_without_its_password(
    shop: Sandbox, url: str, code: int, message: str
) -> None:
    _from(shop, "pg", "select 1 as id, 1::real as x")
    shop.monkeypatch.setenv("PG_URL", url)
    for command in ("validate", "run"):
        failed = shop.cli(command, "m", "--json")
        assert (failed.code, message in failed.err) == (code, True), failed.err
        assert "hunter2" not in failed.err + failed.out


def test_only_the_limits_of_a_server_that_are_about_a_query_hold(shop: Sandbox) -> None:
    """Rows are converted and the first ones scored while the source's transaction is idle."""
    options = "-c idle_in_transaction_session_timeout=2s -c statement_timeout=500"
    shop.monkeypatch.setenv("PG_URL", make_conninfo(shop.database.url, options=options))
    limit = "select current_setting('idle_in_transaction_session_timeout') as id, 1::float8 as x"
    _from(shop, "pg", limit, key='id = "text"')
    assert shop.cli("run", "m").code == 0
    assert shop.rows("select id from predictions.m") == [("10min",)]
    _from(shop, "pg", "select 1 as id, 1::float8 as x from pg_sleep(60)")
    slow = shop.cli("validate", "m")
    assert (slow.code, "Did the query exceed a timeout of the server" in slow.err) == (3, True), slow.err


def test_a_refused_login_is_the_users_mistake(shop: Sandbox) -> None:
    _from(shop, "pg", "select 1 as id, 1::real as x")
    shop.monkeypatch.setenv("PG_URL", make_conninfo(shop.database.url, dbname="nosuch"))
    failed = shop.cli("validate", "m", "--json")
    assert (failed.code, json.loads(failed.out)["error"]["code"]) == (2, "database_refused"), failed.err


def test_columns_that_are_not_needed_cost_nothing(shop: Sandbox) -> None:
    _from(
        shop,
        "pg",
        "select 1::bigint as id, 1::float8 as x, 'infinity'::date as a, '{\"n\": 9223372036854775808}'::jsonb as b, "
        "'10.0.0.1'::inet as c, int4range(1, 2) as d, 'NaN'::numeric as e, 1e100::numeric as f, 1 as dup, 2 as dup",
    )
    done = shop.cli("run", "m")
    assert done.code == 0, done.err
    # Twice in the result, the query is read as it is, and still only the needed columns.
    _from(shop, "pg", "select 1 as id, 2 as id, 1::real as x, 'infinity'::date as a, '10.0.0.1'::inet as c")
    assert "Column id appears more than once" in shop.cli("validate", "m").err


def test_a_bad_value_of_postgres_costs_its_row(shop: Sandbox) -> None:
    rows = (
        "(1, 1.5, '2024-01-01'), (2, 'NaN', '2024-01-01'), (3, 1e-100, '2024-01-01'), (4, 1e100, '2024-01-01'), "
        "(5, 1.5, 'infinity'), (6, 1.5, '0044-03-15 BC'), (7, 1.5, '10000-01-01'), (8, 1.5, null)"
    )
    _from(
        shop,
        "pg",
        f"select id::bigint, x::numeric, day::date from (values {rows}) t(id, x, day)",
        passthrough='[passthrough]\nday = "date"',
        top="max_rejects = 5",
    )
    done = shop.cli("run", "m")
    assert done.code == 0, done.err
    assert shop.rows("select id from predictions.m order by id") == [(1,), (3,), (8,)]
    assert shop.rows("select (key ->> 'id')::int, column_name from prescore.rejects order by 1") == [
        (2, "x"),
        (4, "x"),
        (5, "day"),
        (6, "day"),
        (7, "day"),
    ]


def test_padding_and_single_floats_of_postgres_are_what_its_users_see(shop: Sandbox) -> None:
    # A role may have a setting that rounds floats.
    shop.monkeypatch.setenv("PGOPTIONS", "-c extra_float_digits=-6 -c datestyle=german")
    _from(
        shop,
        "pg",
        "select 'ab'::char(5) as id, 0.1234567::real as x, 2.7182817::real as r, date '2024-02-29' as day, "
        "timestamptz '2024-02-29 10:00+02' as at",
        key='id = "text"',
        passthrough='[passthrough]\nr = "real"\nday = "date"\nat = "timestamptz"',
        onnx="",
    )
    done = shop.cli("run", "m")
    assert done.code == 0, done.err
    shop.monkeypatch.delenv("PGOPTIONS")
    assert shop.cli("lookup", "m", "ab").code == 0
    exact = "select r = 2.7182817::real and day = '2024-02-29' and at = '2024-02-29 08:00Z' from predictions.m"
    assert shop.rows(exact) == [(True,)]


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("'\"abc\"'::jsonb", "JSON"),
        ("'7'::json", "JSON"),
        ("gen_random_uuid()", "uuid"),
        ("interval '1 day'", "timedelta"),
        ("'10.0.0.1'::inet", "IPv4Address"),
    ],
)
def test_a_type_of_postgres_that_is_not_text_is_no_text_key(shop: Sandbox, expression: str, name: str) -> None:
    _from(shop, "pg", f"select {expression} as id, 1::float8 as x", key='id = "text"')
    refused = shop.cli("validate", "m")
    assert (refused.code, f"Column id is {name} in the domain, but must be text" in refused.err) == (2, True)


@pytest.mark.parametrize(
    "statement",
    [
        "drop table public.t",
        "select 1 as id, 1.0 as x; commit; drop table public.t",
        "with gone as (delete from public.t returning 1 as id, 1.0 as x) select * from gone",
        "select id, 1.0 as x into public.other from public.t",
        "select pg_temp.wipe() as id, 1.0 as x",
        "select nextval('public.s') as id, 1.0 as x",
        "select public.wipe() as id, 1.0 as x",
    ],
)
def test_a_query_writes_nothing_in_postgres(shop: Sandbox, statement: str) -> None:
    with shop.database.connect() as connection:
        connection.execute("create table public.t as select 1 as id")
        connection.execute("create sequence public.s")
        connection.execute(
            "create function public.wipe() returns int language sql as 'delete from public.t returning 1'"
        )
    _from(shop, "pg", statement)
    refused = shop.cli("run", "m")
    assert refused.code == 2, refused.err
    assert shop.rows("select id, (select is_called from public.s) from public.t") == [(1, False)]


@pytest.mark.parametrize("end", ["; -- all of them", ";;", "; /* ; */\n"])
def test_a_trial_of_a_database_is_one_sample_of_all_rows_in_whatever_order(shop: Sandbox, end: str) -> None:
    samples = []
    for order in ("asc", "desc"):
        rows = f"select g::bigint as id, g::float8 as x from generate_series(1, 5000) g order by g {order}{end}"
        _from(shop, "pg", rows)
        done = shop.cli("run", "m", "--trial", "50", "--json")
        assert (done.code, json.loads(done.out)["rows"]) == (0, 50), done.err
        version = json.loads(done.out)["version"]
        samples.append(sorted(shop.rows(f"select id from prescore_versions.m_v{version}")))
    assert samples[0] == samples[1]
    assert 1500 < sum(key for (key,) in samples[0]) / 50 < 3500


@pytest.mark.parametrize("form", ["postgresql+psycopg", "postgres", "parameters"])
def test_a_postgres_source_has_any_url_of_libpq(shop: Sandbox, form: str) -> None:
    url = shop.database.url
    if form == "parameters":
        url = make_conninfo(url, application_name="prescore")
    shop.monkeypatch.setenv("PG_URL", url.replace("postgresql", form, 1))
    _from(shop, "pg", "select 1 as id, 1::real as x")
    assert shop.cli("validate", "m").code == 0


def test_a_source_that_goes_away_half_way_is_worth_a_retry(shop: Sandbox) -> None:
    shop.settings('chunk_rows = 100\n[sources]\npg = "env:PG_URL"\n')
    _from(shop, "pg", "select g as id, g::float8 as x, 'the source' from generate_series(1, 100000) g")
    job = shop.job("m")

    def end_the_session(step: str, *_: object) -> None:
        if step != "snapshot":
            return
        with shop.database.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where query like 'FETCH FORWARD%' and pid <> pg_backend_pid() and datname = current_database()"
            )

    job.on_progress = end_the_session
    with pytest.raises(SourceUnavailable, match="terminating connection due to administrator command"):
        materialize.run(job)
    assert shop.rows("select state from prescore.versions") == [("building",)]
    assert shop.cli("run", "m").code == 0


def _wrapped(error: Exception, *, lost: bool = False) -> sa.exc.DBAPIError:
    return sa.exc.DBAPIError("select 1", None, error, connection_invalidated=lost)


def _sqlite_error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("the message")
    error.sqlite_errorname = f"SQLITE_{name}"
    return error


POSTGRES_CLASSES = {
    SourceUnavailable: "08000 08006 40001 40P01 53100 53200 53300 55P03 57014 57P01 57P02 57P03 58030 25P03",
    DatabaseRefused: "28000 28P01 3D000 42501",
    DomainInvalid: "08P01 22003 22012 22021 22P02 22P05 25006 42601 42703 42804 42883 42P01 54000 54001 55000 XX000",
}


def test_every_error_of_a_driver_has_the_right_class() -> None:
    cases: list[tuple[Exception, type[PrescoreError]]] = [
        (psycopg.errors.lookup(state)("the message"), expected)
        for expected, states in POSTGRES_CLASSES.items()
        for state in states.split()
    ]
    cases += [(psycopg.OperationalError("server closed the connection unexpectedly"), SourceUnavailable)]
    for code in (1040, 1053, 1205, 1213, 1317, 1927, 1969, 2003, 2006, 2013, 3024):
        cases.append((pymysql.err.OperationalError(code, "the message"), SourceUnavailable))
    for code in (1044, 1045, 1049, 1142):
        cases.append((pymysql.err.OperationalError(code, "the message"), DatabaseRefused))
    for code in (1054, 1064, 1146, 1792):
        cases.append((pymysql.err.ProgrammingError(code, "the message"), DomainInvalid))
    for name in ("BUSY", "BUSY_SNAPSHOT", "LOCKED", "IOERR_READ", "NOMEM", "FULL"):
        cases.append((_sqlite_error(name), SourceUnavailable))
    for name in ("ERROR", "READONLY", "CORRUPT", "NOTADB", "MISMATCH"):
        cases.append((_sqlite_error(name), DomainInvalid))
    # ODBC's drivers have the SQLSTATE in front.
    cases += [(Exception("08S01", "gone"), SourceUnavailable), (Exception("42S02", "no such table"), DomainInvalid)]
    for error, expected in cases:
        found = database_errors.classified("shop", "The query", _wrapped(error))
        assert type(found) is expected, error
    lost = database_errors.classified("shop", "The query", _wrapped(Exception("gone"), lost=True))
    assert type(lost) is SourceUnavailable
    # An unknown error is the query's fault, except while connecting.
    for connecting, unknown in ((False, DomainInvalid), (True, SourceUnavailable)):
        error = _wrapped(Exception("the message"))
        found = database_errors.classified("shop", "The query", error, connecting=connecting)
        assert type(found) is unknown
