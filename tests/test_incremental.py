"""Incremental runs: only what changed is scored and written, and the version is what a full run gives."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fix_incremental import Nights
from fix_project import linear
from prescore.errors import DomainInvalid, Refused
from prescore.run import audit
from prescore.versions import rollback
from prescore.versions.options import RunOptions

CHECKS = """
[[checks]]
name = "bounded"
expect = "column_values_to_be_between"
column = "score"
max_value = 0.5 # strict
[[checks]]
name = "mean"
expect = "column_mean_to_be_between"
column = "score"
max_value = 0.53
[[checks]]
name = "mostly"
expect = "column_values_to_not_be_null"
column = "note"
mostly = 0
[incremental]
"""


def test_each_night_scores_what_differs_from_the_base(nights: Nights) -> None:
    frame = nights.frame
    frame.loc[3, "spend"] += 1
    frame.loc[4, "note"] = "by phone"
    nights.frame = pd.concat([frame.drop(index=[5, 6]), frame.loc[[7]].rename(index={7: 5000})])
    assert nights.changes() == (996, 2, 1, 2)
    # Back again, as it was; another one has vanished; NULL is a value like any other.
    nights.frame.loc[5] = frame.loc[5]
    nights.frame = nights.frame.drop(index=[8])
    nights.frame.loc[4, "note"] = None
    nights.frame.loc[9, "note"] = ""
    assert nights.changes() == (996, 2, 1, 2)
    # No value of a model that cannot score NaN: rejected, and not served from the base.
    nights.frame.loc[[10, 11], "spend"] = np.nan
    assert nights.changes() == (994, 4, 1, 2)
    assert nights.catalog("version, rows, rejected, base_version, rows_stored") == [
        (1, 1000, 0, None, 1000),
        (2, 999, 0, 1, 5),
        (3, 999, 0, 1, 5),
        (4, 997, 2, 1, 7),
    ]
    # Nothing changed, not even the rejects.
    report = nights.run()
    assert (report.version, report.published, report.rows, report.rejected) == (5, True, 997, 2)
    assert report.changes == {
        "unchanged_since": 4,
        "carried": 997,
        "new": 0,
        "changed": 0,
        "vanished": 0,
        "rejected": 0,
        "chunks": 0,
    }
    assert [check["name"] for check in report.checks] == ["unchanged", "rejects"]
    nights.verify()
    assert nights.project.rows("select count(*), min(version), max(version) from predictions.churn") == [(997, 5, 5)]
    # A row that was rejected is served again once it can be scored.
    nights.frame.loc[10, "spend"] = 0.5
    assert nights.changes() == (994, 4, 1, 2)
    # The snapshot rejects a row without a feature, which has not vanished for that.
    nights.frame.loc[20, "visits"] = np.nan
    for _ in range(2):
        report = nights.run()
        nights.verify()
    earlier = nights.project.rows(
        "select changes->'vanished' as gone, changes->'rejected' as rejected from prescore.versions where version = 7"
    )
    assert (earlier, (report.changes or {})["unchanged_since"]) == ([(2, 1)], 7)


def test_the_base_rejected_rows_that_are_scored_again(nights: Nights) -> None:
    nights.frame.loc[[10, 11], "spend"] = np.nan
    nights.project.edit("rebase = 0.1", "rebase = 0")
    assert nights.changes() == (998, 2, 0, 0)
    nights.frame.loc[[11, 12], "spend"] = 0.25
    # Row 10 is equal and was rejected: it is scored and rejected again.
    assert nights.changes() == (997, 3, 0, 0)
    assert nights.catalog("version, rows, rejected, base_version, rows_stored") == [
        (1, 1000, 0, None, 1000),
        (2, 998, 2, None, 998),
        (3, 999, 1, None, 999),
    ]


def test_a_large_delta_is_copied_into_a_full_version_after_its_publication(nights: Nights) -> None:
    nights.frame.loc[:119, "spend"] += 1
    before = nights.expected()
    report = nights.run()
    assert (report.version, report.state, report.served) == (2, "superseded", 3)
    nights.verify(3)
    assert nights.catalog("version, state, base_version, content_version, rows_stored") == [
        (1, "superseded", None, 1, 1000),
        (2, "superseded", 1, 2, 120),
        (3, "published", None, 2, 1000),
    ]
    nights.frame.loc[0, "spend"] += 1
    assert nights.changes() == (999, 1, 0, 0)
    # Version 2 has the predictions of version 3, so the second rollback goes to version 1.
    for target in (3, 1):
        with nights.project.database.connect() as connection:
            assert rollback.rollback(connection, "churn")["version"] == target
        shown = nights.project.rows("select customer, score, note from predictions.churn order by customer")
        assert (shown == before) == (target == 3)
        assert audit.verify(nights.project.job()).identical


def test_many_changes_make_a_full_version_at_once(nights: Nights) -> None:
    nights.frame.loc[:600, "spend"] += 1
    report = nights.run()
    assert report.changes == {"reason": "more than half of the rows of version 1 have changed"}
    nights.verify()


@pytest.mark.parametrize(
    "statement",
    [
        "update prescore_versions.churn_v1 set score = 0.5 where customer = 7",
        "delete from prescore_versions.churn_v1 where customer = 7",
        # The statistics are lost, as in a crash.
        "insert into prescore_versions.churn_v1 (customer, score) values (5000, 0.5); select pg_stat_reset()",
    ],
)
def test_rows_changed_by_hand_are_scored_again_and_never_carried_over(nights: Nights, statement: str) -> None:
    nights.project.edit("[incremental]", "[comparison]\nvanished.refuse = 0.5\n[incremental]")
    with nights.project.database.connect() as connection:
        connection.execute(statement.encode())
        connection.execute("select pg_stat_force_next_flush()")
    (found,) = [line for line in nights.project.cli("doctor").out.splitlines() if "by hand" in line]
    assert "up to 1 row of its tables were inserted, updated or deleted by hand" in found
    report = nights.run()
    assert "the table of version 1 was changed by hand" in (report.changes or {})["reason"]
    if "update" not in statement:
        # It is unknown how many keys have vanished from a table with other rows.
        assert (report.served, nights.project.cli("publish", "churn", "2").code) == (1, 0)
    nights.verify(2)


@pytest.mark.parametrize("part", ["model file", "onnx.nullable, vanished.policy", "domain query"])
def test_another_model_file_spec_or_query_means_a_full_run(nights: Nights, part: str) -> None:
    if part == "model file":
        nights.project.onnx(linear([1.0, -0.5], 0.0, add=1e-9))
    elif "onnx" in part:
        # That vanished keys are remembered changes no row.
        nights.project.edit("[incremental]", '[vanished]\npolicy = "tombstone"\n[incremental]')
        nights.frame = nights.frame.drop(index=[5])
        assert nights.changes() == (999, 0, 0, 1)
        assert nights.catalog("tombstones") == [(False,), (True,)]
        nights.project.edit('nullable = ["spend"]', 'nullable = ["spend", "visits"]')
        nights.project.edit("tombstone", "keep")
    else:
        nights.project.query(
            "select note, customer, visits, spend from read_parquet('data/customers.parquet') where true"
        )
    report = nights.run()
    assert report.changes is not None
    assert re.search("(not|from) the one that version [12] was made with", report.changes["reason"])
    assert part in report.changes["reason"]
    nights.verify()


def test_a_duplicate_key_is_refused_as_in_a_full_run(nights: Nights) -> None:
    nights.frame = pd.concat([nights.frame, nights.frame.loc[[7]]])
    with pytest.raises(Exception, match=r"duplicate keys: \(7\) 2 times"):
        nights.run()
    assert nights.catalog("version, state") == [(1, "published"), (2, "refused")]


def test_rows_of_a_base_that_passed_the_same_checks_are_not_checked_again(nights: Nights) -> None:
    project = nights.project
    nights.frame.loc[3, "spend"] += 1
    project.edit("[incremental]", CHECKS)
    # The base passed other checks.
    with pytest.raises(Refused, match=r"bounded: observed 4\d\d unexpected values, such as"):
        nights.run()
    project.edit("max_value = 0.5 # strict", "max_value = 0.99")
    nights.run(RunOptions(full=True))
    nights.frame.loc[3, "spend"] += 1
    nights.frame = pd.concat([nights.frame, nights.frame.loc[[7]].rename(index={7: 5000})]).drop(index=8)
    checks = {result["name"]: result["observed"] for result in nights.run().checks}
    assert checks == {
        "rows": 1000,
        "rejects": "0 rejected rows",
        "keys": "unique and not null",
        "finite": "0 rows with a null, NaN or infinite prediction in the 2 rows that differ from version 3",
        "bounded": "0 unexpected values in the 2 rows that differ from version 3",
        "mean": pytest.approx(0.5, abs=0.01),
        "mostly": "1,000 unexpected values, such as null",
    }
    # One row has too high a score. The others have the same mean as before, and raise the mean of the whole version.
    nights.frame.loc[nights.frame["visits"].nsmallest(400).index, ["visits", "spend"]] = 0.0
    nights.frame.loc[1, "spend"] = -50.0
    with pytest.raises(Refused) as refused:
        nights.run()
    lines = str(refused.value).splitlines()
    assert lines[0] == "churn version 5 was refused by 2 of 7 checks:"
    assert lines[1].startswith("  bounded: observed 1 unexpected value in the 4")
    assert "rows that differ from version 3, such as 1; expected at most 0.99" in lines[1]
    assert lines[2].startswith("  mean: observed 0.5")
    # Other checks are about all rows again.
    project.edit("max_value = 0.99", "max_value = 1")
    project.edit("max_value = 0.53", "max_value = 1")
    done = project.cli("check-again", "churn", "5")
    assert (done.code, "bounded: 0 unexpected values\n" in done.out) == (0, True), done.out


def test_rows_of_a_delta_that_were_changed_by_hand_fail_its_checks(nights: Nights) -> None:
    nights.frame.loc[3, "spend"] += 1
    nights.frame = pd.concat([nights.frame.drop(index=5), nights.frame.loc[[7]].rename(index={7: 5000})])
    nights.write()
    nights.project.interrupted("check_table")
    with nights.project.database.connect() as connection:
        connection.execute('delete from prescore_versions."churn_v2_DELTA" where customer = 5000')
        connection.execute("update prescore_versions.\"churn_v2_DELTA\" set score = 'NaN' where customer = 3")
    with pytest.raises(Refused) as refused:
        nights.run()
    assert [result["observed"] for result in refused.value.checks if not result["passed"]] == [
        999,
        "1 row with a null, NaN or infinite prediction in the 1 row that differs from version 1",
    ]


def test_a_source_that_has_not_changed_is_not_read(nights: Nights) -> None:
    project = nights.project
    stamp = "select max(day) from read_parquet('data/log.parquet')"
    project.data(pa.table({"day": [1, 2]}), "log")
    project.edit("[key]", f'unchanged_if = "{stamp}"\n[key]')
    nights.frame.loc[0, "spend"] += 1
    assert nights.changes() == (999, 1, 0, 0)
    shown = nights.expected()
    # The value is the same: these customers are not read.
    nights.frame.loc[1, "spend"] += 1
    report = nights.run()
    assert (report.changes or {})["unchanged_since"] == 2
    assert project.rows("select customer, score, note from predictions.churn order by customer") == shown
    assert project.rows(
        "select snapshot_location from prescore.versions where version > 1 group by 1 having count(*) = 2"
    )
    # Another value, another query with the same value, no value: they are read.
    project.data(pa.table({"day": [1, 3]}), "log")
    assert nights.changes() == (998, 2, 0, 0)
    nights.frame.loc[2, "spend"] += 1
    project.edit("select max(day)", "select min(day) + 2")
    assert nights.changes() == (997, 3, 0, 0)
    nights.frame.loc[3, "spend"] += 1
    project.data(pa.table({"day": pa.array([None], pa.int64())}), "log")
    assert nights.changes() == (996, 4, 0, 0)
    nights.frame.loc[4, "spend"] += 1
    assert nights.changes() == (995, 5, 0, 0)
    project.data(pa.table({"day": []}), "log")
    project.edit("select min(day) + 2", "select day + 2")
    with pytest.raises(DomainInvalid, match="unchanged_if must return one row with one value"):
        nights.run()


def test_other_parameters_or_another_time_are_a_change_of_the_source(nights: Nights) -> None:
    project = nights.project
    project.edit("[key]", 'unchanged_if = "select 1"\nparameters = { least = -9.0 }\n[key]')
    project.query(
        "select customer, visits, spend, note from read_parquet('data/customers.parquet') where visits > $least"
    )
    nights.run()
    project.edit("least = -9.0", "least = 0.0")
    report = nights.run()
    nights.frame = nights.frame[nights.frame["visits"] > 0]
    nights.verify(report.version)
    project.query(
        "select customer, visits, spend, note from read_parquet('data/customers.parquet') "
        "where visits > $least and customer < date_part('year', $as_of)"
    )
    nights.run()
    past = RunOptions(as_of=datetime(500, 1, 1, tzinfo=UTC))
    report = nights.run(past)
    nights.frame = nights.frame[nights.frame.index < 500]
    assert report.backfill
    assert report.rows == len(nights.frame)
    assert audit.verify(project.job(), report.version).identical
