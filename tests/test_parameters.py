"""Parameters of domain queries, and environment variables in specs: bound, recorded, and part of what a version is."""

from __future__ import annotations

import json

import pytest

from fix_project import Sandbox
from prescore.run import materialize
from prescore_dags import factory

WITH_PARAMETERS = """[domain]
query = "sql/domains/churn.sql"
[domain.parameters]
most = 4
path = "data/${FOLDER}customers.parquet"
[key]"""


@pytest.fixture
def few(sandbox: Sandbox) -> Sandbox:
    """Return the churn project with a query whose file and number of customers are parameters."""
    sandbox.edit('[domain]\nquery = "sql/domains/churn.sql"\n[key]', WITH_PARAMETERS)
    sandbox.query("select customer, visits, spend from read_parquet($path) where customer < $most")
    sandbox.monkeypatch.setenv("FOLDER", "./")
    return sandbox


def test_parameters_are_bound_recorded_and_compared(few: Sandbox) -> None:
    done = few.cli("run", "churn", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["rows"], report["parameters"]) == (4, {"most": 4, "path": "data/./customers.parquet"})
    few.edit("most = 4", "most = 6")
    assert few.cli("run", "churn").code == 0
    assert few.rows("select parameters ->> 'most' from prescore.versions order by version") == [("4",), ("6",)]
    compared = json.loads(few.cli("compare", "churn", "1", "2", "--json").out)
    assert compared["parameters"] == [{"parameter": "most", "a": 4, "b": 6}]
    assert "most" in few.cli("compare", "churn", "1", "2").out


def test_a_run_with_other_parameters_resumes_nothing(few: Sandbox) -> None:
    few.interrupted("finish_table")
    few.monkeypatch.setenv("FOLDER", "././")
    report = materialize.run(few.job())
    assert (report.version, report.resumed) == (2, False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("most = 4\n", "", "uses $most, which has no value. Give it a value under [domain.parameters]"),
        ("most = 4", "moost = 4", "does not use $moost. Did you mean $most?"),
        ("most = 4", "most = 4\nas_of = 1", "$as_of is the time that the run is for"),
        ("${FOLDER}", "${NOT_SET}", "domain.parameters.path: the environment variable NOT_SET is not set, or empty"),
        ("${FOLDER}", "${1}", "domain.parameters.path: ${ must begin ${NAME} or ${NAME:-default}"),
    ],
)
def test_parameters_and_variables_without_a_value_are_mistakes(few: Sandbox, old: str, new: str, message: str) -> None:
    few.edit(old, new)
    refused = few.cli("run", "churn")
    assert (refused.code, message in refused.err) == (2, True), refused.err


@pytest.mark.parametrize("key", ["unchanged_if", "data_as_of.query"])
def test_other_queries_use_parameters_too_and_have_their_own_names_in_messages(few: Sandbox, key: str) -> None:
    few.edit("most = 4", "most = 4\nday = 2026-01-01")
    few.edit("[domain.parameters]", f'{key} = "select $day"\n[domain.parameters]')
    few.edit("[freshness]", "[incremental]\n[freshness]")
    assert few.cli("run", "churn").code == 0
    few.edit("select $day", "select day from")
    refused = few.cli("run", "churn")
    assert (refused.code, f"domain.{key} failed: " in refused.err) == (2, True), refused.err


def test_a_default_counts_if_a_variable_is_not_set_or_empty(few: Sandbox) -> None:
    few.edit("${FOLDER}", "${FOLDER:-../data/}")
    for value, path in ((None, "data/../data/"), ("", "data/../data/"), ("./", "data/./")):
        few.monkeypatch.delenv("FOLDER", raising=False)
        if value is not None:
            few.monkeypatch.setenv("FOLDER", value)
        assert few.job().spec.domain.parameters["path"] == f"{path}customers.parquet"


def test_an_error_shows_the_variable_and_not_its_value(few: Sandbox) -> None:
    few.edit('max_age = "26h"', 'max_age = "${AGE}"')
    few.monkeypatch.setenv("AGE", "a-secret")
    refused = few.cli("validate", "churn")
    assert (refused.code, "${AGE}" in refused.err, "a-secret" in refused.err) == (2, True, False), refused.err


def test_two_dollar_signs_are_one(few: Sandbox) -> None:
    few.edit('description = "', 'description = "$${not a variable} ')
    assert few.job().spec.description.startswith("${not a variable}")


def test_parameters_of_a_database_keep_their_types(sandbox: Sandbox) -> None:
    sandbox.settings('[sources]\npg = "env:PG_URL"\n')
    sandbox.monkeypatch.setenv("PG_URL", sandbox.database.url)
    sandbox.edit(
        '[domain]\nquery = "sql/domains/churn.sql"\n',
        '[domain]\nquery = "sql/domains/churn.sql"\nsource = "pg"\n[domain.parameters]\n'
        'name = "O\'Brien; --"\nmost = 3\nlarge = 5000000000\n'
        "day = 2026-01-31\nat = 2026-01-31T06:00:00Z\nis_on = true\n",
    )
    sandbox.query(
        "select g::bigint as customer, 1::real as visits, length($name)::real as spend from generate_series(1, 9) g "
        "where g <= $most and $large > 4000000000 and $day + 1 = '2026-02-01' and $at = '2026-01-31 06:00Z' and $is_on"
    )
    done = sandbox.cli("run", "churn", "--json")
    assert (done.code, json.loads(done.out)["rows"]) == (0, 3), done.err
    assert json.loads(done.out)["parameters"]["day"] == "2026-01-31"


def test_a_variable_that_is_unset_where_dags_are_read_is_no_broken_spec(few: Sandbox) -> None:
    few.monkeypatch.delenv("FOLDER")
    few.edit("[freshness]", '[schedule]\ncron = "${CRON:-0 5 * * *}"\n[freshness]')
    read = factory._read_spec(few.root, "churn", is_complete=True)
    assert (read.error, read.timetable.expression) == (None, "0 5 * * *")
    few.edit("${CRON:-0 5 * * *}", "${CRON}")
    error = factory._read_spec(few.root, "churn", is_complete=True).error
    assert "schedule.cron: the environment variable CRON is not set" in str(error)
