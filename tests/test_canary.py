"""Canaries: a version tried beside the published one, from its start to its promotion or its end."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from fix_incremental import WITHOUT_CHECKS, Nights
from fix_project import Sandbox, linear
from prescore.catalog import canary
from prescore.catalog.database import Connection
from prescore.catalog.naming import require_model_name
from prescore.errors import Mistake, NotAllowed
from prescore.public.project import Project
from prescore.versions import pointer
from prescore.versions.options import PublishOptions, RunOptions
from prescore.versions.views import restore

PUBLISHED = "select distinct version from predictions.churn"
CANARY = "select version, count(*) from predictions.churn_canary group by version"
COLUMNS = """
select string_agg(column_name, ' ' order by ordinal_position) from information_schema.columns
where table_schema = 'predictions' and table_name = 'churn'
"""
KEYS = range(100_000)


@pytest.fixture
def two(sandbox: Sandbox) -> Sandbox:
    """A project in which version 1 is published, and version 2 passed its checks."""
    # Great Expectations takes longer than everything else in these runs.
    sandbox.spec(WITHOUT_CHECKS)
    assert sandbox.cli("run", "churn").code == 0
    _check(sandbox, bias=0.2)
    return sandbox


def _check(sandbox: Sandbox, bias: float) -> None:
    sandbox.onnx(linear([1.0, -0.5], bias))
    done = sandbox.cli("run", "churn", "--no-publish")
    assert done.code == 0, done.err


def _taken(model: str, share: float) -> set[int]:
    takes = canary.takes(model, share, [KEYS])
    return {key for key, is_taken in zip(KEYS, takes, strict=True) if is_taken}


def test_a_version_that_was_changed_by_hand_is_served_with_a_warning(two: Sandbox) -> None:
    warning = (
        "prescore: warning: churn: a table of version {0} was changed by hand, or an update of it was rolled back, so "
        "that it may not serve what the model predicted. `prescore verify churn {0}` shows what differs.\n"
    )
    edit = "update prescore_versions.churn_v{} set score = 0.5 where customer = 7"
    done = two.cli("canary", "churn", "2", "--share", "0.5")
    assert (done.code, done.err) == (0, "")
    for edited, command in [
        (2, ("canary", "churn", "2", "--share", "0.9")),
        (2, ("promote", "churn")),
        (1, ("rollback", "churn", "--to", "1")),
        (2, ("publish", "churn", "2")),
    ]:
        with two.database.connect() as connection:
            connection.execute(edit.format(edited).encode())
            connection.execute("select pg_stat_force_next_flush()")
        if command[0] == "publish":
            two.cli("release", "churn")
        done = two.cli(*command)
        assert (done.code, done.err) == (0, warning.format(edited))
        assert f"version {edited} is " in done.out or f"version {edited} and on hold" in done.out


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
def test_a_canary_takes_its_share_of_100_000_keys(share: float) -> None:
    spread = (len(KEYS) * share * (1 - share)) ** 0.5
    # Beyond five standard deviations lie fewer than one in a million fair draws, and these keys never change.
    assert abs(len(_taken("churn", share)) - len(KEYS) * share) < 5 * spread
    # Neighbours and the digits of a key make no difference.
    even = sum(1 for key in _taken("churn", share) if key % 2 == 0)
    assert abs(even - len(KEYS) * share / 2) < 5 * spread


def test_a_larger_share_keeps_the_keys_and_another_model_takes_others() -> None:
    tenth = _taken("churn", 0.1)
    assert tenth < _taken("churn", 0.2)
    assert (_taken("churn", 0.0), len(_taken("churn", 1.0))) == (set(), len(KEYS))
    both = len(tenth & _taken("upsell", 0.1))
    assert abs(both - len(KEYS) * 0.01) < 5 * (len(KEYS) * 0.01) ** 0.5


@pytest.mark.parametrize(
    ("key", "sql"),
    [
        ((42,), "array['42']"),
        ((-7, "Zürich/1"), "array['-7', 'Zürich/1']"),
        ((UUID("8C5F0A3E-0F6B-4D5C-9C1E-2F1F6A7B8C9D"),), "array['8c5f0a3e-0f6b-4d5c-9c1e-2f1f6a7b8c9d'::uuid::text]"),
        ((date(2013, 7, 4),), "array[date '2013-07-04'::text]"),
        (
            (datetime(2013, 7, 4, 19, 30, tzinfo=timezone(timedelta(hours=2))),),
            "array[to_char(timestamptz '2013-07-04 17:30:00Z' at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')]",
        ),
        (
            (datetime.fromisoformat("2013-07-04T17:30:00.250"),),
            "array[to_char(timestamp '2013-07-04 17:30:00.25', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')]",
        ),
    ],
)
def test_python_and_postgres_agree_on_the_keys_of_a_canary(
    connection: Connection, key: tuple[Any, ...], sql: str
) -> None:
    statement = f"select prescore.canary_bucket('churn', variadic {sql}) as bucket"
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    columns = [[value] for value in key]
    assert canary.takes("churn", row["bucket"], columns) == [False]
    assert canary.takes("churn", row["bucket"] + 2**-32, columns) == [True]


def test_sql_counts_the_keys_that_the_canary_takes(two: Sandbox) -> None:
    statement = "select customer from predictions.churn where prescore.canary_bucket('churn', customer::text) < 0.25"
    assert {key for (key,) in two.rows(statement)} == _taken("churn", 0.25) & set(range(1000))


def test_a_canary_is_seen_beside_the_published_version_and_promoted(two: Sandbox) -> None:
    started = two.cli("canary", "churn", "2", "--share", "0.1", "--reason", "new features")
    assert started.out == (
        "churn version 2 is the canary for 10% of the keys; version 1 is published. "
        "`prescore promote churn` publishes it.\n"
    )
    assert (two.rows(PUBLISHED), two.rows(CANARY)) == ([(1,)], [(2, 1000)])
    assert "1; canary 2 for 10% of the keys" in two.cli("status").out
    assert "version 2 for 10% of the keys" in two.cli("status", "churn").out
    assert "checked, canary" in two.cli("versions", "churn").out
    shown = two.cli("canary", "churn").out
    assert shown.startswith(
        "churn version 2 is the canary for 10% of the keys; version 1 is published.\n"
        "churn: from version 1 (published) to version 2 (checked)\nkeys\n"
    )
    assert "for 50% of the keys" in two.cli("canary", "churn", "--share", "0.5").out
    promoted = two.cli("promote", "churn", "--reason", "no complaints")
    assert promoted.out == "churn version 2 is published.\n"
    assert (two.rows(PUBLISHED), two.rows(CANARY)) == ([(2,)], [])
    assert two.cli("canary", "churn").out.startswith("churn has no canary.")
    events = [(event.version, event.event, event.reason) for event in Project().history("churn")]
    assert events[:3] == [
        (2, "published", "promoted: no complaints"),
        (2, "canary changed", None),
        (2, "canary started", "new features"),
    ]


def test_a_dropped_canary_is_a_checked_version_again(two: Sandbox) -> None:
    assert "is the canary in shadow" in two.cli("canary", "churn", "2", "--shadow").out
    kept = Project().retire("churn", dry_run=True).decisions
    assert ("checked", "it is the canary") in [(decision.state, decision.reason) for decision in kept]
    refused = two.cli("check-again", "churn", "2")
    assert refused.code == 2
    assert "is the canary" in refused.err
    assert two.cli("canary", "churn", "--drop").out == "Version 2 is not the canary of churn any more.\n"
    assert (two.rows(PUBLISHED), two.rows(CANARY)) == ([(1,)], [])
    assert two.cli("canary", "churn", "--drop").code == 2
    assert two.cli("promote", "churn").code == 2
    assert two.cli("publish", "churn", "2").code == 0


def test_a_canary_stays_one_while_another_version_is_published(two: Sandbox) -> None:
    project = Project()
    project.start_canary("churn", 2, share=0.1)
    _check(two, bias=0.3)
    project.publish("churn", 3)
    assert (two.rows(PUBLISHED), two.rows(CANARY)) == ([(3,)], [(2, 1000)])
    # Its inputs are older than those that are served now.
    with pytest.raises(NotAllowed, match="run `prescore promote churn --allow-older`"):
        project.promote("churn")
    assert project.promote("churn", allow_older=True).version == 2
    project.start_canary("churn", 3, share=1)
    project.rollback("churn")
    assert (project.canary("churn"), two.rows(PUBLISHED)) == (None, [(1,)])
    assert ("canary ended", "rolled back to version 1") in [
        (event.event, event.reason) for event in project.history("churn")
    ]


def test_what_cannot_be_published_cannot_be_a_canary(two: Sandbox) -> None:
    project = Project()
    with pytest.raises(NotAllowed, match="already the published one"):
        project.start_canary("churn", 1, share=0.1)
    with pytest.raises(Mistake, match="from 0 to 1"):
        project.start_canary("churn", 2, share=1.5)
    project.hold("churn", "the source is being repaired")
    with pytest.raises(NotAllowed, match="on hold"):
        project.start_canary("churn", 2, share=0.1)
    project.release("churn")
    two.edit("score = {", "chance = {")
    assert two.cli("run", "churn", "--no-publish").code == 0
    with pytest.raises(NotAllowed, match=r"score is removed.*cannot be a canary\.$"):
        project.start_canary("churn", 3, share=0.1)
    assert two.cli("run", "churn", "--trial", "10").code == 0
    with pytest.raises(NotAllowed, match="`prescore run churn --no-publish` makes a whole version"):
        project.start_canary("churn", 4, share=0.1)
    usage = two.cli("canary", "churn", "2")
    assert (usage.code, "--share 0.1" in usage.err) == (2, True)
    usage = two.cli("canary", "churn", "2", "--share", "0.5", "--shadow")
    assert (usage.code, "Choose one of them." in usage.err) == (2, True)
    assert "`churn` has no canary" not in two.cli("canary", "churn", "2", "--drop").err
    assert two.rows("select canary_version from prescore.models") == [(None,)]


def test_a_first_version_cannot_be_a_canary(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn", "--no-publish").code == 0
    with pytest.raises(NotAllowed, match="no published version"):
        Project().start_canary("churn", 1, share=0.1)


def test_a_version_with_other_columns_ends_the_canary_and_drops_its_view(two: Sandbox, connection: Connection) -> None:
    project = Project()
    project.start_canary("churn", 2, share=0.1)
    two.edit("score = {", "chance = {")
    assert two.cli("run", "churn", "--no-publish").code == 0
    pointer.publish(connection, "churn", 3, PublishOptions(allow_breaking=True))
    assert project.canary("churn") is None
    assert two.rows("select to_regclass('predictions.churn_canary')") == [(None,)]


def test_a_new_output_of_a_canary_is_in_its_view_alone(two: Sandbox, connection: Connection) -> None:
    two.edit("score = {", 'chance = { from = "score", type = "real", comment = "the same" }\nscore = {')
    assert two.cli("run", "churn", "--no-publish").code == 0
    Project().start_canary("churn", 3, share=0)
    assert two.rows("select count(chance) from predictions.churn_canary") == [(1000,)]
    assert two.rows(COLUMNS) == [("customer version data_as_of published_at score",)]
    connection.execute("drop view predictions.churn_canary")
    assert restore(connection) == ["view predictions.churn_canary"]
    assert two.rows(CANARY) == [(3, 1000)]
    two.cli("remove", "churn", "--yes")
    assert two.rows("select to_regclass('predictions.churn_canary')") == [(None,)]


def test_a_published_version_with_more_outputs_ends_the_canary(two: Sandbox) -> None:
    project = Project()
    project.start_canary("churn", 2, share=0.1)
    two.edit("score = {", 'chance = { from = "score", type = "real", comment = "the same" }\nscore = {')
    assert two.cli("run", "churn").code == 0
    assert (project.canary("churn"), two.rows(CANARY)) == (None, [])
    assert ("canary ended", "version 3 has other columns") in [
        (event.event, event.reason) for event in project.history("churn")
    ]


def test_a_delta_can_be_the_canary(nights: Nights) -> None:
    nights.frame.loc[3, "spend"] += 1
    nights.frame = nights.frame.drop(index=[5])
    assert nights.run(RunOptions(publish=False)).version == 2
    sandbox, project = nights.project, Project()
    project.start_canary("churn", 2, share=0.1)
    columns = "customer, score, note"
    shown = f"select {columns} from %s order by customer"
    whole = sandbox.rows(shown % "prescore_versions.churn_v2")
    assert sandbox.rows("select base_version from prescore.canaries") == [(1,)]
    assert (sandbox.rows(CANARY), sandbox.rows(shown % "predictions.churn_canary")) == ([(2, 999)], whole)
    assert sandbox.rows("select version, count(*) from predictions.churn group by version") == [(1, 1000)]
    project.promote("churn")
    assert sandbox.rows(shown % "predictions.churn") == whole
    assert sandbox.rows(CANARY) == []


def test_a_transaction_keeps_the_canary_that_it_began_with(two: Sandbox) -> None:
    project = Project()
    with two.database.connect() as before, two.database.connect() as during:
        before.execute("begin")
        assert before.execute("select version from predictions.churn limit 1").fetchone() == {"version": 1}
        project.start_canary("churn", 2, share=0.1)
        # The list of partitions of this transaction may lack the canary's.
        assert before.execute("select version from predictions.churn_canary limit 1").fetchone() is None
        during.execute("begin isolation level repeatable read")
        canary_rows = b"select min(version) as version, count(*) as rows from predictions.churn_canary"
        assert during.execute(canary_rows).fetchone() == {"version": 2, "rows": 1000}
        project.promote("churn")
        assert during.execute(canary_rows).fetchone() == {"version": 2, "rows": 1000}
        assert during.execute("select version from predictions.churn limit 1").fetchone() == {"version": 1}
        during.execute("commit")
        assert during.execute(canary_rows).fetchone() == {"version": None, "rows": 0}
        assert during.execute("select version from predictions.churn limit 1").fetchone() == {"version": 2}


def test_a_model_cannot_be_named_like_the_view_of_a_canary() -> None:
    with pytest.raises(ValueError, match="churn_canary, the view of the canary of churn"):
        require_model_name("upsell_canary")
