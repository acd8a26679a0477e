"""The whole flow, as a run sees it."""

from __future__ import annotations

import json

from fix_project import Sandbox, linear


def test_a_run_publishes_every_row(sandbox: Sandbox) -> None:
    done = sandbox.cli("run", "churn", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["state"], report["published"], report["rows"], report["chunks"]) == ("published", True, 1000, 10)
    assert sandbox.rows("select count(*), count(distinct customer) as customers from predictions.churn") == [
        (1000, 1000)
    ]


def test_a_refused_version_leaves_the_old_one_served(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    sandbox.onnx(linear([1.0, -0.5], add=5.0))
    refused = sandbox.cli("run", "churn", "--json")
    assert refused.code == 4
    assert "scores are probabilities" in refused.err
    assert "Version 1 is still served" in refused.err
    assert json.loads(refused.out)["state"] == "refused"
    assert sandbox.rows("select distinct version from predictions.churn") == [(1,)]


def test_a_check_that_is_misspelt_later_is_found_before_anything_is_written(sandbox: Sandbox) -> None:
    assert sandbox.cli("run", "churn").code == 0
    sandbox.edit("max_value = 1", "max_valu = 1")
    misspelt = sandbox.cli("run", "churn")
    assert misspelt.code == 2, misspelt.err
    assert "max_valu" in misspelt.err
    assert sandbox.rows("select count(*) from prescore.versions") == [(1,)]
