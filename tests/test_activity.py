"""`prescore status NAME`: how far a run is, who holds the lease, what waits for what, and who keeps old versions."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from fix_project import QUERY, Sandbox, linear
from prescore import Project
from prescore.public.activity import ModelActivity
from prescore.versions import lease

PATIENCE = 30.0


def _until(project: Project, holds: Callable[[ModelActivity], object]) -> ModelActivity:
    """Return the first activity of which something is true."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        activity = project.status("churn")
        if holds(activity):
            return activity
        time.sleep(0.02)
    raise AssertionError(activity)


@contextmanager
def _in_thread(work: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_the_status_of_a_model_at_rest(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    done = sandbox.cli("status", "churn")
    assert (done.code, done.err) == (0, "")
    title, served, last = done.out.splitlines()
    assert title == "churn"
    assert served.split()[:3] == ["served", "version", "1,"]
    assert served.endswith("(max age 26 h)")
    assert last.split() == ["last", "run", "version", "1", "published"]
    answer = json.loads(sandbox.cli("status", "churn", "--json").out)
    assert (answer["model"], answer["version"], answer["stale"]) == ("churn", 1, False)
    assert (answer["run"], answer["lease"], answer["waits"], answer["readers"]) == (None, None, [], [])


def test_a_model_that_was_never_run_has_no_status(sandbox: Sandbox) -> None:
    sandbox.cli("db", "migrate")
    done = sandbox.cli("status", "churn")
    assert (done.code, "has never been run" in done.err) == (2, True)


def test_an_unfinished_run_shows_how_far_it_came(sandbox: Sandbox) -> None:
    sandbox.interrupted("score_chunks")
    assert "score, 0 of 10 chunks, 0 of 1,000 rows" in sandbox.cli("status", "churn").out
    sandbox.interrupted("check_table")
    run = json.loads(sandbox.cli("status", "churn", "--json").out)["run"]
    assert (run["step"], run["finished_chunks"], run["finished_rows"]) == ("check", 10, 1000)


def test_a_failed_run_shows_why(sandbox: Sandbox) -> None:
    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    assert sandbox.cli("run", "churn").code == 4
    sandbox.query(QUERY + " where false")
    assert sandbox.cli("run", "churn").code == 4
    assert "version 2 failed: The domain of churn is empty" in sandbox.cli("status", "churn").out
    _, failed, refused = sandbox.cli("versions", "churn").out.splitlines()
    assert "The domain of churn is empty" in failed
    assert "scores are probabilities: observed" in refused


def test_the_holder_of_a_lease_is_named(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    with lease.holding(sandbox.database, "churn"):
        held = Project(sandbox.root).status("churn").lease
    assert held is not None
    assert held.connected
    assert "process" in held.holder
    assert Project(sandbox.root).status("churn").lease is None


def test_what_waits_for_what_is_named(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    project = Project(sandbox.root)
    project.hold("churn", "month's end")
    with psycopg.connect(sandbox.database.url, application_name="etl") as other:
        other.execute("select from prescore.models where model = 'churn' for update")
        with _in_thread(lambda: project.release("churn")):
            activity = _until(project, lambda now: now.waits)
            other.rollback()
    (wait,) = activity.waits
    assert wait.application == "prescore"
    assert wait.waits_for.startswith("Lock: ")
    assert [(session.application, session.user) for session in wait.blockers] == [("etl", "postgres")]
    assert "held by session" in str(activity.summary()["waits"])


def test_the_readers_of_a_retired_version_are_named(sandbox: Sandbox) -> None:
    sandbox.edit("versions = 3", 'versions = 1\ngrace = "0s"')
    assert sandbox.cli("run", "churn").code == 0
    with psycopg.connect(sandbox.database.url, application_name="metabase") as reader:
        reader.execute("select count(*) from predictions.churn")
        assert sandbox.cli("run", "churn").code == 0
        retired = sandbox.cli("retire", "churn")
        assert "Still being read, left for the next retirement: 1" in retired.out
        assert "`prescore status churn` shows the sessions that read them" in retired.out
        (kept,) = Project(sandbox.root).status("churn").readers
        assert (kept.version, kept.session.pid) == (1, reader.info.backend_pid)
        assert "version 1, kept by session" in sandbox.cli("status", "churn").out
        reader.rollback()
    assert sandbox.cli("retire", "churn").code == 0
    assert Project(sandbox.root).status("churn").readers == ()
