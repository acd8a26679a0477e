"""Deployments during a run: the version is made of files that fit together, and of the current ones."""

from __future__ import annotations

import pytest

from fix_project import Sandbox, linear
from prescore.catalog.database import Connection
from prescore.errors import Busy, DatabaseUnavailable, Mistake
from prescore.run import materialize, preflight, registration
from prescore.run.job import Job
from prescore.versions import lease

SCORES = "select customer, score from predictions.churn order by customer"
MODELS = "select count(distinct model_fingerprint) as models from prescore.versions where state <> 'failed'"
SWAPPED = ('features = ["visits", "spend"]', 'features = ["spend", "visits"]')


def _deploy(sandbox: Sandbox) -> None:
    """Deploy the same model with its features in another order: model file and spec are right only together."""
    sandbox.edit(*SWAPPED)
    sandbox.onnx(linear([-0.5, 1.0]))


@pytest.mark.usefixtures("connection")
def test_a_run_that_waited_uses_the_files_deployed_meanwhile(sandbox: Sandbox, connection: Connection) -> None:
    materialize.run(sandbox.job())
    before = dict(sandbox.rows(SCORES))
    other = lease.acquire(connection, "churn", watched=True)

    def deploy_meanwhile(_: Busy) -> None:
        _deploy(sandbox)
        lease.release(connection, other)

    assert materialize.run(sandbox.job(), on_busy=deploy_meanwhile).published
    assert dict(sandbox.rows(SCORES)) == pytest.approx(before)
    assert sandbox.rows(MODELS) == [(2,)]


def test_a_run_uses_the_files_deployed_after_its_preflight(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    materialize.run(sandbox.job())
    before = dict(sandbox.rows(SCORES))
    check_target = preflight.check_target

    def deploy_meanwhile(job: Job) -> None:
        check_target(job)
        monkeypatch.setattr(preflight, "check_target", check_target)
        _deploy(sandbox)

    monkeypatch.setattr(preflight, "check_target", deploy_meanwhile)
    assert materialize.run(sandbox.job()).published
    assert dict(sandbox.rows(SCORES)) == pytest.approx(before)
    assert sandbox.rows(MODELS) == [(2,)]


def test_a_run_uses_the_files_deployed_before_the_database_came_back(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = registration.begin

    def deploy_and_fail(*_: object) -> int:
        monkeypatch.setattr(registration, "begin", begin)
        _deploy(sandbox)
        raise DatabaseUnavailable("connection lost")

    materialize.run(sandbox.job())
    before = dict(sandbox.rows(SCORES))
    monkeypatch.setattr(registration, "begin", deploy_and_fail)
    monkeypatch.setattr(materialize, "PAUSES", (0.0,))
    assert materialize.run(sandbox.job()).published
    assert dict(sandbox.rows(SCORES)) == pytest.approx(before)
    assert sandbox.rows(MODELS) == [(2,)]


def test_a_broken_deployment_creates_no_version(sandbox: Sandbox, connection: Connection) -> None:
    other = lease.acquire(connection, "churn", watched=True)

    def deploy_meanwhile(_: Busy) -> None:
        sandbox.query("select customer, visits from read_parquet('data/customers.parquet')")
        lease.release(connection, other)

    with pytest.raises(Mistake, match=r"spend \(feature\) is missing"):
        materialize.run(sandbox.job(), on_busy=deploy_meanwhile)
    assert sandbox.rows("select count(*) from prescore.versions") == [(0,)]


def test_a_resumed_version_gets_the_max_age_and_comments_of_the_current_spec(sandbox: Sandbox) -> None:
    sandbox.interrupted("score_chunks")
    sandbox.edit('max_age = "26h"', 'max_age = "1h"')
    sandbox.edit('comment = "from 0 to 1"', 'comment = "a probability"')
    assert materialize.run(sandbox.job()).resumed
    assert sandbox.rows("select max_age_seconds from predictions.freshness") == [(3600.0,)]
    comments = "select col_description('predictions.churn'::regclass, attnum) from pg_attribute where attname = 'score'"
    assert ("a probability",) in sandbox.rows(f"{comments} and attrelid = 'predictions.churn'::regclass")
