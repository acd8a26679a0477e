"""Retention: what goes, what stays, and who waits for whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from fix_project import Sandbox, linear
from prescore.errors import NotAllowed
from prescore.run import materialize
from prescore.versions import open_transactions, retention
from prescore.versions.rollback import rollback


@pytest.fixture
def five(sandbox: Sandbox) -> Sandbox:
    """Five versions under a retention of three."""
    sandbox.edit("versions = 3", 'versions = 3\ngrace = "0s"')
    for bias in range(5):
        sandbox.onnx(linear([1.0, -0.5], bias / 10))
        materialize.run(sandbox.job())
    return sandbox


def test_a_run_retires_what_retention_no_longer_asks_for(five: Sandbox) -> None:
    states = dict(five.rows("select version, state from prescore.versions"))
    assert states == {1: "retired", 2: "retired", 3: "superseded", 4: "superseded", 5: "published"}
    tables = five.rows("select tablename from pg_tables where schemaname = 'prescore_versions' order by 1")
    assert [name for (name,) in tables] == ["churn", "churn_v3", "churn_v4", "churn_v5"]
    kept = {path.name for path in (five.root / ".prescore/store").rglob("*") if path.is_file()}
    assert sorted(name.split(".")[0] for name in kept if name.endswith(".parquet")) == ["3", "4", "5"]
    assert len([name for name in kept if name.endswith(".onnx")]) == 3


def test_a_dry_run_only_tells(five: Sandbox) -> None:
    five.edit("versions = 3", "versions = 1")
    assert "Would retire: 3, 4" in five.cli("retire", "churn", "--dry-run").out
    assert five.rows("select count(*) from prescore.versions where state = 'retired'") == [(2,)]
    assert "Retired: 3, 4" in five.cli("retire", "churn").out
    assert five.rows("select count(*) from predictions.churn") == [(1000,)]


def test_a_version_that_is_being_read_waits(five: Sandbox) -> None:
    five.edit("versions = 3", "versions = 2")
    with five.database.connect() as reader, reader.transaction():
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select count(*) from predictions.churn")
        told = five.cli("retire", "churn")
        assert told.code == 0
        assert "Still being read, left for the next retirement: 3" in told.out
        assert reader.execute("select count(*) as rows from predictions.churn").fetchone() == {"rows": 1000}
    assert "Retired: 3" in five.cli("retire", "churn").out
    assert five.rows("select count(*) from predictions.churn") == [(1000,)]


@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
def test_a_transaction_from_before_the_publication_keeps_its_version(sandbox: Sandbox, level: str) -> None:
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    for bias in range(2):
        sandbox.onnx(linear([1.0, -0.5], bias / 10))
        if bias:
            with sandbox.database.connect() as reader, reader.transaction():
                reader.execute(f"set transaction isolation level {level}".encode())
                # Its snapshot, not yet a look at the model.
                reader.execute("select 1")
                materialize.run(sandbox.job())
                assert sandbox.cli("retire", "churn").out.endswith(
                    "Still being read, left for the next retirement: 1\n"
                )
                seen = reader.execute("select count(*), min(version), max(version) from predictions.churn").fetchone()
                assert seen == {"count": 1000, "min": 1, "max": 1}
        materialize.run(sandbox.job())
    assert sandbox.rows("select count(*) from pg_tables where tablename ~ '^churn_v'") == [(1,)]


def test_two_versions_that_are_being_read_wait_together(five: Sandbox) -> None:
    five.edit("versions = 3", "versions = 1")
    with five.database.connect() as reader, reader.transaction():
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select count(*) from predictions.churn")
        told = five.cli("retire", "churn")
        assert (told.code, "left for the next retirement: 3, 4" in told.out) == (0, True), told.err
    assert "Retired: 3, 4" in five.cli("retire", "churn").out


def test_a_withdrawn_version_takes_no_good_ones_place(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'versions = 2\ngrace = "0s"')
    for bias in range(2):
        sandbox.onnx(linear([1.0, -0.5], bias / 10))
        materialize.run(sandbox.job())
    sandbox.cli("rollback", "churn")
    sandbox.cli("release", "churn")
    sandbox.onnx(linear([1.0, -0.5], 0.2))
    materialize.run(sandbox.job())
    assert sandbox.cli("rollback", "churn").code == 0
    assert sandbox.rows("select distinct version from predictions.churn") == [(1,)]
    sandbox.edit('grace = "0s"', 'grace = "0s"\ncandidates = "0s"')
    assert "Retired: 2, 3" in sandbox.cli("retire", "churn").out


def test_a_refused_candidate_stays_for_inspection_for_its_time(sandbox: Sandbox) -> None:
    materialize.run(sandbox.job())
    sandbox.onnx(linear([1.0, -0.5], add=9.0))
    assert sandbox.cli("run", "churn").code == 4
    sandbox.cli("retire", "churn")
    assert sandbox.rows("select min(score) > 1 as wrong from prescore_versions.churn_v2") == [(True,)]
    sandbox.onnx(linear([1.0, -0.5], 0.1))
    assert sandbox.cli("run", "churn").code == 0
    assert sandbox.rows("select state from prescore.versions where version = 2") == [("refused",)]
    sandbox.edit("versions = 3", 'versions = 3\ncandidates = "0s"')
    assert "Retired: 2" in sandbox.cli("retire", "churn").out


def test_the_version_that_waits_for_its_publication_stays(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'versions = 3\ncandidates = "0s"')
    materialize.run(sandbox.job())
    sandbox.cli("hold", "churn", "--reason", "a holiday")
    for bias in (0.1, 0.2):
        sandbox.onnx(linear([1.0, -0.5], bias))
        assert sandbox.cli("run", "churn").code == 0
    assert "Retired: 2" in sandbox.cli("retire", "churn").out
    sandbox.cli("release", "churn")
    assert sandbox.cli("publish", "churn", "3").code == 0


def test_a_pinned_version_outlives_its_retention(five: Sandbox) -> None:
    five.edit("versions = 3", 'versions = 1\ncandidates = "0s"')
    assert five.cli("pin", "churn", "3", "--reason", "the audit").code == 0
    assert "Retired: 4" in five.cli("retire", "churn").out
    assert five.cli("pin", "churn", "3").code == 2
    assert five.cli("rollback", "churn", "--to", "3").code == 0
    five.cli("rollback", "churn", "--to", "5")
    assert five.cli("unpin", "churn", "3").code == 0
    assert "Retired: 3" in five.cli("retire", "churn").out
    assert five.cli("pin", "churn", "3").code == 2


def test_a_rollback_to_a_half_detached_version_shows_all_of_it(five: Sandbox) -> None:
    five.edit("versions = 3", "versions = 2")
    with five.database.connect() as reader, reader.transaction():
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select count(*) from predictions.churn")
        five.cli("retire", "churn")
    # As if the decision to retire it had never been taken.
    with five.database.connect() as connection:
        connection.execute("update prescore.versions set state = 'superseded' where version = 3")
    assert five.cli("rollback", "churn", "--to", "3").code == 0
    assert five.rows("select count(*), min(version) from predictions.churn") == [(1000, 3)]


def test_what_was_just_replaced_stays_through_its_grace(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", "versions = 1")
    for bias in (0.1, 0.2):
        sandbox.onnx(linear([1.0, -0.5], bias))
        materialize.run(sandbox.job())
    assert sandbox.rows("select state from prescore.versions where version = 1") == [("superseded",)]


def test_a_version_that_was_left_stays_through_its_grace(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'versions = 3\ncandidates = "0s"')
    for bias in (0.1, 0.2):
        sandbox.onnx(linear([1.0, -0.5], bias))
        materialize.run(sandbox.job())
    sandbox.cli("rollback", "churn")
    sandbox.cli("retire", "churn")
    assert sandbox.rows("select version from prescore.versions where state <> 'retired' order by 1") == [(1,), (2,)]
    sandbox.edit('candidates = "0s"', 'candidates = "0s"\ngrace = "0s"')
    assert "Retired: 2" in sandbox.cli("retire", "churn").out


def test_nobody_goes_back_to_what_is_just_being_retired(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for bias in (0.1, 0.2):
        sandbox.onnx(linear([1.0, -0.5], bias))
        materialize.run(sandbox.job())
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    decide = retention.due

    def decided_meanwhile(*arguments: Any) -> Any:
        with psycopg.connect(sandbox.database.url, autocommit=True) as other:
            other.execute("set lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("select from prescore.models for update")
        return decide(*arguments)

    monkeypatch.setattr(retention, "due", decided_meanwhile)
    assert "Retired: 1" in sandbox.cli("retire", "churn").out
    with sandbox.database.connect() as connection, pytest.raises(NotAllowed):
        rollback(connection, "churn")


@pytest.mark.parametrize(("seconds", "waited_for"), [(5, True), (60, False)])
def test_a_transaction_from_while_the_decision_was_being_committed_is_waited_for(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, seconds: int, *, waited_for: bool
) -> None:
    monkeypatch.setattr(open_transactions, "_PATIENCE_SECONDS", 0.0)
    with sandbox.database.connect() as reader, sandbox.database.connect() as connection, reader.transaction():
        began = reader.execute("select now()").fetchone()
        assert began is not None
        decided = began["now"] - timedelta(seconds=seconds)
        assert open_transactions.still_open(connection, decided) == ([reader.info.backend_pid] if waited_for else [])


def test_what_new_readers_see_is_not_retired_though_a_clock_was_set_back(sandbox: Sandbox) -> None:
    for bias in (0.1, 0.2):
        sandbox.onnx(linear([1.0, -0.5], bias))
        materialize.run(sandbox.job())
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    sandbox.rows("update prescore.versions set attached_at = now() + interval '1 hour' where version = 2 returning 1")
    sandbox.cli("retire", "churn")
    assert sandbox.rows("select version, count(*) from predictions.churn group by 1") == [(1, 1000)]
