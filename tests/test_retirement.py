"""Retention: which versions are kept and why, which are retired, and what waits for readers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest

from fix_project import Sandbox, linear
from prescore.catalog.catalog import Version
from prescore.errors import NotAllowed
from prescore.project.spec import Retention
from prescore.public.project import Project
from prescore.run import materialize
from prescore.versions import open_transactions
from prescore.versions.retention import Inventory
from prescore.versions.rollback import rollback

NOW = datetime(2026, 1, 31, tzinfo=UTC)
RETENTION = Retention.model_validate({"versions": 3, "grace": "1h", "candidates": "2d", "backfills": "30d"})


def _version(number: int, state: str, **columns: Any) -> Version:
    """Return a version's row as far as retention reads it. It began, was checked and superseded long ago."""
    long_ago = NOW - timedelta(days=365)
    row = {
        "version": number,
        "state": state,
        "started_at": long_ago + timedelta(hours=number),
        "data_as_of": long_ago,
        "checked_at": long_ago,
        "superseded_at": long_ago,
        "withdrawn_at": None,
        "pinned_at": None,
        "as_of": None,
        "trial_rows": None,
        "rows_version": number,
        "base_version": None,
        "content_version": number,
    }
    return cast("Version", row | columns)


def _decisions(*newest_first: Version, retention: Retention = RETENTION, visible: int = 0) -> dict[int, str | None]:
    """Return the reason to keep each version, None for those that are to be retired."""
    inventory = Inventory(newest_first, retention, NOW, visible)
    decisions = {version["version"]: inventory.reason_to_keep(version) for version in inventory.existing()}
    retirable = [version["version"] for version in inventory.retirable()]
    assert retirable == sorted(number for number, reason in decisions.items() if reason is None)
    return decisions


def test_the_published_version_and_the_newest_good_ones_are_kept() -> None:
    good = "it is among the newest 3 good versions (retention.versions)"
    superseded = [_version(number, "superseded") for number in (4, 3, 2, 1)]
    assert _decisions(_version(5, "published"), *superseded) == {
        5: "it is published",
        4: good,
        3: good,
        2: None,
        1: None,
    }


def test_withdrawn_and_pinned_versions_take_no_place_of_a_good_one() -> None:
    decisions = _decisions(
        _version(6, "published"),
        _version(5, "superseded", withdrawn_at=NOW - timedelta(days=9)),
        _version(4, "superseded", pinned_at=NOW),
        _version(3, "superseded"),
        _version(2, "superseded"),
        _version(1, "superseded"),
    )
    good = "it is among the newest 3 good versions (retention.versions)"
    assert decisions == {6: "it is published", 5: None, 4: "it is pinned", 3: good, 2: good, 1: None}


def test_a_superseded_version_is_kept_for_its_grace() -> None:
    retention = RETENTION.model_copy(update={"versions": 1})
    superseded = [
        _version(2, "superseded", superseded_at=NOW - timedelta(minutes=59)),
        _version(1, "superseded", superseded_at=NOW - timedelta(minutes=60)),
    ]
    assert _decisions(_version(3, "published"), *superseded, retention=retention) == {
        3: "it is published",
        2: "it was superseded 59 min ago, and retention.grace is 60 min",
        1: None,
    }


@pytest.mark.parametrize(
    ("candidates", "reason"),
    [
        ("2h", "it was withdrawn 50 min ago, and retention.candidates is 2 h"),
        ("10m", "it was withdrawn 50 min ago, and retention.grace is 60 min"),
    ],
)
def test_a_withdrawn_version_is_kept_for_inspection_and_at_least_for_its_grace(candidates: str, reason: str) -> None:
    retention = Retention.model_validate({"versions": 1, "grace": "1h", "candidates": candidates})
    decisions = _decisions(
        _version(3, "superseded", withdrawn_at=NOW - timedelta(minutes=50)),
        _version(2, "superseded", withdrawn_at=NOW - timedelta(hours=3)),
        _version(1, "published"),
        retention=retention,
    )
    assert decisions == {3: reason, 2: None, 1: "it is published"}


@pytest.mark.parametrize("candidate", [{"state": "refused"}, {"state": "checked", "trial_rows": 10}])
def test_a_candidate_is_kept_for_inspection(candidate: dict[str, Any]) -> None:
    state = candidate.pop("state")
    decisions = _decisions(
        _version(3, state, **candidate, checked_at=NOW - timedelta(hours=47)),
        _version(2, state, **candidate, checked_at=NOW - timedelta(hours=48)),
        _version(1, "published"),
    )
    assert decisions == {
        3: "it was checked 47 h ago, and retention.candidates is 2 d",
        2: None,
        1: "it is published",
    }


def test_only_the_newest_version_that_waits_to_be_published_is_kept() -> None:
    decisions = _decisions(
        _version(4, "checked", trial_rows=10),
        _version(3, "checked"),
        _version(2, "checked"),
        _version(1, "published"),
    )
    assert decisions == {
        4: None,
        3: "it passed its checks and waits to be published",
        2: None,
        1: "it is published",
    }


def test_a_version_older_than_the_published_one_does_not_wait_to_be_published() -> None:
    assert _decisions(_version(2, "published"), _version(1, "checked")) == {2: "it is published", 1: None}


def test_a_backfill_is_kept_for_its_own_time() -> None:
    earlier = NOW - timedelta(days=400)
    decisions = _decisions(
        _version(4, "checked", as_of=earlier, checked_at=NOW - timedelta(days=29)),
        _version(3, "checked", as_of=earlier, checked_at=NOW - timedelta(days=30)),
        _version(2, "checked", as_of=earlier, pinned_at=NOW),
        _version(1, "published"),
    )
    assert decisions == {
        4: "it was checked 29 d ago, and retention.backfills is 30 d",
        3: None,
        2: "it is pinned",
        1: "it is published",
    }


def test_a_version_that_readers_still_see_is_kept() -> None:
    retention = RETENTION.model_copy(update={"versions": 1})
    decisions = _decisions(_version(2, "published"), _version(1, "superseded"), retention=retention, visible=1)
    assert decisions[1] == "readers still see it: the server's clock was set back"


def test_unfinished_versions_are_kept() -> None:
    decisions = _decisions(_version(2, "building"), _version(1, "staged"))
    assert decisions == {2: "it is unfinished", 1: "it is unfinished"}


def test_failed_and_retired_versions_are_not_retired_again() -> None:
    assert _decisions(_version(2, "failed"), _version(1, "retired")) == {}


@pytest.fixture
def five(sandbox: Sandbox) -> Sandbox:
    """A project with five versions, of which retention keeps three."""
    sandbox.edit("versions = 3", 'versions = 3\ngrace = "0s"')
    for bias in range(5):
        sandbox.onnx(linear([1.0, -0.5], bias / 10))
        materialize.run(sandbox.job())
    return sandbox


def test_a_run_retires_the_versions_that_nothing_keeps(five: Sandbox) -> None:
    states = dict(five.rows("select version, state from prescore.versions"))
    assert states == {1: "retired", 2: "retired", 3: "superseded", 4: "superseded", 5: "published"}
    tables = five.rows("select tablename from pg_tables where schemaname = 'prescore_versions' order by 1")
    assert [name for (name,) in tables] == ["churn", "churn_v3", "churn_v4", "churn_v5"]
    kept = {path.name for path in (five.root / ".prescore/store").rglob("*") if path.is_file()}
    assert sorted(name.split(".")[0] for name in kept if name.endswith(".parquet")) == ["3", "4", "5"]
    assert len([name for name in kept if name.endswith(".onnx")]) == 3


def test_a_dry_run_only_shows_what_would_be_retired(five: Sandbox) -> None:
    five.edit("versions = 3", "versions = 1")
    preview = five.cli("retire", "churn", "--dry-run").out
    assert preview.splitlines() == [
        "Version 5 (published): kept: it is published",
        "Version 4 (superseded): would be retired",
        "Version 3 (superseded): would be retired",
        "Would retire: 3, 4",
    ]
    assert five.rows("select count(*) from prescore.versions where state = 'retired'") == [(2,)]
    assert "Retired: 3, 4" in five.cli("retire", "churn").out
    assert five.rows("select count(*) from predictions.churn") == [(1000,)]


def test_a_model_whose_spec_was_removed_has_the_default_retention(five: Sandbox) -> None:
    five.rows("update prescore.versions set superseded_at = superseded_at - interval '1 day' returning version")
    (five.root / "specs/churn.toml").unlink()
    outcome = five.cli("retire", "churn")
    assert (outcome.code, "Version 5 (published): kept" in five.cli("retire", "churn", "--dry-run").out) == (0, True)
    assert "There is no spec" in five.cli("retire", "chrun").err


def test_a_version_that_is_being_read_is_left_for_the_next_time(five: Sandbox) -> None:
    five.edit("versions = 3", "versions = 2")
    with five.database.connect() as reader, reader.transaction():
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select count(*) from predictions.churn")
        retired = five.cli("retire", "churn")
        assert retired.code == 0
        assert "Still being read, left for the next retirement: 3" in retired.out
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
                # The transaction takes its snapshot here, and does not read the model yet.
                reader.execute("select 1")
                materialize.run(sandbox.job())
                assert "Still being read, left for the next retirement: 1\n" in sandbox.cli("retire", "churn").out
                seen = reader.execute("select count(*), min(version), max(version) from predictions.churn").fetchone()
                assert seen == {"count": 1000, "min": 1, "max": 1}
        materialize.run(sandbox.job())
    assert sandbox.rows("select count(*) from pg_tables where tablename ~ '^churn_v'") == [(1,)]


def test_two_versions_that_are_being_read_are_left_for_the_next_time(five: Sandbox) -> None:
    five.edit("versions = 3", "versions = 1")
    with five.database.connect() as reader, reader.transaction():
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select count(*) from predictions.churn")
        retired = five.cli("retire", "churn")
        assert (retired.code, "left for the next retirement: 3, 4" in retired.out) == (0, True), retired.err
    assert "Retired: 3, 4" in five.cli("retire", "churn").out


def test_a_withdrawn_version_does_not_count_as_a_good_one(sandbox: Sandbox) -> None:
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


def test_a_refused_version_is_kept_for_inspection(sandbox: Sandbox) -> None:
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


def test_the_version_that_waits_to_be_published_is_kept(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'versions = 3\ncandidates = "0s"')
    materialize.run(sandbox.job())
    sandbox.cli("hold", "churn", "--reason", "a holiday")
    for bias in (0.1, 0.2):
        sandbox.onnx(linear([1.0, -0.5], bias))
        assert sandbox.cli("run", "churn").code == 0
    assert "Retired: 2" in sandbox.cli("retire", "churn").out
    sandbox.cli("release", "churn")
    assert sandbox.cli("publish", "churn", "3").code == 0


def test_a_pinned_version_is_kept(five: Sandbox) -> None:
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
    # As if the catalog had never recorded the retirement.
    with five.database.connect() as connection:
        connection.execute("update prescore.versions set state = 'superseded' where version = 3")
    assert five.cli("rollback", "churn", "--to", "3").code == 0
    assert five.rows("select count(*), min(version) from predictions.churn") == [(1000, 3)]


def test_other_objects_on_a_versions_table_keep_it_and_nothing_else(
    five: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    with five.database.connect() as connection:
        connection.execute("create view public.march as select * from prescore_versions.churn_v3")
        connection.execute("create materialized view public.april as select * from prescore_versions.churn_v3")
        connection.execute(
            "create table public.orders (customer bigint references prescore_versions.churn_v4 (customer))"
        )
    five.edit("versions = 3", 'versions = 1\ncandidates = "0s"')
    retired = five.cli("retire", "churn")
    assert retired.code == 0, retired.err
    assert "Retired: nothing" in retired.out
    assert "Version 3 keeps its table, because these objects depend on it: materialized view april, view march" in (
        retired.out
    )
    assert "Version 4 keeps its table, because these objects depend on it: constraint orders_customer" in retired.out
    assert "Drop them, and the next retirement drops the table." in retired.out
    # Everything was said once.
    assert "depend on it" not in retired.err + caplog.text
    # A run that has published is not failed by them, either.
    assert five.cli("run", "churn", "--full").code == 0
    assert "churn_v3 is retired, but stays on disk, because these objects depend on it" in caplog.text
    with five.database.connect() as connection:
        connection.execute("drop view public.march; drop materialized view public.april; drop table public.orders")
    five.cli("retire", "churn")
    assert five.rows("select to_regclass('prescore_versions.churn_v3')") == [(None,)]


def test_two_retirements_at_the_same_time_are_harmless(five: Sandbox) -> None:
    five.edit("versions = 3", 'versions = 1\ncandidates = "0s"')
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(Project(five.root).retire, "churn") for _ in range(2)]
        for one in both:
            one.result()
    # What one of them left because of the other, the next one drops.
    assert five.cli("retire", "churn").code == 0
    assert five.rows("select relname from pg_class where relname ~ '^churn_v[0-9]$'") == [("churn_v5",)]


def test_a_publication_of_all_tables_stops_neither_a_run_nor_its_retirement(five: Sandbox) -> None:
    with five.database.connect() as connection:
        connection.execute("create publication cdc for all tables")
    five.edit("versions = 3", "versions = 1")
    assert five.cli("run", "churn", "--full").code == 0
    assert five.rows("select count(*) from prescore.versions where state = 'retired'") == [(5,)]


def test_a_version_that_was_just_superseded_is_kept_for_its_grace(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", "versions = 1")
    for bias in (0.1, 0.2):
        sandbox.onnx(linear([1.0, -0.5], bias))
        materialize.run(sandbox.job())
    assert sandbox.rows("select state from prescore.versions where version = 1") == [("superseded",)]


def test_a_withdrawn_version_is_kept_for_its_grace(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'versions = 3\ncandidates = "0s"')
    for bias in (0.1, 0.2):
        sandbox.onnx(linear([1.0, -0.5], bias))
        materialize.run(sandbox.job())
    sandbox.cli("rollback", "churn")
    sandbox.cli("retire", "churn")
    assert sandbox.rows("select version from prescore.versions where state <> 'retired' order by 1") == [(1,), (2,)]
    sandbox.edit('candidates = "0s"', 'candidates = "0s"\ngrace = "0s"')
    assert "Retired: 2" in sandbox.cli("retire", "churn").out


def test_a_rollback_waits_for_a_retirement_under_way(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for bias in (0.1, 0.2):
        sandbox.onnx(linear([1.0, -0.5], bias))
        materialize.run(sandbox.job())
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    retirable = Inventory.retirable

    def require_lock(inventory: Inventory) -> list[Version]:
        with psycopg.connect(sandbox.database.url, autocommit=True) as other:
            other.execute("set lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("select from prescore.models for update")
        return retirable(inventory)

    monkeypatch.setattr(Inventory, "retirable", require_lock)
    assert "Retired: 1" in sandbox.cli("retire", "churn").out
    with sandbox.database.connect() as connection, pytest.raises(NotAllowed):
        rollback(connection, "churn")


@pytest.mark.parametrize(("seconds", "waited_for"), [(5, True), (60, False)])
def test_a_transaction_that_began_while_the_retirement_was_committed_is_waited_for(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, seconds: int, *, waited_for: bool
) -> None:
    monkeypatch.setattr(open_transactions, "_PATIENCE_SECONDS", 0.0)
    with sandbox.database.connect() as reader, sandbox.database.connect() as connection, reader.transaction():
        began = reader.execute("select now()").fetchone()
        assert began is not None
        retired_at = began["now"] - timedelta(seconds=seconds)
        expected = [reader.info.backend_pid] if waited_for else []
        assert open_transactions.still_open(connection, retired_at) == expected


def test_a_version_that_readers_still_see_is_kept_although_it_is_superseded(sandbox: Sandbox) -> None:
    for bias in (0.1, 0.2):
        sandbox.onnx(linear([1.0, -0.5], bias))
        materialize.run(sandbox.job())
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    sandbox.rows("update prescore.versions set attached_at = now() + interval '1 hour' where version = 2 returning 1")
    preview = sandbox.cli("retire", "churn", "--dry-run").out
    assert "Version 1 (superseded): kept: readers still see it: the server's clock was set back" in preview
    sandbox.cli("retire", "churn")
    assert sandbox.rows("select version, count(*) from predictions.churn group by 1") == [(1, 1000)]
