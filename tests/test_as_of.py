"""Runs with `--as-of`: the value of `$as_of` in the domain query, the resulting backfills, and their retention."""

from __future__ import annotations

import datetime
import json
import re
import time

import pyarrow as pa
import pytest

from fix_project import Sandbox, customers
from prescore.catalog.datetimes import parse_datetime
from prescore.run import materialize
from prescore.sources import sql_text
from prescore.versions.options import RunOptions

NIGHT = "2026-01-02"
STATES = "select version, state from prescore.versions order by version"
CUSTOMERS = "read_parquet('data/customers.parquet')"
# Two places where $as_of is not the parameter: a quoted name and a dollar-quoted string.
QUOTED_NAME = f'select *, 1 as "x$as_of" from {CUSTOMERS}'
DOLLAR_STRING = f"select *, $$ up to $as_of $$ as note from {CUSTOMERS}"


@pytest.fixture
def dated(sandbox: Sandbox) -> Sandbox:
    """The churn project, where 100 customers were first seen on each of the ten days from 2026-01-01, at 00:00 UTC."""
    days = [datetime.datetime(2026, 1, 1 + n // 100) for n in range(1000)]  # noqa: DTZ001 # a column without zone
    sandbox.data(customers().append_column("seen", pa.array(days, pa.timestamp("us"))))
    sandbox.query("select customer, visits, spend from read_parquet('data/customers.parquet') where seen <= $as_of")
    return sandbox


def _move_to_warehouse(dated: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the customers into a Postgres table, and let the domain come from there."""
    with dated.database.connect() as connection:
        connection.execute(
            b"create table public.customers as select n as customer, 0.5::real as visits, n::real as spend, "
            b"timestamptz '2026-01-01 00:00+00' + n / 100 * interval '1 day' as seen, 'a:b 100%' as note "
            b"from generate_series(0, 999) n"
        )
    monkeypatch.setenv("WAREHOUSE_URL", dated.database.sqlalchemy_url)
    dated.settings('[sources]\nwarehouse = "env:WAREHOUSE_URL"\n')
    dated.edit("[domain]", '[domain]\nsource = "warehouse"')
    dated.edit('file = "models/churn.onnx"', 'file = "models/churn.onnx"\nallow_precision_loss = ["visits", "spend"]')


def test_the_query_receives_the_time_of_the_run_option(dated: Sandbox) -> None:
    report = json.loads(dated.cli("run", "churn", "--as-of", "2026-01-02T01:00:00+01:00", "--json").out)
    assert (report["rows"], report["published"], report["backfill"]) == (200, True, False)
    assert report["as_of"] == report["data_as_of"]
    assert parse_datetime(report["as_of"]) == parse_datetime(NIGHT)


def test_without_the_option_the_time_is_the_start_of_the_run(dated: Sandbox) -> None:
    report = json.loads(dated.cli("run", "churn", "--json").out)
    assert (report["rows"], report["as_of"]) == (1000, None)
    assert dated.cli("validate", "churn").out == "churn: spec, model and domain fit; 1,000 rows\n"
    assert dated.rows("select data_as_of = started_at from prescore.versions") == [(True,)]


def test_a_backfill_is_kept_beside_the_published_version(dated: Sandbox) -> None:
    dated.edit("versions = 3", 'versions = 3\ncandidates = "0s"\ngrace = "0s"')
    assert dated.cli("run", "churn").code == 0
    done = dated.cli("run", "churn", "--as-of", NIGHT)
    assert done.code == 0, done.err
    assert "kept: version 1 has newer data; `prescore publish churn 2 --allow-older` publishes this one" in done.out
    assert dated.cli("retire", "churn").code == 0
    assert dated.rows(STATES) == [(1, "published"), (2, "checked")]
    dated.edit('candidates = "0s"', 'candidates = "0s"\nbackfills = "0s"')
    assert "Retired: 2" in dated.cli("retire", "churn").out


def test_a_backfill_does_not_count_as_waiting_for_its_publication(dated: Sandbox) -> None:
    assert dated.cli("run", "churn").code == 0
    assert dated.cli("run", "churn", "--as-of", NIGHT).code == 0
    dated.cli("hold", "churn", "--reason", "a holiday")
    assert "waits" not in dated.cli("release", "churn").out
    assert dated.cli("publish", "churn", "2").code == 2
    assert dated.cli("publish", "churn", "2", "--allow-older").code == 0
    assert dated.rows("select count(*) from predictions.churn") == [(200,)]


@pytest.mark.parametrize(
    ("as_of", "query", "reason"),
    [
        ("2026-01-02", "select customer, visits, spend from read_parquet('data/customers.parquet') -- $as_of", "would"),
        ("2026-01-02", "select customer, visits, spend from 'data/customers.parquet' where '$as_of' <> ''", "would"),
        ("2026-01-02", f"select customer, visits, spend from ({QUOTED_NAME})", "would"),
        ("2026-01-02", f"select customer, visits, spend from ({DOLLAR_STRING})", "would"),
        ("2999-01-01", None, "that time is in the future"),
        ("yesterday", None, "'yesterday' is not a valid time. Use, for example, 2026-01-31"),
    ],
)
def test_a_time_that_the_run_cannot_use_is_refused(dated: Sandbox, as_of: str, query: str | None, reason: str) -> None:
    if query:
        dated.query(query)
    done = dated.cli("run", "churn", "--as-of", as_of)
    assert (done.code, reason in done.err) == (2, True), done.err
    assert dated.rows(
        "select to_regclass('prescore.versions') is null or not exists (select from pg_class "
        "where relname = 'churn_v1')"
    ) == [(True,)]


def test_an_unknown_parameter_is_refused(dated: Sandbox) -> None:
    dated.query("select customer, visits, spend from read_parquet('data/customers.parquet') where seen <= $until")
    done = dated.cli("run", "churn")
    assert (done.code, "until" in done.err) == (2, True), done.err


def test_an_interrupted_run_is_resumed_only_by_a_run_for_the_same_time(dated: Sandbox) -> None:
    later, earlier = (RunOptions(as_of=parse_datetime(night)) for night in ("2026-01-05", "2026-01-04"))
    dated.interrupted("finish_table", later)
    # A run for an earlier time leaves the interrupted version alone.
    assert materialize.run(dated.job(), earlier).version == 2
    report = materialize.run(dated.job(), later)
    assert (report.version, report.resumed, report.rows, report.published) == (1, True, 500, True)
    dated.interrupted("finish_table", later)
    assert materialize.run(dated.job()).version == 4
    assert dated.rows(STATES)[2] == (3, "failed")


def test_a_resumed_run_uses_the_time_at_which_it_started(dated: Sandbox) -> None:
    dated.query("select customer, visits, spend, $as_of as seen from read_parquet('data/customers.parquet')")
    dated.edit("[onnx]", '[passthrough]\nseen = "timestamptz"\n[onnx]')
    dated.interrupted("score_chunks")
    assert materialize.run(dated.job()).resumed
    assert dated.rows("select distinct seen = data_as_of from predictions.churn") == [(True,)]


def test_a_database_source_receives_the_time_too(dated: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    _move_to_warehouse(dated, monkeypatch)
    dated.query(
        "select customer::bigint, visits, spend from customers -- up to $as_of: 100%\n"
        "where seen <= $as_of and note like 'a:b 100\\%' and note <> ':as_of $as_of'"
    )
    report = materialize.run(dated.job(), RunOptions(as_of=parse_datetime(NIGHT)))
    assert report.rows == 200
    assert materialize.run(dated.job()).rows == 1000


@pytest.mark.parametrize("query", [QUOTED_NAME, DOLLAR_STRING], ids=["quoted name", "dollar string"])
def test_a_quoted_as_of_is_not_the_parameter(dated: Sandbox, query: str) -> None:
    dated.query(query)
    assert materialize.run(dated.job()).rows == 1000
    # Beside the quoted one, the parameter is found and bound.
    dated.query(f"{query} where seen <= $as_of")
    assert materialize.run(dated.job(), RunOptions(as_of=parse_datetime(NIGHT))).rows == 200


@pytest.mark.parametrize(
    "query",
    [
        'select customer::bigint, visits, spend, 1 as "x$as_of" from customers',
        "select customer::bigint, visits, spend, $$ up to $as_of $$ as note from customers",
        "select customer::bigint, visits, spend, $q$ $$ $as_of $q$ as note from customers",
        "select customer::bigint, visits, spend from customers /* up to /* nested */ $as_of */",
    ],
    ids=["quoted name", "dollar string", "tagged dollar string", "nested comment"],
)
def test_a_quoted_as_of_is_not_the_parameter_of_a_database_either(
    dated: Sandbox, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    _move_to_warehouse(dated, monkeypatch)
    dated.query(query)
    assert materialize.run(dated.job()).rows == 1000
    refused = dated.cli("run", "churn", "--as-of", NIGHT)
    assert (refused.code, "$as_of" in refused.err) == (2, True), refused.err
    dated.query(f"{query} where seen <= $as_of")
    assert materialize.run(dated.job(), RunOptions(as_of=parse_datetime(NIGHT))).rows == 200


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("where seen <= $as_of", {"as_of"}),
        ("where seen <= $AS_OF::date", {"as_of"}),
        ("$as_of $until", {"as_of", "until"}),
        ('"x$as_of" "a""$as_of"', set()),
        ("$$ $as_of $$ $tag$ $as_of $$ $tag$", set()),
        ("$as_of$ not a parameter $as_of$", set()),
        ("x$as_of $1", set()),
        ("'it''s $as_of' E'it\\'s $as_of'", set()),
        ("-- $as_of\n/* /* */ $as_of */", set()),
        ("'a' $as_of 'b'", {"as_of"}),
        ("/* open $as_of", set()),
        ("'open $as_of", set()),
    ],
)
def test_parameters_are_found_outside_comments_strings_and_quoted_names(text: str, parameters: set[str]) -> None:
    assert sql_text.parameters(text) == parameters
    assert "".join(token.text for token in sql_text.tokens(text)) == text


@pytest.mark.parametrize(("text", "is_blank"), [("", True), (" -- select 1\n/* 2 */;\n", True), ("select 1;", False)])
def test_a_text_of_comments_is_blank(text: str, is_blank: bool) -> None:
    assert sql_text.is_blank(text) == is_blank


def test_a_time_without_a_zone_is_utc_on_every_machine(dated: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for zone in ("UTC", "Pacific/Auckland", "America/Los_Angeles"):
        with monkeypatch.context() as patched:
            patched.setenv("TZ", zone)
            time.tzset()
            rows.append(materialize.run(dated.job(), RunOptions(full=True, as_of=parse_datetime(NIGHT))).rows)
    time.tzset()
    assert rows == [200, 200, 200]


@pytest.mark.parametrize("rule", ['{ column = "day" }', "{ query = \"select date '2026-01-10'\" }"])
def test_a_backfill_stays_one_whatever_its_data_as_of(dated: Sandbox, rule: str) -> None:
    dated.edit("[key]", f"data_as_of = {rule}\n[key]")
    dated.query(
        "select customer, visits, spend, date '2026-01-10' as day from read_parquet('data/customers.parquet') "
        "where seen <= $as_of"
    )
    assert dated.cli("run", "churn").code == 0
    assert "kept: version 1 has newer data" in dated.cli("run", "churn", "--as-of", NIGHT).out
    assert dated.rows("select count(*) from predictions.churn") == [(1000,)]
    later = dated.cli(
        "run", "churn", "--as-of", "2026-01-03"
    )  # two nights of the past: neither takes the other's place
    assert later.code == 0
    assert dated.rows(STATES) == [(1, "published"), (2, "checked"), (3, "checked")]


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("2027-01-31", True),
        ("2027-01-31T05:00", True),
        ("2027-01-31 05:00:00", True),
        ("2027-01-31T05:00:00.123Z", True),
        ("2027-01-31T05:00:00+01:00", True),
        # The pattern accepts a day that does not exist; the task refuses it.
        ("2027-13-45", True),
        ("2027-13-45junk", False),
        ("2027-01-31T", False),
        ("on 2027-01-31", False),
    ],
)
def test_the_form_accepts_what_looks_like_a_time(text: str, is_valid: bool) -> None:
    from prescore_dags.form import form

    assert (re.search(form()["as_of"].schema["pattern"], text) is not None) == is_valid
