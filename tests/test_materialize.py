"""The whole flow: what a run publishes, refuses, and leaves alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from fix_project import QUERY, Sandbox, linear
from prescore.catalog.database import Connection
from prescore.checks import expectations
from prescore.errors import DatabaseUnavailable, Refused
from prescore.run import chunk_scoring, failure, freezing, materialize, registration
from prescore.versions import hold, withheld
from prescore.versions import lease as leases
from prescore.versions.options import RunOptions


def test_a_run_publishes_every_row(sandbox: Sandbox) -> None:
    done = sandbox.cli("run", "churn", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["state"], report["published"], report["rows"], report["chunks"]) == ("published", True, 1000, 10)
    assert sandbox.rows("select count(*), count(distinct customer) as customers from predictions.churn") == [
        (1000, 1000)
    ]


def test_a_refused_version_leaves_the_old_one_served(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    refused = sandbox.cli("run", "churn", "--json")
    assert refused.code == 4
    assert "scores are probabilities" in refused.err
    assert "Version 1 is still served" in refused.err
    assert json.loads(refused.out)["state"] == "refused"
    assert sandbox.rows("select distinct version from predictions.churn") == [(1,)]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", None])
def test_a_table_that_was_tampered_with_is_refused(sandbox: Sandbox, value: str | None) -> None:
    job = sandbox.job()
    with leases.holding(job.database, "churn") as lease:
        version = registration.begin(job, lease)
        scorer = materialize.load_predictor(job, version)
        freezing.take_snapshot(job, lease, version, scorer)
        chunk_scoring.score_chunks(job, lease, version, chunk_scoring.pending_chunks(job, version), scorer)
        materialize.finish_table(job, lease, version)
        with job.database.connect() as connection:
            connection.execute("update prescore_versions.churn_v1 set score = %s where customer = 7", [value])
        with pytest.raises(Refused, match="finite: observed 1 row with a null, NaN or infinite prediction"):
            materialize.check_table(job, lease, version, expectations.build(job.spec))


def test_a_version_with_older_inputs_is_not_resumed(sandbox: Sandbox) -> None:
    clock = sandbox.root / "data/clock.csv"
    sandbox.edit("[key]", "[domain.data_as_of]\nquery = \"select seen from 'data/clock.csv'\"\n[key]")
    codes = []
    for day in ("2024-01-02", "2024-01-01", "2024-01-03"):
        clock.write_text(f"seen\n{day}\n")
        codes.append(sandbox.cli("run", "churn").code)
    assert codes == [0, 2, 0]
    assert sandbox.rows("select version, state from prescore.versions order by version") == [
        (1, "superseded"),
        (2, "checked"),
        (3, "published"),
    ]


def test_data_as_of_is_queried_before_the_rows(sandbox: Sandbox) -> None:
    clock = sandbox.root / "data/clock.csv"
    clock.write_text("seen\n2024-01-01\n")
    sandbox.edit("[key]", "[domain.data_as_of]\nquery = \"select seen from 'data/clock.csv'\"\n[key]")
    job = sandbox.job()

    def change_clock(*_: object) -> None:
        clock.write_text("seen\n2025-01-01\n")

    job.on_progress = change_clock
    report = materialize.run(job)
    assert report.data_as_of == datetime(2024, 1, 1, tzinfo=UTC)


def test_a_trial_is_checked_and_never_published(sandbox: Sandbox) -> None:
    trial = sandbox.cli("run", "churn", "--trial", "150")
    assert (trial.code, "checked, as a trial on at most 150 rows: it is never published" in trial.out) == (0, True)
    assert sandbox.rows("select count(*) from prescore_versions.churn_v1") == [(150,)]
    refused = sandbox.cli("publish", "churn", "1")
    assert (refused.code, "is a trial on at most 150 rows" in refused.err) == (2, True)
    assert sandbox.rows("select published_version from prescore.models") == [(None,)]
    assert sandbox.cli("run", "churn").code == 0
    assert sandbox.rows("select version, count(*) from predictions.churn group by version") == [(2, 1000)]


ROW_COUNT = """
[[checks]]
name = "all customers are there"
expect = "table_row_count_to_be_between"
min_value = 1000
[freshness]"""


def test_a_trial_is_a_random_sample_of_the_domain_and_the_same_one_every_time(sandbox: Sandbox) -> None:
    sandbox.edit("[freshness]", ROW_COUNT)
    samples = []
    for direction in ("", " order by customer desc"):
        sandbox.query(QUERY + direction)
        done = sandbox.cli("run", "churn", "--trial", "100", "--json")
        assert done.code == 0, done.err
        report = json.loads(done.out)
        samples.append(sandbox.rows(f"select customer from prescore_versions.churn_v{report['version']} order by 1"))
        assert "all customers are there" not in [result["name"] for result in report["checks"]]
        assert report["warnings"][-1].endswith("do not run on a trial: all customers are there.")
    assert samples[0] == samples[1]
    assert len(samples[0]) == 100
    # Of each quarter of the customers, some are in the sample.
    assert {key // 250 for (key,) in samples[0]} == {0, 1, 2, 3}
    whole = sandbox.cli("run", "churn", "--json")
    assert "all customers are there" in [result["name"] for result in json.loads(whole.out)["checks"]]


def test_a_refusal_says_that_it_was_a_trial(sandbox: Sandbox) -> None:
    sandbox.edit("max_value = 1", "max_value = 0")
    refused = sandbox.cli("run", "churn", "--trial", "1000")
    assert refused.code == 4
    assert "churn version 1, a trial on at most 1,000 rows, was refused by 1 of 5 checks:" in refused.err
    history = sandbox.cli("history", "churn").out
    assert "a trial on at most 1,000 rows: scores are probabilities: observed" in history


def test_a_trial_leaves_an_interrupted_run_alone(sandbox: Sandbox) -> None:
    sandbox.interrupted("finish_table")
    assert materialize.run(sandbox.job(), RunOptions(trial_rows=10)).rows == 10
    report = materialize.run(sandbox.job())
    assert (report.version, report.resumed, report.published) == (1, True, True)


def test_a_misspelt_check_is_refused_before_anything_is_written(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    sandbox.edit("max_value = 1", "max_valu = 1")
    misspelt = sandbox.cli("run", "churn")
    assert misspelt.code == 2, misspelt.err
    assert "max_valu" in misspelt.err
    assert sandbox.rows("select count(*) from prescore.versions") == [(1,)]


def test_a_hold_just_before_the_publication_is_not_an_error(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = withheld.waits

    def hold_meanwhile(connection: Connection, model: str, version: int) -> bool:
        result = waits(connection, model, version)
        monkeypatch.setattr(withheld, "waits", waits)
        hold.hold(connection, "churn", "in the last moment")
        return result

    monkeypatch.setattr(withheld, "waits", hold_meanwhile)
    done = sandbox.cli("run", "churn")
    assert (done.code, "churn is on hold (in the last moment)" in done.out) == (0, True), done.err


def test_a_refusal_is_raised_although_its_version_could_not_be_given_up(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_connection(*_: object) -> None:
        raise DatabaseUnavailable("connection lost")

    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    monkeypatch.setattr(failure, "give_up", lose_connection)
    monkeypatch.setattr(materialize, "PAUSES", ())
    with pytest.raises(Refused, match="scores are probabilities"):
        materialize.run(sandbox.job())
    assert sandbox.rows("select version, state from prescore.versions") == [(1, "refused")]


def test_a_refusal_whose_connection_is_lost_is_not_repeated(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    check_table = materialize.check_table

    def lose_connection(*arguments: Any) -> None:
        try:
            check_table(*arguments)
        except Refused as error:
            raise DatabaseUnavailable("connection lost") from error

    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    monkeypatch.setattr(materialize, "check_table", lose_connection)
    monkeypatch.setattr(materialize, "PAUSES", (0.0,))
    done = sandbox.cli("run", "churn")
    assert (done.code, "scores are probabilities" in done.err) == (4, True), done.err
    assert sandbox.rows("select version, state from prescore.versions") == [(1, "refused")]


def test_a_dump_of_an_unfinished_version_does_not_stop_a_new_one(sandbox: Sandbox) -> None:
    sandbox.interrupted("finish_table")
    with sandbox.database.connect() as dump, dump.transaction():
        dump.execute("lock table prescore_versions.churn_v1 in access share mode")
        assert materialize.run(sandbox.job(), RunOptions(full=True)).published
        assert sandbox.rows("select state from prescore.versions where version = 1") == [("failed",)]
    assert "Retired: 1" in sandbox.cli("retire", "churn").out
    assert sandbox.rows("select to_regclass('prescore_versions.churn_v1')") == [(None,)]
