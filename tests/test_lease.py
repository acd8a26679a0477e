"""The fencing token: a run that has lost its lease writes nothing, in whichever step it wakes up."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from fix_project import Sandbox
from prescore.catalog import migrations
from prescore.catalog.database import Connection
from prescore.checks import expectations
from prescore.errors import LeaseLost
from prescore.run import chunk_scoring, failure, freezing, materialize, registration
from prescore.run.job import Job
from prescore.versions import lease as leases
from prescore.versions.lease import Lease

STEPS: list[tuple[str, Callable[..., object]]] = [
    ("freeze", lambda job, lease: freezing.take_snapshot(job, lease, 1, materialize.load_predictor(job, 1))),
    ("score", lambda job, lease: _score(job, lease)),
    ("finish", lambda job, lease: materialize.finish_table(job, lease, 1)),
    ("check", lambda job, lease: materialize.check_table(job, lease, 1, expectations.build(job.spec))),
    ("publish", lambda job, lease: materialize.publish_version(job, lease, 1)),
    ("give up", lambda job, lease: failure.give_up(job, lease, 1, "no good")),
]
CATALOG = "select state, snapshot_rows, attached_at is null, checks is null from prescore.versions"


def _score(job: Job, lease: Lease) -> None:
    chunk_scoring.score_chunks(job, lease, 1, chunk_scoring.pending_chunks(job, 1), materialize.load_predictor(job, 1))


def _expire(connection: Connection) -> None:
    connection.execute("update prescore.leases set expires_at = now() - interval '1 second'")


@pytest.mark.parametrize("late", range(len(STEPS)), ids=[name for name, _ in STEPS])
def test_a_step_without_its_lease_changes_nothing(sandbox: Sandbox, connection: Connection, late: int) -> None:
    job = sandbox.job()
    lease = leases.acquire(connection, "churn", watched=False)
    registration.begin(job, lease)
    earlier = STEPS[:late] if STEPS[late][0] != "give up" else STEPS[:2]
    for _, step in earlier:
        step(job, lease)
    before = sandbox.rows(CATALOG)
    _expire(connection)
    leases.acquire(connection, "churn", watched=False)
    with pytest.raises(LeaseLost):
        STEPS[late][1](job, lease)
    # A partition may be there already. It shows nothing until the pointer moves.
    assert [row[:2] + row[3:] for row in sandbox.rows(CATALOG)] == [row[:2] + row[3:] for row in before]
    assert sandbox.rows("select count(*) from prescore.chunks") == [(10 if late > 1 else 0,)]
    assert sandbox.rows("select published_version from prescore.models") == [(None,)]


def test_begin_without_a_lease_creates_no_version(sandbox: Sandbox, connection: Connection) -> None:
    lease = leases.acquire(connection, "churn", watched=False)
    _expire(connection)
    leases.acquire(connection, "churn", watched=False)
    with pytest.raises(LeaseLost):
        registration.begin(sandbox.job(), lease)
    assert sandbox.rows("select count(*) from prescore.versions") == [(0,)]


def test_no_run_takes_over_between_the_check_of_the_lease_and_the_commit(
    sandbox: Sandbox, connection: Connection
) -> None:
    lease = leases.acquire(connection, "churn", watched=False)
    with psycopg.connect(sandbox.database.url, autocommit=True) as expiring:
        expiring.execute("update prescore.leases set expires_at = now() - interval '1 second'")
    with sandbox.database.connect() as successor:
        successor.execute("set lock_timeout = '100ms'")
        with connection.transaction():
            lease.check(connection)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                leases.acquire(successor, "churn", watched=False)
        assert leases.acquire(successor, "churn", watched=False).token > lease.token


def test_rejects_of_a_run_without_its_lease_are_not_saved(sandbox: Sandbox, connection: Connection) -> None:
    source = "read_parquet('data/customers.parquet')"
    sandbox.query(f"select customer, if(customer < 900, visits, null) as visits, spend from {source}")
    sandbox.edit("[domain]", "max_rejects = 100\n[domain]")
    job = sandbox.job()
    lease = leases.acquire(connection, "churn", watched=False)
    version = registration.begin(job, lease)

    def take_over(*_: object) -> None:
        with psycopg.connect(sandbox.database.url, autocommit=True) as successor:
            successor.execute("update prescore.leases set token = token + 1, expires_at = now() + interval '1 minute'")

    # The lease is taken after the first chunk, and the rejects are in the last one.
    job.on_progress = take_over
    with pytest.raises(LeaseLost):
        freezing.take_snapshot(job, lease, version, materialize.load_predictor(job, version))
    assert sandbox.rows("select count(*) from prescore.rejects") == [(0,)]


def test_a_failed_renewal_is_followed_by_another(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    renew, tokens, renewed = leases.renew, list[int](), threading.Event()

    def fail_once(connection: Connection, lease: Lease, seconds: float = leases.EXPIRY_SECONDS) -> int | None:
        tokens.append(lease.token)
        if len(tokens) == 1:
            raise psycopg.errors.LockNotAvailable("another session holds the row")
        renewed.set()
        return renew(connection, lease, seconds)

    monkeypatch.setattr(leases, "renew", fail_once)
    monkeypatch.setattr(leases, "EXPIRY_SECONDS", 0.04)
    migrations.migrate(sandbox.database)
    with leases.holding(sandbox.database, "churn"):
        assert renewed.wait(30)
