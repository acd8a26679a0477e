"""One writer at a time, and interrupted runs: what the next run resumes, and what it does not repeat."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from fix_incremental import WITHOUT_CHECKS
from fix_postgres import at, recreate
from fix_project import Sandbox, linear
from prescore.catalog import migrations
from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Database
from prescore.checks import expectations
from prescore.errors import Busy, LeaseLost, NotFound, Refused
from prescore.run import materialize
from prescore.store.model_file import ModelFile
from prescore.store.store import Store
from prescore.versions import hold
from prescore.versions import lease as leases
from prescore.versions.lease import Lease
from prescore.versions.options import RunOptions

pytestmark = pytest.mark.usefixtures("quick_command")
KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from pathlib import Path
from prescore.catalog.database import Database
from prescore.project.project import Project
from prescore.run import materialize
from prescore.run.job import Job

def die(step, rows, total):
    if step == "score":
        os.kill(os.getpid(), signal.SIGKILL)

project = Project.find(Path(sys.argv[1]))
materialize.run(Job(project, project.spec("churn"), Database(sys.argv[2]), on_progress=die))
"""


STOPPED_IN_A_COPY = """
import os, signal, sys
from pathlib import Path
from prescore.cli import main
from prescore.versions import rows

class Stopping:
    def __init__(self, schema):
        self._encoder = Encoder(schema)

    def __getattr__(self, name):
        if name == "finish":
            os.kill(os.getpid(), signal.SIGSTOP)  # the rows have been sent, their end has not
        return getattr(self._encoder, name)

Encoder, rows.ArrowToPostgresBinaryEncoder = rows.ArrowToPostgresBinaryEncoder, Stopping
sys.argv = ["prescore", "run", "churn"]
main.main()
"""


def _killed(sandbox: Sandbox) -> None:
    """Run the model in a process that is killed as soon as its first chunk is in the table."""
    command = ["prescore", "-c", KILLED_IN_THE_MIDDLE, str(sandbox.root), sandbox.database.url]
    assert subprocess.run(command, check=False).returncode == 128 + signal.SIGKILL


def _ledger(sandbox: Sandbox) -> dict[int, object]:
    return dict(sandbox.rows("select chunk, committed_at from prescore.chunks order by chunk"))


def test_a_killed_run_is_resumed(sandbox: Sandbox) -> None:
    sandbox.settings("chunk_rows = 100\nworkers = 1\n")
    undisturbed = sandbox.cli("run", "churn")
    assert undisturbed.code == 0
    expected = sandbox.rows("select customer, score from predictions.churn order by customer")
    _killed(sandbox)
    left = sandbox.rows("select state from prescore.versions where version = 2")
    finished = dict(sandbox.rows("select chunk, committed_at from prescore.chunks where version = 2"))
    assert (left, len(finished)) == ([("building",)], 1)

    assert materialize.run(sandbox.job()).version == 2
    after = dict(sandbox.rows("select chunk, committed_at from prescore.chunks where version = 2"))
    assert len(after) == 10
    assert {c: after[c] for c in finished} == finished
    assert sandbox.rows("select customer, score from predictions.churn order by customer") == expected


def test_a_report_shows_what_was_resumed(sandbox: Sandbox) -> None:
    sandbox.settings("chunk_rows = 100\nworkers = 1\n")
    _killed(sandbox)
    # As if the run that was killed had been at it for an hour.
    with sandbox.database.connect() as connection:
        connection.execute("""update prescore.versions set seconds = seconds || '{"score": 3600}'""")
    report = json.loads(sandbox.cli("run", "churn", "--json").out)
    assert (report["version"], report["resumed"], report["chunks_before"], report["chunks"]) == (1, True, 1, 10)
    assert 0 <= report["seconds"]["score"] <= report["seconds"]["total"]
    assert sandbox.rows("select (seconds ->> 'score')::float >= 3600 from prescore.versions") == [(True,)]

    fresh = json.loads(sandbox.cli("run", "churn", "--json").out)
    assert (fresh["version"], fresh["resumed"], fresh["chunks_before"]) == (2, False, 0)
    assert "resumed" not in sandbox.cli("run", "churn").out
    _killed(sandbox)
    assert "resumed  version 4: 1 of 10 chunks were finished already" in sandbox.cli("run", "churn").out


def test_the_report_on_a_refusal_shows_what_was_resumed(sandbox: Sandbox) -> None:
    sandbox.settings("chunk_rows = 100\nworkers = 1\n")
    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    _killed(sandbox)
    refused = json.loads(sandbox.cli("run", "churn", "--json").out)
    assert (refused["state"], refused["resumed"], refused["chunks_before"]) == ("refused", True, 1)


@pytest.mark.parametrize("changed", ["model", "spec", "query", "full"])
def test_a_version_made_of_other_things_is_not_resumed(sandbox: Sandbox, changed: str) -> None:
    _killed(sandbox)
    if changed == "model":
        sandbox.onnx(linear([1.0, -0.5], 0.7))
    elif changed == "spec":
        sandbox.edit('type = "real"', 'type = "double precision"')
    elif changed == "query":
        sandbox.query("select customer, visits, spend from read_parquet('data/customers.parquet') where customer < 500")
    report = materialize.run(sandbox.job(), RunOptions(full=changed == "full"))
    assert (report.version, report.rows) == (2, 500 if changed == "query" else 1000)
    assert sandbox.rows("select state, error from prescore.versions where version = 1") == [
        ("failed", "its run ended early, and a later run started over")
    ]
    assert sandbox.rows("select to_regclass('prescore_versions.churn_v1') is null as dropped") == [(True,)]
    assert not Path(sandbox.root, ".prescore/store/snapshots/churn/1.parquet").exists()


def test_an_unfinished_version_is_not_resumed_after_a_day(sandbox: Sandbox) -> None:
    _killed(sandbox)
    sandbox.rows("update prescore.versions set started_at = now() - interval '25 hours' returning version")
    assert materialize.run(sandbox.job()).version == 2


def test_an_interrupted_publication_is_made_up_for_by_the_next_run(sandbox: Sandbox) -> None:
    sandbox.interrupted("publish_version")
    ledger = _ledger(sandbox)
    report = materialize.run(sandbox.job())
    assert (report.version, report.published, report.chunks_before) == (1, True, 10)
    assert _ledger(sandbox) == ledger


@pytest.mark.parametrize("why", ["no publish", "on hold", "other checks now"])
def test_a_version_that_no_run_meant_to_publish_is_left_alone(sandbox: Sandbox, why: str) -> None:
    if why == "on hold":
        assert sandbox.cli("run", "churn").code == 0
        sandbox.cli("hold", "churn", "--reason", "month's end")
    assert sandbox.cli("run", "churn", *(["--no-publish"] if why != "on hold" else [])).code == 0
    waiting = 2 if why == "on hold" else 1
    if why == "other checks now":
        sandbox.edit("max_value = 1", "max_value = 0.9999")
        refused = sandbox.cli("publish", "churn", "1")
        assert (refused.code, "`prescore check-again churn 1` runs those on it." in refused.err) == (2, True)
    report = json.loads(sandbox.cli("run", "churn", "--json").out)
    assert (report["version"], report["resumed"]) == (waiting + 1, False)
    assert sandbox.rows(f"select state from prescore.versions where version = {waiting}") == [("checked",)]


def test_a_repeated_check_may_refuse(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn", "--no-publish").code == 0
    sandbox.edit("max_value = 1", "max_value = 0.1")
    job = sandbox.job()
    with leases.holding(job.database, "churn") as lease, pytest.raises(Refused):
        materialize.check_table(job, lease, 1, expectations.build(job.spec))
    assert sandbox.rows("select state from prescore.versions") == [("refused",)]


def test_killed_runs_leave_nothing_in_the_store(sandbox: Sandbox) -> None:
    _killed(sandbox)
    sandbox.query("select customer, visits, spend from read_parquet('data/customers.parquet') where customer < 500")
    store = sandbox.root / ".prescore/store"
    dead = subprocess.Popen(["true"])
    dead.wait()
    (store / f"spill/churn.{socket.gethostname()}.{dead.pid}").mkdir(parents=True)
    with sandbox.database.connect() as connection:
        mine = Catalog(connection).name
    for name in (mine, "another"):
        (store / f"snapshots/churn/1.{name}.half.part").touch()
    assert sandbox.cli("run", "churn").code == 0
    assert [path.name.split(".")[0] for path in (store / "snapshots/churn").glob(f"*.{mine}.*")] == ["2"]
    # Another database may still be writing its own.
    assert (store / "snapshots/churn/1.another.half.part").exists()
    assert list((store / "spill").iterdir()) == []


def test_a_model_file_that_was_changed_in_the_store_is_not_used(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    good = sandbox.rows("select customer, score from predictions.churn order by customer")
    (kept,) = (sandbox.root / ".prescore/store/models").iterdir()
    kept.write_bytes(linear([9.0, 9.0]))
    with pytest.raises(NotFound, match="was changed"):
        materialize.load_predictor(sandbox.job(), 1)
    assert sandbox.cli("run", "churn").code == 0
    assert sandbox.rows("select customer, score from predictions.churn order by customer") == good


def test_two_runs_of_one_model_do_not_write_at_once(sandbox: Sandbox) -> None:
    with leases.holding(sandbox.database, "churn"):
        second = sandbox.cli("run", "churn")
    assert second.code == 3
    assert "Another run of churn is in progress" in second.err
    assert f"process {os.getpid()}" in second.err
    assert sandbox.cli("run", "churn").code == 0


def test_runs_of_two_models_do_not_wait_for_each_other(sandbox: Sandbox) -> None:
    with leases.holding(sandbox.database, "something_else"):
        assert sandbox.cli("run", "churn").code == 0


def test_a_run_that_lost_its_lease_writes_nothing(sandbox: Sandbox) -> None:
    taken = threading.Event()

    def usurp(step: str, _rows: int, _total: int | None) -> None:
        if step == "score" and not taken.is_set():
            taken.set()
            with sandbox.database.connect() as connection:
                connection.execute("update prescore.leases set token = nextval('prescore.lease_token')")

    sandbox.settings("chunk_rows = 100\nworkers = 1\n")
    job = sandbox.job()
    job.on_progress = usurp
    with pytest.raises(LeaseLost):
        materialize.run(job)
    assert len(_ledger(sandbox)) == 1
    assert sandbox.rows("select count(*) from prescore_versions.churn_v1") == [(100,)]
    assert sandbox.rows("select state from prescore.versions") == [("building",)]


def test_an_unwatched_lease_outlives_its_connection_until_it_expires(sandbox: Sandbox) -> None:
    with sandbox.database.connect() as connection:
        first = leases.acquire(connection, "churn", watched=False)
    with sandbox.database.connect() as connection:
        with pytest.raises(Busy):
            leases.acquire(connection, "churn", watched=False)
        connection.execute("update prescore.leases set expires_at = now() - interval '1 second'")
        second = leases.acquire(connection, "churn", watched=False)
        assert second.token > first.token
        with pytest.raises(LeaseLost), connection.transaction():
            first.check(connection)
        leases.release(connection, Lease("churn", first.token))
        assert connection.execute("select token from prescore.leases").fetchone() == {"token": second.token}


def test_a_full_run_keeps_the_model_file_of_the_published_version(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    _killed(sandbox)
    assert sandbox.cli("run", "churn", "--full").code == 0
    kept = [path.stem.partition(".")[0] for path in (sandbox.root / ".prescore/store/models").iterdir()]
    assert kept == [
        fingerprint for (fingerprint,) in sandbox.rows("select distinct model_fingerprint from prescore.versions")
    ]


@pytest.mark.parametrize("harm", ["changed", "truncated", "gone"])
def test_a_damaged_snapshot_is_not_resumed(sandbox: Sandbox, harm: str) -> None:
    _killed(sandbox)
    snapshot = next((sandbox.root / ".prescore/store/snapshots/churn").iterdir())
    content = bytearray(snapshot.read_bytes())
    if harm == "gone":
        snapshot.unlink()
    else:
        content[100] ^= 1
        snapshot.write_bytes(content if harm == "changed" else content[:1000])
    report = materialize.run(sandbox.job())
    assert (report.version, report.rows) == (2, 1000)
    assert sandbox.rows("select state from prescore.versions where version = 1") == [("failed",)]


def test_a_run_that_was_stopped_in_a_copy_is_taken_over_and_writes_nothing_more(sandbox: Sandbox) -> None:
    sandbox.settings("chunk_rows = 100\nworkers = 1\n")
    sandbox.spec(WITHOUT_CHECKS)
    command = [sys.executable, "-c", STOPPED_IN_A_COPY]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as stopped:
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED)
        # Its lease has not expired yet.
        assert sandbox.cli("run", "churn").code == 3
        sandbox.rows("update prescore.leases set expires_at = now() - interval '1 second' returning token")
        report = materialize.run(sandbox.job())
        os.kill(stopped.pid, signal.SIGCONT)
        _, message = stopped.communicate()
    assert (report.version, report.rows, report.published) == (1, 1000, True)
    assert stopped.returncode == 3
    assert "Another run took over churn" in message
    assert sandbox.rows("select count(*), count(distinct customer) as customers from predictions.churn") == [
        (1000, 1000)
    ]
    assert sandbox.rows("select state from prescore.versions") == [("published",)]


def test_a_run_with_wait_waits_for_another(sandbox: Sandbox) -> None:
    command = ["prescore", "run", "churn", "--wait"]
    with leases.holding(sandbox.database, "churn"):
        waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        assert "Another run of churn is in progress" in waiting.stderr.readline()
    waiting.communicate()
    assert waiting.returncode == 0
    assert sandbox.rows("select count(*) from predictions.churn") == [(1000,)]


def test_another_database_under_the_same_name_is_another_domain(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sandbox.database.connect() as connection:
        for schema, first in (("staging", 100_001), ("production", 1)):
            connection.execute(f"create schema {schema}".encode())
            rows = f"select i as customer, 0.5 as visits, 0.5 as spend from generate_series({first}, {first + 499}) i"
            connection.execute(f"create table {schema}.customers as {rows}".encode())
    sandbox.settings('[sources]\nwarehouse = "env:WAREHOUSE_URL"\n')
    sandbox.edit("[domain]", '[domain]\nsource = "warehouse"')
    sandbox.edit('file = "models/churn.onnx"', 'file = "models/churn.onnx"\nallow_precision_loss = ["visits", "spend"]')
    sandbox.query("select customer::bigint, visits::real, spend::real from customers")
    at = f"{sandbox.database.sqlalchemy_url}{'&' if '?' in sandbox.database.url else '?'}options=-csearch_path%3D"
    monkeypatch.setenv("WAREHOUSE_URL", at + "staging")
    sandbox.interrupted("score_chunks")
    monkeypatch.setenv("WAREHOUSE_URL", at + "production")
    assert materialize.run(sandbox.job()).version == 2
    assert sandbox.rows("select min(customer), max(customer) from predictions.churn") == [(1, 500)]


def test_no_lock_is_held_while_a_snapshot_is_verified(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.interrupted("finish_table")
    intact = Store.is_snapshot_intact

    def hold_meanwhile(store: Store, version: Version) -> bool:
        with sandbox.database.connect() as other:
            other.execute("set lock_timeout = '100ms'")
            hold.hold(other, "churn", "in the middle of it")
        return intact(store, version)

    monkeypatch.setattr(Store, "is_snapshot_intact", hold_meanwhile)
    assert materialize.run(sandbox.job()).resumed


def test_files_that_a_crash_left_behind_are_swept(sandbox: Sandbox) -> None:
    store = sandbox.job().store
    # As if the process had died before its version was in the catalog.
    store.keep_model(ModelFile(linear([2.0, 2.0])))
    sandbox.interrupted("score_chunks")
    (left,) = (sandbox.root / ".prescore/store/snapshots/churn").iterdir()
    content = left.read_bytes()
    assert materialize.run(sandbox.job(), RunOptions(full=True)).version == 2
    # As if the process had died between its commit and the removal of this file.
    left.write_bytes(content)
    materialize.run(sandbox.job(), RunOptions(full=True))
    assert not left.exists()
    assert store.model_fingerprints() == {ModelFile(linear([1.0, -0.5])).fingerprint}


def test_databases_that_share_a_store_leave_each_others_files(sandbox: Sandbox, server: str) -> None:
    sandbox.interrupted("finish_table")
    recreate(server, "prescore_other")
    other = Database(at(server, "prescore_other"))
    migrations.migrate(other)
    twin = replace(sandbox.job(), database=other)
    assert materialize.run(twin, RunOptions(trial_rows=10)).version == 1
    assert materialize.run(twin).published
    report = materialize.run(sandbox.job())
    assert (report.version, report.resumed, report.published) == (1, True, True)
