"""Publications, rollbacks and holds: what readers see, and when."""

from __future__ import annotations

import json
import threading
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from fix_project import Sandbox, linear
from prescore.catalog.catalog import Catalog
from prescore.catalog.database import Connection
from prescore.errors import NotAllowed
from prescore.run import materialize
from prescore.versions import hold, partitions, pointer
from prescore.versions.rollback import rollback

HOLD = "select hold_reason from prescore.models"
VERSION = b"select min(version) as low, max(version) as high, count(*) as rows from predictions.churn"


def _run(sandbox: Sandbox, bias: float) -> int:
    """Publish a version with scores that depend on the bias, and return its number."""
    sandbox.onnx(linear([1.0, -0.5], bias))
    return materialize.run(sandbox.job()).version


def _seen(connection: psycopg.Connection[dict[str, int]]) -> tuple[int, ...]:
    row = connection.execute(VERSION).fetchone()
    assert row is not None
    return tuple(row.values())


def test_rolling_back_twice_goes_further_back(sandbox: Sandbox) -> None:
    for bias in (0.1, 0.2, 0.3):
        _run(sandbox, bias)
    first = sandbox.cli("rollback", "churn", "--reason", "scores look odd")
    assert first.code == 0
    assert sandbox.rows("select distinct version from predictions.churn") == [(2,)]
    assert sandbox.rows(HOLD) == [("scores look odd",)]
    assert sandbox.cli("rollback", "churn").code == 0
    assert sandbox.rows("select distinct version from predictions.churn") == [(1,)]
    # The reason of the earlier rollback does not explain this one.
    assert sandbox.rows(HOLD) == [("rolled back from version 2 to 1",)]
    third = sandbox.cli("rollback", "churn")
    assert third.code == 2
    assert "no earlier good version" in third.err
    assert sandbox.cli("rollback", "churn", "--to", "3").code == 0
    assert sandbox.rows("select distinct version from predictions.churn") == [(3,)]


def test_a_rolled_back_model_is_on_hold_until_released(sandbox: Sandbox) -> None:
    _run(sandbox, 0.1)
    _run(sandbox, 0.2)
    rolled_back = sandbox.cli("rollback", "churn", "--reason", "scores look odd")
    leftover = "models/churn.onnx is still the file of version 2: replace it before the next run."
    assert leftover in rolled_back.out
    tonight = sandbox.cli("run", "churn", "--json")
    assert tonight.code == 0
    report = json.loads(tonight.out)
    assert (report["state"], report["published"], report["served"], report["held"]) == (
        "checked",
        False,
        1,
        "scores look odd",
    )
    refused = sandbox.cli("publish", "churn", "3")
    assert refused.code == 2
    assert "scores look odd" in refused.err
    assert leftover in sandbox.cli("release", "churn").out
    assert sandbox.cli("publish", "churn", "3").code == 0
    assert sandbox.rows("select distinct version from predictions.churn") == [(3,)]


def test_a_model_file_that_was_replaced_needs_no_reminder(sandbox: Sandbox) -> None:
    _run(sandbox, 0.1)
    _run(sandbox, 0.2)
    sandbox.cli("rollback", "churn")
    sandbox.onnx(linear([1.0, -0.5], 0.1))
    assert "replace it" not in sandbox.cli("release", "churn").out
    sandbox.cli("hold", "churn", "--reason", "no files here")
    (sandbox.root / "specs/churn.toml").unlink()
    released = sandbox.cli("release", "churn")
    assert (released.code, released.out) == (0, "churn is released: the next run publishes again.\n")


def test_no_publish_checks_a_version_and_stops(sandbox: Sandbox) -> None:
    done = sandbox.cli("run", "churn", "--no-publish", "--json")
    assert (done.code, json.loads(done.out)["state"]) == (0, "checked")
    assert sandbox.rows("select to_regclass('predictions.churn') is null as absent") == [(True,)]


def test_older_inputs_are_published_only_with_allow_older(sandbox: Sandbox) -> None:
    _run(sandbox, 0.1)
    sandbox.rows("update prescore.versions set data_as_of = now() + interval '1 hour' returning version")
    older = sandbox.cli("run", "churn")
    assert older.code == 2
    assert "churn version 2 has data as of" in older.err
    # What follows concerns a version that was never published, so that a rollback does not lead to it.
    assert older.err.endswith("To publish it anyway, run `prescore publish churn 2 --allow-older`.\n")
    assert "rollback" not in older.err
    tried = sandbox.cli("canary", "churn", "2", "--share", "0.1")
    assert tried.code == 2
    assert tried.err.endswith("run `prescore canary churn 2 --share 0.1 --allow-older`.\n")
    assert "publish churn 2" not in tried.err
    assert sandbox.rows("select distinct version from predictions.churn") == [(1,)]
    assert sandbox.cli("publish", "churn", "2").code == 2
    assert sandbox.cli("publish", "churn", "2", "--allow-older").code == 0
    assert sandbox.rows("select distinct version from predictions.churn") == [(2,)]


def test_several_models_are_published_together_or_not_at_all(sandbox: Sandbox) -> None:
    sandbox.spec((sandbox.root / "specs/churn.toml").read_text(), "upsell")
    for model in ("churn", "upsell"):
        assert sandbox.cli("run", model, "--no-publish").code == 0
    assert "models and versions in turn" in sandbox.cli("publish", "churn", "1", "upsell").err
    unknown = sandbox.cli("publish", "churn", "1", "upsell", "7")
    assert unknown.code == 2
    assert "upsell has no version 7" in unknown.err
    assert sandbox.rows("select * from predictions.freshness") == []
    assert sandbox.cli("publish", "churn", "1", "upsell", "1").code == 0
    assert sandbox.rows("select model, version from predictions.freshness order by 1") == [("churn", 1), ("upsell", 1)]
    assert sandbox.rows("select count(distinct attached_at) from prescore.versions") == [(1,)]


@pytest.mark.parametrize("state", ["refused", "building", "published"])
def test_only_checked_versions_are_published(sandbox: Sandbox, connection: Connection, state: str) -> None:
    _run(sandbox, 0.1)
    if state != "published":
        sandbox.onnx(linear([1.0, -0.5], add=7.0))
        sandbox.cli("run", "churn")
        connection.execute("update prescore.versions set state = %s where version = 2", [state])
    with pytest.raises(NotAllowed, match=r"version [12] (was refused|is still being built|is already)"):
        pointer.publish(connection, "churn", 1 if state == "published" else 2)
    assert sandbox.rows("select distinct version from predictions.churn") == [(1,)]


def test_a_repeatable_read_transaction_sees_one_whole_version(sandbox: Sandbox) -> None:
    _run(sandbox, 0.1)
    scoring, seen = threading.Event(), threading.Event()

    def pause(step: str, _rows: int, _total: int | None) -> None:
        if step == "score" and not scoring.is_set():
            scoring.set()
            assert seen.wait(30)

    job = sandbox.job()
    job.on_progress = pause
    sandbox.onnx(linear([1.0, -0.5], 0.9))
    running = threading.Thread(target=materialize.run, args=[job])
    with sandbox.database.connect() as reader:
        reader.execute("begin isolation level repeatable read")
        running.start()
        assert scoring.wait(60)
        before = _seen(reader)
        seen.set()
        running.join(60)
        assert _seen(reader) == before == (1, 1, 1000)
        reader.execute("commit")
        assert _seen(reader) == (2, 2, 1000)


def test_a_publication_does_not_wait_for_an_open_cursor(sandbox: Sandbox) -> None:
    _run(sandbox, 0.1)
    with sandbox.database.connect() as reader, reader.transaction(), reader.cursor("slow") as cursor:
        cursor.execute("select version from predictions.churn")
        first = cursor.fetchmany(10)
        _run(sandbox, 0.2)
        assert {row["version"] for row in [*first, *cursor.fetchall()]} == {1}
    assert sandbox.rows("select distinct version from predictions.churn") == [(2,)]


def test_grants_comments_and_a_users_own_view_survive_a_publication(sandbox: Sandbox, connection: Connection) -> None:
    connection.execute("drop role if exists churn_analyst")
    connection.execute("create role churn_analyst")
    try:
        sandbox.edit("[retention]", '[grants]\nselect = ["churn_analyst"]\n[retention]')
        _run(sandbox, 0.1)
        connection.execute("create view public.best as select customer from predictions.churn where score > 0.5")
        _run(sandbox, 0.2)
        connection.execute("set role churn_analyst")
        assert _seen(connection) == (2, 2, 1000)
        assert connection.execute("select stale from predictions.freshness").fetchall() == [{"stale": False}]
        connection.execute("reset role")
        best = connection.execute("select count(*) > 0 as some from public.best").fetchone()
        assert best == {"some": True}
        comments = connection.execute(
            "select obj_description('predictions.churn'::regclass) as view,"
            " col_description('predictions.churn'::regclass, 5) as score"
        ).fetchone()
        assert comments == {"view": "Chance that a customer leaves.", "score": "from 0 to 1"}
    finally:
        connection.execute("reset role")
        connection.execute("drop owned by churn_analyst")
        connection.execute("drop role churn_analyst")


def test_a_new_output_is_appended_and_older_versions_show_null(sandbox: Sandbox) -> None:
    _run(sandbox, 0.1)
    sandbox.edit("[[checks]]", 'again = { from = "score", type = "double precision" }\n[[checks]]')
    assert _run(sandbox, 0.1) == 2
    assert sandbox.rows("select count(*) from predictions.churn where again = score") == [(1000,)]
    sandbox.cli("rollback", "churn")
    assert sandbox.rows("select count(*), count(again) as filled from predictions.churn") == [(1000, 0)]


def test_the_history_shows_a_reason_as_it_was_written(sandbox: Sandbox) -> None:
    _run(sandbox, 0.1)
    reason = "[/] is [b]odd[/b] :smile:"
    assert sandbox.cli("hold", "churn", "--reason", reason).code == 0
    assert reason in sandbox.cli("history", "churn").out


def test_the_history_records_the_actor_and_the_reason(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESCORE_ACTOR", "ada")
    _run(sandbox, 0.1)
    _run(sandbox, 0.2)
    sandbox.cli("rollback", "churn", "--reason", "scores look odd")
    sandbox.cli("release", "churn")
    events = [
        (event["event"], event["version"], event["actor"], event["reason"])
        for event in reversed(json.loads(sandbox.cli("history", "churn", "--json").out))
    ]
    assert [event[:2] for event in events] == [
        ("checked", 1),
        ("published", 1),
        ("checked", 2),
        ("published", 2),
        ("rolled back", 1),
        ("held", None),
        ("released", None),
    ]
    assert {event[2] for event in events} == {"ada"}
    assert events[4][3] == "scores look odd"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["churn"], "churn is not followed by a version"),
        (["churn", "one"], "one is not a version number"),
        (["churn", "1", "churn", "2"], "churn is given twice"),
    ],
)
def test_publishing_takes_models_and_versions_in_turn(sandbox: Sandbox, pairs: list[str], message: str) -> None:
    done = sandbox.cli("publish", *pairs)
    assert (done.code, message in done.err) == (2, True), done.err


def test_a_joint_publication_takes_no_version_from_an_open_transaction(sandbox: Sandbox) -> None:
    sandbox.spec((sandbox.root / "specs/churn.toml").read_text(), "other")
    assert sandbox.cli("run", "other", "--no-publish").code == 0
    for bias in (0.1, 0.2, 0.3):
        _run(sandbox, bias)
    # The transaction is read committed, and stays open.
    with psycopg.connect(sandbox.database.url, row_factory=dict_row) as reader:
        assert _seen(reader) == (3, 3, 1000)
        _run(sandbox, 0.4)
        assert _seen(reader) == (3, 3, 1000)
        assert sandbox.cli("publish", "churn", "3", "other", "1", "--allow-older").code == 0
        assert _seen(reader) == (3, 3, 1000)


def test_a_hold_between_attachment_and_publication_stops_the_publication(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(sandbox, 0.1)
    assert sandbox.cli("run", "churn", "--no-publish").code == 0
    attach = partitions.attach

    def attach_and_hold(connection: Connection, *arguments: Any) -> None:
        attach(connection, *arguments)
        hold.hold(connection, "churn", "wait")

    monkeypatch.setattr(partitions, "attach", attach_and_hold)
    assert sandbox.cli("publish", "churn", "2").code == 2
    assert sandbox.rows("select distinct version from predictions.churn") == [(1,)]


def test_a_hold_keeps_its_reason_through_a_rollback(sandbox: Sandbox) -> None:
    _run(sandbox, 0.1)
    _run(sandbox, 0.2)
    sandbox.cli("hold", "churn", "--reason", "frozen by audit")
    assert sandbox.cli("rollback", "churn", "--reason", "looks odd").code == 0
    assert sandbox.rows(HOLD) == [("frozen by audit",)]


def test_the_swap_needs_no_lock_that_readers_hold(sandbox: Sandbox) -> None:
    _run(sandbox, 0.1)
    _run(sandbox, 0.2)
    with sandbox.database.connect() as reader, sandbox.database.connect() as writer, reader.transaction():
        _seen(reader)
        writer.execute("set lock_timeout = '1ms'")
        rollback(writer, "churn")
    assert sandbox.rows("select distinct version from predictions.churn") == [(1,)]


@pytest.mark.parametrize("threshold", [0, None], ids=["prepared", "unprepared"])
def test_a_read_committed_transaction_keeps_the_version_that_it_began_with(
    sandbox: Sandbox, threshold: int | None
) -> None:
    """A transaction keeps its list of partitions until it ends, while each of its statements takes a newer snapshot."""
    _run(sandbox, 0.1)
    with psycopg.connect(sandbox.database.url, row_factory=dict_row, prepare_threshold=threshold) as reader:
        for version in (1, 2):
            assert {_seen(reader) for _ in range(3)} == {(version, version, 1000)}
            _run(sandbox, version / 10)
            assert {_seen(reader) for _ in range(3)} == {(version, version, 1000)}
            clocks = reader.execute("select version from predictions.freshness").fetchone()
            assert clocks == {"version": version}
            reader.commit()
        assert _seen(reader) == (3, 3, 1000)


def test_a_release_names_the_version_that_waits(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    sandbox.cli("hold", "churn", "--reason", "wait")
    assert "waits" not in sandbox.cli("release", "churn").out
    sandbox.cli("hold", "churn", "--reason", "wait")
    assert sandbox.cli("run", "churn").code == 0
    assert "`prescore publish churn 2` publishes it" in sandbox.cli("release", "churn").out


def test_a_publisher_that_comes_late_takes_nothing_back(sandbox: Sandbox, connection: Connection) -> None:
    _run(sandbox, 0.1)
    assert sandbox.cli("run", "churn", "--no-publish").code == 0
    # As one saw it who was stopped before the other published.
    late = Catalog(connection).version("churn", 2)
    assert sandbox.cli("publish", "churn", "2").code == 0
    with sandbox.database.connect() as reader, reader.transaction():
        assert _seen(reader) == (2, 2, 1000)
        partitions.attach(connection, [late], {})
        assert _seen(reader) == (2, 2, 1000)
