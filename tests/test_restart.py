"""A database that restarts in the middle of a run: the run goes on by itself, and does nothing twice."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from fix_project import Sandbox
from prescore.errors import DatabaseUnavailable
from prescore.run import materialize, preflight
from prescore.steps import check, publish, snapshot, stage
from prescore.versions import lease, retention
from prescore.versions.options import RunOptions


def _end_connections(sandbox: Sandbox) -> None:
    with psycopg.connect(sandbox.database.url) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("why", ["not asked to publish", "on hold", "withdrawn meanwhile"])
def test_a_run_that_came_to_its_end_is_not_made_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    drop, name = (retention, "retire") if why == "withdrawn meanwhile" else (lease, "release")
    if why != "not asked to publish":
        assert sandbox.cli("run", "churn").code == 0
    if why == "on hold":
        sandbox.cli("hold", "churn", "--reason", "month's end")
    function = getattr(drop, name)

    def lost(*_: Any) -> Any:
        monkeypatch.setattr(drop, name, function)
        if why == "withdrawn meanwhile":
            sandbox.cli("rollback", "churn")
            sandbox.cli("release", "churn")
        raise DatabaseUnavailable("a cable")

    monkeypatch.setattr(drop, name, lost)
    monkeypatch.setattr(materialize, "PAUSES", (0.0,))
    report = materialize.run(sandbox.job(), RunOptions(publish=why != "not asked to publish"))
    made = 1 if why == "not asked to publish" else 2
    assert report.version == made
    assert sandbox.rows("select max(version) from prescore.versions") == [(made,)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("module", "step"),
    [
        (snapshot, "write"),
        (stage, "copy_chunk"),
        (stage, "finish"),
        (check, "check"),
        (publish, "publish"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_outlives_a_database_that_restarts(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, module: Any, step: str, when: str
) -> None:
    function, calls = getattr(module, step), 0

    def disturbed(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1 and when == "before":
            _end_connections(sandbox)
        answer = function(*arguments, **named)
        if calls == 1 and when == "after":
            _end_connections(sandbox)
        return answer

    monkeypatch.setattr(module, step, disturbed)
    monkeypatch.setattr(materialize, "PAUSES", (0.0, 0.0, 0.0))
    report = materialize.run(sandbox.job())
    assert (report.version, report.published, report.rows) == (1, True, 1000)
    assert sandbox.rows("select count(*), count(distinct customer) as customers from predictions.churn") == [
        (1000, 1000)
    ]
    assert sandbox.rows("select count(*) from prescore.chunks") == [(10,)]
    assert sandbox.rows("select count(*) from prescore.versions") == [(1,)]


def test_a_run_that_begins_anew_does_so_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.interrupted("finish_table")
    function, lost = stage.finish, list[bool]()

    def disturbed(*arguments: Any) -> None:
        if not lost:
            lost.append(True)
            _end_connections(sandbox)
        function(*arguments)

    monkeypatch.setattr(stage, "finish", disturbed)
    monkeypatch.setattr(materialize, "PAUSES", (0.0,))
    assert materialize.run(sandbox.job(), RunOptions(full=True)).version == 2
    assert sandbox.rows("select max(version) from prescore.versions") == [(2,)]


def test_a_connection_that_is_lost_before_the_run_begins_its_version_is_waited_for(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    vet, lost = preflight.check_target, list[bool]()

    def disturbed(*arguments: Any) -> None:
        if not lost:
            lost.append(True)
            raise DatabaseUnavailable("a cable")
        vet(*arguments)

    monkeypatch.setattr(preflight, "check_target", disturbed)
    monkeypatch.setattr(materialize, "PAUSES", (0.0,))
    assert materialize.run(sandbox.job()).published
