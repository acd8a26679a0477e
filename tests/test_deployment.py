"""Files that change while a run waits, works or rests: what it makes is of a piece, and of what is there now."""

from __future__ import annotations

import pytest

from fix_project import Sandbox, linear
from prescore.catalog.database import Connection
from prescore.errors import Busy, DatabaseUnavailable, Mistake
from prescore.run import materialize, preflight
from prescore.run.job import Job
from prescore.versions import lease

SCORES = "select customer, score from predictions.churn order by customer"
MODELS = "select count(distinct model_fingerprint) as models from prescore.versions where state <> 'failed'"
SWAPPED = ('features = ["visits", "spend"]', 'features = ["spend", "visits"]')


def _deploy(sandbox: Sandbox) -> None:
    """The same model, retrained with its features in another order: neither file is right without the other."""
    sandbox.edit(*SWAPPED)
    sandbox.onnx(linear([-0.5, 1.0]))


@pytest.mark.usefixtures("connection")
def test_a_deployment_while_a_run_waits_is_what_it_makes(sandbox: Sandbox, connection: Connection) -> None:
    materialize.run(sandbox.job())
    before = dict(sandbox.rows(SCORES))
    other = lease.acquire(connection, "churn", watched=True)

    def deployed(_: Busy) -> None:
        _deploy(sandbox)
        lease.release(connection, other)

    assert materialize.run(sandbox.job(), on_busy=deployed).published
    assert dict(sandbox.rows(SCORES)) == pytest.approx(before)
    assert sandbox.rows(MODELS) == [(2,)]


def test_a_deployment_between_validation_and_work_is_what_it_makes(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize.run(sandbox.job())
    before, vet = dict(sandbox.rows(SCORES)), preflight.check_target

    def deployed(job: Job) -> None:
        vet(job)
        monkeypatch.setattr(preflight, "check_target", vet)
        _deploy(sandbox)

    monkeypatch.setattr(preflight, "check_target", deployed)
    assert materialize.run(sandbox.job()).published
    assert dict(sandbox.rows(SCORES)) == pytest.approx(before)
    assert sandbox.rows(MODELS) == [(2,)]


def test_a_deployment_before_the_database_came_back_is_what_it_makes(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = materialize.begin

    def lost(*_: object) -> int:
        monkeypatch.setattr(materialize, "begin", begin)
        _deploy(sandbox)
        raise DatabaseUnavailable("a cable")

    materialize.run(sandbox.job())
    before = dict(sandbox.rows(SCORES))
    monkeypatch.setattr(materialize, "begin", lost)
    monkeypatch.setattr(materialize, "PAUSES", (0.0,))
    assert materialize.run(sandbox.job()).published
    assert dict(sandbox.rows(SCORES)) == pytest.approx(before)
    assert sandbox.rows(MODELS) == [(2,)]


def test_a_deployment_that_does_not_hold_together_makes_nothing(sandbox: Sandbox, connection: Connection) -> None:
    other = lease.acquire(connection, "churn", watched=True)

    def deployed(_: Busy) -> None:
        sandbox.query("select customer, visits from read_parquet('data/customers.parquet')")
        lease.release(connection, other)

    with pytest.raises(Mistake, match="spend is missing"):
        materialize.run(sandbox.job(), on_busy=deployed)
    assert sandbox.rows("select count(*) from prescore.versions") == [(0,)]


def test_a_run_that_goes_on_does_so_under_the_promise_of_now(sandbox: Sandbox) -> None:
    sandbox.interrupted("score_chunks")
    sandbox.edit('max_age = "26h"', 'max_age = "1h"')
    sandbox.edit('comment = "from 0 to 1"', 'comment = "a probability"')
    assert materialize.run(sandbox.job()).resumed
    assert sandbox.rows("select max_age_seconds from predictions.freshness") == [(3600.0,)]
    told = "select col_description('predictions.churn'::regclass, attnum) from pg_attribute where attname = 'score'"
    assert ("a probability",) in sandbox.rows(f"{told} and attrelid = 'predictions.churn'::regclass")
