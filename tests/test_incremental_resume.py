"""Incremental runs that are interrupted, or overtaken by operators: nothing is lost, and nothing is left."""

from __future__ import annotations

from typing import Any

import pytest

from fix_incremental import Nights, interrupted
from prescore.catalog.catalog import Catalog
from prescore.errors import Busy, NotAllowed
from prescore.project.spec import Retention
from prescore.public.run_report import RunReport
from prescore.run import materialize, rebase, tasks
from prescore.run.task_values import Request, Work
from prescore.steps import changes, stage
from prescore.versions import delta, pointer, repetition, retirement
from prescore.versions import lease as leases
from prescore.versions.options import PublishOptions

KEEP_NOTHING = Retention.model_validate({"versions": 1, "grace": "0s", "candidates": "0s"})


@pytest.mark.parametrize("place", ["changes written", "delta created", "chunk scored", "key added", "rejects hidden"])
def test_an_interrupted_delta_is_resumed(nights: Nights, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    module, name = {
        "changes written": (changes, "write"),
        "delta created": (materialize, "reuse_rows"),
        "chunk scored": (stage, "copy_chunk"),
        "key added": (stage, "add_key"),
        "rejects hidden": (delta, "hide_rejected"),
    }[place]
    nights.frame.loc[:249, "spend"] += 1
    nights.frame.loc[10, "spend"] = float("nan")
    nights.frame = nights.frame.drop(index=[990, 991])
    with monkeypatch.context() as patched:
        patched.setattr(module, name, interrupted(getattr(module, name)))
        with pytest.raises(Busy):
            nights.run()
    report = nights.run()
    assert (report.version, report.resumed, report.published) == (2, True, True)
    assert nights.numbers(report) == (748, 250, 0, 2)
    # The snapshot has ten chunks, and the rows that changed three.
    shown = RunReport.from_report(report).resumption()
    assert shown is not None
    assert shown.endswith(" of 3 chunks of changed rows were finished already" if report.chunks_before else "already")
    nights.verify(2)
    assert stray(nights) == []


def test_a_version_that_is_retired_while_it_is_compared_is_not_reused(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version is published by hand meanwhile, and the served one is retired at once."""
    nights.project.cli("run", "churn", "--full", "--no-publish")
    find = changes.find

    def overtaken(*arguments: Any, **named: Any) -> Any:
        found = find(*arguments, **named)
        with nights.project.database.connect() as connection:
            pointer.publish(connection, "churn", 2)
            store = nights.project.job().store
            retired = list(retirement.retire(connection, store, "churn", KEEP_NOTHING))
            assert [version["version"] for version in retired] == [1]
        return found

    nights.frame.loc[0, "spend"] += 1
    with monkeypatch.context() as patched:
        patched.setattr(changes, "find", overtaken)
        with pytest.raises(Busy, match="version 1 was retired while this run was about to reuse its rows"):
            nights.run()
    assert nights.changes() == (999, 1, 0, 0)
    assert nights.catalog("version, state, base_version")[2:] == [(3, "published", 2)]


@pytest.mark.parametrize("place", ["copied", "committed"])
def test_an_interrupted_rebase_leaves_the_delta_published(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    module, name = {"copied": (repetition, "copy_rows"), "committed": (rebase, "query")}[place]
    nights.frame.loc[:119, "spend"] += 1
    with monkeypatch.context() as patched:
        patched.setattr(module, name, interrupted(getattr(module, name)))
        report = nights.run()
    assert (report.version, report.published, report.rebased_to) == (2, True, None)
    nights.verify(2)
    # The next night has nothing to score, and tries again. A copy that was committed stays until retention drops it.
    report = nights.run()
    copied = int(place == "committed")
    assert (report.version, report.rebased_to) == (3 + copied, 4 + copied)
    assert (report.changes or {})["unchanged_since"] == 2
    nights.verify(4 + copied)
    assert stray(nights) == []


def test_a_delta_that_was_changed_by_hand_is_not_copied(nights: Nights, caplog: pytest.LogCaptureFixture) -> None:
    nights.project.edit("rebase = 0.1", "rebase = 0.5")
    nights.frame.loc[:119, "spend"] += 1
    nights.run()
    nights.project.edit("rebase = 0.5", "rebase = 0.1")
    database = nights.project.database
    with database.connect() as connection:
        connection.execute('update prescore_versions."churn_v2_DELTA" set score = 0 where customer = 7')
        connection.execute("select pg_stat_force_next_flush()")
    with leases.holding(database, "churn") as lease:
        assert rebase.rebase(nights.project.job(), lease, 2) is None
    assert "version 2 stays a delta: its table was changed by hand" in caplog.text
    assert nights.catalog("version, state") == [(1, "superseded"), (2, "published")]


def test_a_version_published_by_hand_meanwhile_is_not_replaced_without_approval(nights: Nights) -> None:
    """The delta that was approved stands on its own base, but it was compared with another version."""
    root = str(nights.project.root)
    nights.project.cli("run", "churn", "--full", "--no-publish")
    nights.frame.loc[:119, "spend"] += 1
    nights.write()
    request = Request(publish=False, approval=True, full=False, trial_rows=None, as_of=None, due=None)
    shares = tasks.snapshot("churn", root, "a test", 2, request)
    assert [tasks.score("churn", root, share) for share in shares] == [1, 1]
    work = tasks.stage("churn", root, Work(version=3, token=shares[0]["token"]))
    checked = tasks.check("churn", root, work)
    approval: Any = {"version": 3, "user": "ann"}
    with nights.project.database.connect() as connection:
        pointer.publish(connection, "churn", 2)
    with pytest.raises(NotAllowed, match="version 3 was compared with version 1, and version 2 is served now"):
        tasks.publish("churn", root, "a test", checked, request, approval)
    with nights.project.database.connect() as connection:
        pointer.publish(connection, "churn", 1, PublishOptions(allow_older=True))
    # It is published, and rebased by the same task.
    tasks.publish("churn", root, "a test", checked, request, approval)
    assert nights.catalog("version, state, base_version")[2:] == [(3, "superseded", 1), (4, "published", None)]
    nights.verify(4)
    assert stray(nights) == []


def stray(nights: Nights) -> list[str]:
    """Return the snapshots in the store that no version needs, and the tables and views that no version has."""
    project = nights.project
    with project.database.connect() as connection:
        versions = Catalog(connection).versions("churn")
    needed = {version["snapshot_location"] for version in versions}
    names = {version[name] for version in versions for name in ("table_name", "rows_table")} | {"churn"}
    tables = """
        select relname from pg_class
        where relnamespace = 'prescore_versions'::regnamespace and relkind in ('r', 'v', 'p')
    """
    left = [name for (name,) in project.rows(tables) if name not in names]
    snapshots = [name for name in project.job().store.files(["churn"]) if name.startswith("snapshots/")]
    return left + [name for name in snapshots if name not in needed]
