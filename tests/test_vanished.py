"""Keys that the domain does not have any more: dropped, kept with the age of their own inputs, or remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from fix_client import address
from fix_project import SPEC, Sandbox, customers
from prescore.run import audit, materialize
from prescore.run.report import Report
from prescore_api.client import Client

WITHOUT_CHECKS = SPEC[: SPEC.index("[[checks]]")] + SPEC[SPEC.index("[freshness]") :]


@pytest.fixture(params=["full", "incremental", "rebase = 0"])
def project(sandbox: Sandbox, request: Any) -> Sandbox:
    incremental = {"full": "", "incremental": "[incremental]\n", "rebase = 0": "[incremental]\nrebase = 0\n"}
    clock = "[domain]\ndata_as_of = { query = \"select max(loaded) from read_csv('data/loaded.csv')\" }\n"
    spec = WITHOUT_CHECKS.replace("[domain]\n", clock)
    sandbox.spec(spec + incremental[request.param] + '[vanished]\npolicy = "keep"\nkeep_for = "50h"\n')
    (sandbox.root / "data").mkdir(exist_ok=True)
    return sandbox


def run(project: Sandbox, absent: set[int], hour: int) -> Report:
    """Publish a hundred customers but for some, with inputs of this hour."""
    present = [customer for customer in range(100) if customer not in absent]
    project.data(customers(100).take(present))
    day, hours = divmod(hour, 24)
    (project.root / "data" / "loaded.csv").write_text(f"loaded\n2026-01-{1 + day:02} {hours:02}:00:00\n")
    return materialize.run(project.job())


def kept(project: Sandbox) -> dict[int, int]:
    """Return the hour of the inputs of each kept row."""
    rows = project.rows(
        "select customer, extract(epoch from kept_data_as_of - '2026-01-01 00:00Z')::integer / 3600 as hour "
        "from predictions.churn where kept_data_as_of is not null order by customer"
    )
    return dict(rows)


def test_a_kept_row_has_the_age_of_its_own_inputs(project: Sandbox) -> None:
    run(project, set(), 0)
    before = project.rows("select score from predictions.churn where customer = 5")
    for absent, hour, expected in [
        ({5, 6}, 24, {5: 0, 6: 0}),
        # One is back, another one has gone, and the last keeps its time.
        ({5, 7}, 48, {5: 0, 7: 24}),
        # Its inputs are too old by now.
        ({5, 7}, 72, {7: 24}),
    ]:
        report = run(project, absent, hour)
        assert (report.rows, kept(project)) == (100 - len(absent - set(expected)), expected)
        verification = audit.verify(project.job())
        assert (verification.identical, verification.differences) == (True, ())
        if 5 in expected:
            assert project.rows("select score from predictions.churn where customer = 5") == before


def test_a_kept_row_counts_as_vanished(project: Sandbox) -> None:
    project.spec((project.root / "specs" / "churn.toml").read_text() + "[comparison]\nvanished.refuse = 0.02\n")
    run(project, set(), 0)
    run(project, {1, 2}, 24)
    with pytest.raises(Exception, match="vanished keys"):
        run(project, {1, 2, 3, 4, 5}, 48)
    assert kept(project) == {1: 0, 2: 0}


def test_a_tombstone_names_the_last_version_with_the_key(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.spec(WITHOUT_CHECKS + '[vanished]\npolicy = "tombstone"\n')
    (sandbox.root / "data").mkdir(exist_ok=True)
    sandbox.data(customers(10))
    materialize.run(sandbox.job())
    sandbox.query("select * from read_parquet('data/customers.parquet') where customer <> 5")
    materialize.run(sandbox.job())
    sandbox.query("select * from read_parquet('data/customers.parquet') where customer < 5")
    materialize.run(sandbox.job())
    answer = json.loads(sandbox.cli("lookup", "churn", "5", "--json").out)
    assert (answer["found"], answer["version"], answer["last_version"]) == (False, 3, 1)
    assert "last seen in version 2, with data as of" in sandbox.cli("lookup", "churn", "6").out
    assert json.loads(sandbox.cli("lookup", "churn", "99", "--json").out)["last_version"] is None
    answer = client.get("/v1/predictions/churn/5").json()
    assert (answer["found"], answer["version"], answer["last_version"]) == (False, 3, 1)
    assert answer["last_data_as_of"] < answer["data_as_of"]
    assert "last_version" not in client.get("/v1/predictions/churn/99").json()
    assert "last_version" not in client.get("/v1/predictions/churn/1").json()
    looked_up = (1, 5, 99, 6, 5)
    with Client(address(client)) as python_client:
        answers = python_client.lookup("churn", [{"customer": customer} for customer in looked_up])
        singles = [python_client.predict("churn", customer) for customer in looked_up]
    assert [answer.last_version for answer in answers] == [None, 1, None, 2, 1]
    assert [replace(answer, age_seconds=0) for answer in answers] == [replace(one, age_seconds=0) for one in singles]
