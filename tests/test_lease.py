"""The fencing token: whoever lost its place writes nothing, in whichever step it wakes up."""

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
from prescore.run import failure, materialize
from prescore.run.job import Job
from prescore.versions import lease
from prescore.versions.lease import Lease

STEPS: list[tuple[str, Callable[..., object]]] = [
    ("freeze", lambda job, held: materialize.take_snapshot(job, held, 1, materialize.load_scorer(job, 1))),
    ("score", lambda job, held: _score(job, held)),
    ("finish", lambda job, held: materialize.finish_table(job, held, 1)),
    ("check", lambda job, held: materialize.check_table(job, held, 1, expectations.build(job.spec))),
    ("publish", lambda job, held: materialize.publish_version(job, held, 1)),
    ("give up", lambda job, held: failure.give_up(job, held, 1, "no good")),
]
CATALOG = "select state, snapshot_rows, attached_at is null, checks is null from prescore.versions"


def _score(job: Job, held: Lease) -> None:
    materialize.score_chunks(job, held, 1, materialize.pending_chunks(job, 1), materialize.load_scorer(job, 1))


def _expire(connection: Connection) -> None:
    connection.execute("update prescore.leases set expires_at = now() - interval '1 second'")


@pytest.mark.parametrize("late", range(len(STEPS)), ids=[name for name, _ in STEPS])
def test_a_step_that_wakes_up_without_its_lease_changes_nothing(
    sandbox: Sandbox, connection: Connection, late: int
) -> None:
    job = sandbox.job()
    mine = lease.acquire(connection, "churn", watched=False)
    materialize.begin(job, mine)
    before_it = STEPS[:late] if STEPS[late][0] != "give up" else STEPS[:2]
    for _, step in before_it:
        step(job, mine)
    before = sandbox.rows(CATALOG)
    _expire(connection)
    lease.acquire(connection, "churn", watched=False)
    with pytest.raises(LeaseLost):
        STEPS[late][1](job, mine)
    # A partition may be there already: it shows nothing until the pointer moves.
    assert [row[:2] + row[3:] for row in sandbox.rows(CATALOG)] == [row[:2] + row[3:] for row in before]
    assert sandbox.rows("select count(*) from prescore.chunks") == [(10 if late > 1 else 0,)]
    assert sandbox.rows("select published_version from prescore.models") == [(None,)]


def test_beginning_without_a_lease_makes_no_version(sandbox: Sandbox, connection: Connection) -> None:
    mine = lease.acquire(connection, "churn", watched=False)
    _expire(connection)
    lease.acquire(connection, "churn", watched=False)
    with pytest.raises(LeaseLost):
        materialize.begin(sandbox.job(), mine)
    assert sandbox.rows("select count(*) from prescore.versions") == [(0,)]


def test_nobody_takes_over_between_the_last_look_and_the_commit(sandbox: Sandbox, connection: Connection) -> None:
    mine = lease.acquire(connection, "churn", watched=False)
    with psycopg.connect(sandbox.database.url, autocommit=True) as expiring:
        expiring.execute("update prescore.leases set expires_at = now() - interval '1 second'")
    with sandbox.database.connect() as successor:
        successor.execute("set lock_timeout = '100ms'")
        with connection.transaction():
            mine.check(connection)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                lease.acquire(successor, "churn", watched=False)
        assert lease.acquire(successor, "churn", watched=False).token > mine.token


def test_what_a_run_without_its_lease_sets_aside_is_not_kept(sandbox: Sandbox, connection: Connection) -> None:
    source = "read_parquet('data/customers.parquet')"
    sandbox.query(f"select customer, if(customer < 900, visits, null) as visits, spend from {source}")
    sandbox.edit("[domain]", "max_rejects = 100\n[domain]")
    job = sandbox.job()
    mine = lease.acquire(connection, "churn", watched=False)
    version = materialize.begin(job, mine)

    def taken_over(*_: object) -> None:
        with psycopg.connect(sandbox.database.url, autocommit=True) as successor:
            successor.execute("update prescore.leases set token = token + 1, expires_at = now() + interval '1 minute'")

    # After the first chunk; the rejects are in the last one.
    job.on_progress = taken_over
    with pytest.raises(LeaseLost):
        materialize.take_snapshot(job, mine, version, materialize.load_scorer(job, version))
    assert sandbox.rows("select count(*) from prescore.rejects") == [(0,)]


def test_one_renewal_in_vain_is_not_the_last(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    renew, tries, again = lease.renew, list[int](), threading.Event()

    def in_vain(connection: Connection, mine: Lease, seconds: float = lease.EXPIRY_SECONDS) -> int | None:
        tries.append(mine.token)
        if len(tries) == 1:
            raise psycopg.errors.LockNotAvailable("somebody holds the row")
        again.set()
        return renew(connection, mine, seconds)

    monkeypatch.setattr(lease, "renew", in_vain)
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.04)
    migrations.migrate(sandbox.database)
    with lease.holding(sandbox.database, "churn"):
        assert again.wait(30)
