"""A database that restarts in the middle of a run: the run resumes by itself, and does nothing twice."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from fix_project import Sandbox
from prescore.errors import DatabaseUnavailable
from prescore.run import materialize, preflight
from prescore.steps import check, publish, snapshot, stage
from prescore.versions import lease, retirement
from prescore.versions.options import RunOptions


def _end_connections(sandbox: Sandbox) -> None:
    with psycopg.connect(sandbox.database.url) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("why", ["no publish", "on hold", "withdrawn"])
def test_an_attempt_that_had_finished_is_not_repeated(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    module: Any = retirement if why == "withdrawn" else lease
    name = "retire" if why == "withdrawn" else "release"
    if why != "no publish":
        assert sandbox.cli("run", "churn").code == 0
    if why == "on hold":
        sandbox.cli("hold", "churn", "--reason", "month's end")
    function = getattr(module, name)

    def lose_connection(*_: Any) -> Any:
        monkeypatch.setattr(module, name, function)
        if why == "withdrawn":
            sandbox.cli("rollback", "churn")
            sandbox.cli("release", "churn")
        raise DatabaseUnavailable("connection lost")

    monkeypatch.setattr(module, name, lose_connection)
    monkeypatch.setattr(materialize, "PAUSES", (0.0,))
    report = materialize.run(sandbox.job(), RunOptions(publish=why != "no publish"))
    expected = 1 if why == "no publish" else 2
    assert report.version == expected
    assert sandbox.rows("select max(version) from prescore.versions") == [(expected,)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("module", "step"),
    [
        (snapshot, "write"),
        (stage, "copy_chunk"),
        (stage, "finish"),
        (check, "check_version"),
        (publish, "publish"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_survives_a_restart_of_the_database(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, module: Any, step: str, when: str
) -> None:
    function, calls = getattr(module, step), 0

    def disturbed(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1 and when == "before":
            _end_connections(sandbox)
        result = function(*arguments, **named)
        if calls == 1 and when == "after":
            _end_connections(sandbox)
        return result

    monkeypatch.setattr(module, step, disturbed)
    monkeypatch.setattr(materialize, "PAUSES", (0.0, 0.0, 0.0))
    report = materialize.run(sandbox.job())
    assert (report.version, report.published, report.rows) == (1, True, 1000)
    assert sandbox.rows("select count(*), count(distinct customer) as customers from predictions.churn") == [
        (1000, 1000)
    ]
    assert sandbox.rows("select count(*) from prescore.chunks") == [(10,)]
    assert sandbox.rows("select count(*) from prescore.versions") == [(1,)]


def test_a_full_run_starts_from_scratch_only_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_run_waits_for_a_database_that_is_lost_before_its_version_begins(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_target, lost = preflight.check_target, list[bool]()

    def disturbed(*arguments: Any) -> None:
        if not lost:
            lost.append(True)
            raise DatabaseUnavailable("connection lost")
        check_target(*arguments)

    monkeypatch.setattr(preflight, "check_target", disturbed)
    monkeypatch.setattr(materialize, "PAUSES", (0.0,))
    assert materialize.run(sandbox.job()).published
