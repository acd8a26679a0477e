"""The tasks of a scheduled run, called as a scheduler calls them: in this process, or through the worker."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from importlib.metadata import version as release
from typing import Any

import pytest

from fix_project import SPEC, Sandbox
from prescore.errors import Busy, NotAllowed
from prescore.run import tasks, upkeep
from prescore.run.task_values import Checked, Request, Work

HOLDER = "a test"
REQUEST = Request(publish=True, approval=False, full=False, trial_rows=None, as_of=None, due=None)
STATES = "select version, state from prescore.versions order by version"
LEASES = "select holder from prescore.leases where expires_at >= now()"


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """The churn project without checks of its own."""
    sandbox.spec(SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :])
    return sandbox


def _staged(project: Sandbox, request: Request = REQUEST) -> Work:
    """Do the tasks of a run up to `stage`, and return what the next task works on."""
    root = str(project.root)
    shares = tasks.snapshot("churn", root, HOLDER, 2, request)
    assert [tasks.score("churn", root, share) for share in shares] == [5, 5]
    return tasks.stage("churn", root, Work(version=shares[0]["version"], token=shares[0]["token"]))


def _checked(project: Sandbox, request: Request = REQUEST) -> Checked:
    return tasks.check("churn", str(project.root), _staged(project, request))


def test_the_tasks_of_a_run_publish_and_log_what_they_did(project: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "prescore"):
        checked = _checked(project)
        published = tasks.publish("churn", str(project.root), HOLDER, checked, REQUEST, None)
    assert (published["version"], published["rows"], published["withheld"]) == (1, 1000, None)
    assert project.rows(STATES) == [(1, "published")]
    for words in (
        "churn version 1: the snapshot has 1,000 rows in 10 chunks, 0 rejected, data as of 20",
        "churn version 1: scored 5 chunks; 0 were done before",
        "churn version 1: staged 1,000 rows",
        "passed: rows: observed 1,000; expected exactly 1,000",
        "churn version 1 is published: 1,000 rows, 0 rejected, 4 checks passed, snapshot 0.",
    ):
        assert words in caplog.text


def test_a_version_with_unscored_chunks_is_not_staged_and_not_given_up(project: Sandbox) -> None:
    root = str(project.root)
    first, second = tasks.snapshot("churn", root, HOLDER, 2, REQUEST)
    tasks.score("churn", root, first)
    work = Work(version=first["version"], token=first["token"])
    with pytest.raises(NotAllowed, match=r"churn version 1 has 5 chunks that were not scored, the first of them 5\."):
        tasks.stage("churn", root, work)
    assert project.rows(STATES) == [(1, "building")]
    tasks.score("churn", root, second)
    assert tasks.stage("churn", root, work) == work


@pytest.mark.parametrize(
    ("approval", "reason"),
    [(None, "has no answer"), ({"version": 7, "user": "eve"}, "approved version 7")],
)
def test_a_version_is_published_only_if_this_version_was_approved(project: Sandbox, approval: Any, reason: str) -> None:
    request = Request(**{**REQUEST, "publish": False, "approval": True})
    checked = _checked(project, request)
    question = tasks.question("churn", 1)
    assert (question["subject"], question["version"]) == ("Publish churn version 1?", 1)
    with pytest.raises(NotAllowed, match=f"needs approval, and its approve task {reason}"):
        tasks.publish("churn", str(project.root), HOLDER, checked, request, approval)
    assert project.rows(STATES) == [(1, "checked")]
    upkeep.record_decision("churn", 1, "approved", "by ann in a test")
    tasks.publish("churn", str(project.root), HOLDER, checked, request, {"version": 1, "user": "ann"})
    assert project.rows(STATES) == [(1, "published")]
    events = "select event, reason from prescore.events where event in ('approved', 'published') order by id"
    assert project.rows(events) == [("approved", "by ann in a test"), ("published", None)]


def test_a_planned_time_counts_only_if_the_query_uses_it(project: Sandbox) -> None:
    request = Request(**{**REQUEST, "due": "2026-01-07T05:00:00+00:00"})
    root = str(project.root)
    tasks.snapshot("churn", root, HOLDER, 2, request)
    assert project.rows("select as_of from prescore.versions") == [(None,)]
    project.query(
        "select customer, visits, spend from read_parquet('data/customers.parquet') "
        "where customer < date_part('day', $as_of)"
    )
    tasks.snapshot("churn", root, HOLDER, 2, request)
    assert project.rows(
        "select as_of = '2026-01-07 05:00+00', snapshot_rows from prescore.versions where version = 2"
    ) == [(True, 7)]


def test_a_lease_can_be_released_by_its_holder_or_by_hand(project: Sandbox) -> None:
    tasks.snapshot("churn", str(project.root), HOLDER, 2, REQUEST)
    with pytest.raises(Busy, match=HOLDER):
        tasks.snapshot("churn", str(project.root), "another run", 2, REQUEST)
    upkeep.release_lease("churn", "another run")
    upkeep.release_lease("upsell", HOLDER)
    assert project.rows(LEASES) == [(HOLDER,)]
    outcome = project.cli("release-lease", "churn")
    assert (outcome.code, outcome.out) == (0, f"The lease of churn is released. It was held by {HOLDER}.\n")
    assert project.rows(LEASES) == []
    assert project.rows("select reason from prescore.events where event = 'lease released'") == [(f"held by {HOLDER}",)]
    assert project.cli("release-lease", "churn").out == "No run holds the lease of churn.\n"
    # A lease that was released does not come back.
    upkeep.shorten_lease("churn", HOLDER)
    assert project.rows(LEASES) == []
    assert project.cli("run", "churn").code == 0
    assert project.rows(STATES) == [(1, "published")]


def _worker(task: str, arguments: dict[str, Any], release: str = release("prescore")) -> tuple[Any, list[Any]]:
    """Run a task in a worker, and return its response and what it logged."""
    request = json.dumps({"task": task, "arguments": arguments, "release": release}) + "\n"
    with _start_worker() as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(request)
        process.stdin.flush()
        response = json.loads(process.stdout.readline())
        lines = process.stderr.read().splitlines()
    return response, [json.loads(line) for line in lines]


def _start_worker() -> subprocess.Popen[str]:
    command = [sys.executable, "-I", "-m", "prescore.run.worker"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_the_worker_returns_results_logs_and_errors_with_their_codes(project: Sandbox) -> None:
    arguments = {"model": "churn", "root": str(project.root), "holder": HOLDER, "groups": 2, "request": REQUEST}
    response, logged = _worker("tasks.snapshot", arguments)
    assert [share["end"] for share in response["result"]] == [5, 10]
    assert any("the snapshot has 1,000 rows" in record["message"] for record in logged)
    response, _ = _worker("tasks.snapshot", {**arguments, "holder": "another run"})
    assert response["error"]["code"] == "busy"
    response, _ = _worker("tasks.snapshot", arguments, release="0.0.1")
    assert response["error"]["code"] == "not_allowed"
    assert f"The scheduler has prescore 0.0.1, and {sys.executable} has prescore" in response["error"]["message"]
    response, logged = _worker("tasks.nothing", {})
    assert response["error"]["code"] == "internal"
    assert "Traceback" in logged[-1]["message"]


def test_the_worker_ends_with_its_scheduler(project: Sandbox) -> None:
    with project.database.connect() as connection, connection.transaction():
        upkeep.publications()
        connection.execute("lock table prescore.models in access exclusive mode")
        with _start_worker() as process:
            assert process.stdin
            request = {"task": "upkeep.publications", "arguments": {}, "release": release("prescore")}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            waiting = (
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%%models m%%'"
            )
            while project.rows(waiting) != [(1,)]:
                assert process.poll() is None
            # As when the scheduler's process is killed.
            process.stdin.close()
            assert process.wait() == 1
