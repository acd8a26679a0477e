"""Runs for a time of the past: what the query is told, what becomes of the version, and who is in whose way."""

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
from prescore.versions.options import RunOptions

NIGHT = "2026-01-02"
STATES = "select version, state from prescore.versions order by version"


@pytest.fixture
def dated(sandbox: Sandbox) -> Sandbox:
    """A hundred customers came on each of ten days from 2026-01-01, at midnight UTC."""
    days = [datetime.datetime(2026, 1, 1 + n // 100) for n in range(1000)]  # noqa: DTZ001 # a column without zone
    sandbox.data(customers().append_column("seen", pa.array(days, pa.timestamp("us"))))
    sandbox.query("select customer, visits, spend from read_parquet('data/customers.parquet') where seen <= $as_of")
    return sandbox


def test_the_query_is_told_the_time(dated: Sandbox) -> None:
    report = json.loads(dated.cli("run", "churn", "--as-of", "2026-01-02T01:00:00+01:00", "--json").out)
    assert (report["rows"], report["published"], report["backfill"]) == (200, True, False)
    assert report["as_of"] == report["data_as_of"]
    assert parse_datetime(report["as_of"]) == parse_datetime(NIGHT)


def test_without_a_time_it_is_that_of_the_run(dated: Sandbox) -> None:
    report = json.loads(dated.cli("run", "churn", "--json").out)
    assert (report["rows"], report["as_of"]) == (1000, None)
    assert dated.cli("validate", "churn").out == "churn: spec, model and domain fit; 1,000 rows\n"
    assert dated.rows("select data_as_of = started_at from prescore.versions") == [(True,)]


def test_a_version_is_backfill_is_kept_beside_what_is_served(dated: Sandbox) -> None:
    dated.edit("versions = 3", 'versions = 3\ncandidates = "0s"\ngrace = "0s"')
    assert dated.cli("run", "churn").code == 0
    told = dated.cli("run", "churn", "--as-of", NIGHT)
    assert told.code == 0, told.err
    assert (
        "kept: version 1 has newer data; `prescore publish churn 2 --allow-older` publishes this one anyway" in told.out
    )
    assert dated.cli("retire", "churn").code == 0
    assert dated.rows(STATES) == [(1, "published"), (2, "checked")]
    dated.edit('candidates = "0s"', 'candidates = "0s"\nbackfills = "0s"')
    assert "Retired: 2" in dated.cli("retire", "churn").out


def test_a_version_is_backfill_does_not_wait_for_its_publication(dated: Sandbox) -> None:
    assert dated.cli("run", "churn").code == 0
    assert dated.cli("run", "churn", "--as-of", NIGHT).code == 0
    dated.cli("hold", "churn", "--reason", "a holiday")
    assert "waits" not in dated.cli("release", "churn").out
    assert dated.cli("publish", "churn", "2").code == 2
    assert dated.cli("publish", "churn", "2", "--allow-older").code == 0
    assert dated.rows("select count(*) from predictions.churn") == [(200,)]


@pytest.mark.parametrize(
    ("as_of", "query", "why"),
    [
        ("2026-01-02", "select customer, visits, spend from read_parquet('data/customers.parquet') -- $as_of", "would"),
        ("2026-01-02", "select customer, visits, spend from 'data/customers.parquet' where '$as_of' <> ''", "would"),
        ("2999-01-01", None, "that is yet to come"),
        ("yesterday", None, "'yesterday' is not a valid time. Use, for example, 2026-01-31"),
    ],
)
def test_a_time_that_means_nothing_is_refused(dated: Sandbox, as_of: str, query: str | None, why: str) -> None:
    if query:
        dated.query(query)
    done = dated.cli("run", "churn", "--as-of", as_of)
    assert (done.code, why in done.err) == (2, True), done.err
    assert dated.rows(
        "select to_regclass('prescore.versions') is null or not exists (select from pg_class "
        "where relname = 'churn_v1')"
    ) == [(True,)]


def test_another_parameter_is_told(dated: Sandbox) -> None:
    dated.query("select customer, visits, spend from read_parquet('data/customers.parquet') where seen <= $until")
    done = dated.cli("run", "churn")
    assert (done.code, "until" in done.err) == (2, True), done.err


def test_an_interrupted_night_is_gone_on_with_for_the_same_night_only(dated: Sandbox) -> None:
    asked = [RunOptions(as_of=parse_datetime(night)) for night in ("2026-01-05", "2026-01-04")]
    dated.interrupted("finish_table", asked[0])
    # Of an earlier night: it takes nothing from the later.
    assert materialize.run(dated.job(), asked[1]).version == 2
    report = materialize.run(dated.job(), asked[0])
    assert (report.version, report.resumed, report.rows, report.published) == (1, True, 500, True)
    dated.interrupted("finish_table", asked[0])
    assert materialize.run(dated.job()).version == 4
    assert dated.rows(STATES)[2] == (3, "failed")


def test_a_run_that_goes_on_asks_for_the_time_at_which_it_began(dated: Sandbox) -> None:
    dated.query("select customer, visits, spend, $as_of as seen from read_parquet('data/customers.parquet')")
    dated.edit("[onnx]", '[passthrough]\nseen = "timestamptz"\n[onnx]')
    dated.interrupted("score_chunks")
    assert materialize.run(dated.job()).resumed
    assert dated.rows("select distinct seen = data_as_of from predictions.churn") == [(True,)]


def test_a_database_is_told_the_time_too(dated: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
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
    dated.query(
        "select customer::bigint, visits, spend from customers -- up to $as_of: 100%\n"
        "where seen <= $as_of and note like 'a:b 100\\%' and note <> ':as_of $as_of'"
    )
    report = materialize.run(dated.job(), RunOptions(as_of=parse_datetime(NIGHT)))
    assert report.rows == 200
    assert materialize.run(dated.job()).rows == 1000


def test_a_time_without_zone_means_the_same_on_every_machine(dated: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for zone in ("UTC", "Pacific/Auckland", "America/Los_Angeles"):
        with monkeypatch.context() as patched:
            patched.setenv("TZ", zone)
            time.tzset()
            rows.append(materialize.run(dated.job(), RunOptions(full=True, as_of=parse_datetime(NIGHT))).rows)
    time.tzset()
    assert rows == [200, 200, 200]


@pytest.mark.parametrize("rule", ['{ column = "day" }', "{ query = \"select date '2026-01-10'\" }"])
def test_a_rule_for_the_clock_makes_no_version_is_backfill_a_new_one(dated: Sandbox, rule: str) -> None:
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
    ("text", "taken"),
    [
        ("2027-01-31", True),
        ("2027-01-31T05:00", True),
        ("2027-01-31 05:00:00", True),
        ("2027-01-31T05:00:00.123Z", True),
        ("2027-01-31T05:00:00+01:00", True),
        # No such day, which the task tells.
        ("2027-13-45", True),
        ("2027-13-45junk", False),
        ("2027-01-31T", False),
        ("on 2027-01-31", False),
    ],
)
def test_the_form_takes_what_looks_like_a_time(text: str, taken: bool) -> None:
    from prescore_dags.form import form

    assert (re.search(form()["as_of"].schema["pattern"], text) is not None) == taken
