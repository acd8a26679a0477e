"""Messages about an unknown name suggest the one that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from fix_project import Sandbox

CLASS_NAME = 'expect = "ExpectColumnValuesToBeBetween"'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('column = "score"', 'column = "Score"', "no column Score (did you mean score?); it has customer, score"),
        ('[key]', '[comments]\nCustomer = "x"\n[key]', "no column Customer (did you mean customer?)"),
        ('description =', 'indexes = [["scor"]]\ndescription =', "no column scor (did you mean score?)"),
        ("[onnx.inputs]", 'nullable = ["Visits"]\n[onnx.inputs]', "not a feature (did you mean visits?)"),
        ('from = "score"', 'from = "scores"', "no output scores (did you mean score?); it has score"),
        ("features = [", "Features = [", "no such input (did you mean features?); it has features"),
        ('expect = "column_values_to_be_between"', CLASS_NAME,
         "checks.0.expect (scores are probabilities): must be in snake case, without expect_; write column_values"),
    ],
)  # fmt: skip
def test_a_misspelt_name_in_a_spec(sandbox: Sandbox, old: str, new: str, message: str) -> None:
    sandbox.edit(old, new)
    refused = sandbox.cli("validate", "churn")
    assert (refused.code, message in refused.err) == (2, True), refused.err


def test_columns_in_another_case_as_in_an_export_of_snowflake(sandbox: Sandbox) -> None:
    sandbox.query("select customer as CUSTOMER, visits, spend from read_parquet('data/customers.parquet')")
    refused = sandbox.cli("validate", "churn")
    assert (
        "Column customer (key) is missing; the query returns CUSTOMER, visits, spend. "
        "Did you mean CUSTOMER? Then write CUSTOMER as customer in the query." in refused.err
    )


def test_models_and_sources(sandbox: Sandbox) -> None:
    sandbox.cli("run", "churn")
    for command in ("versions", "history", "status"):
        assert "Did you mean churn?" in sandbox.cli(command, "chrun").err
    assert "Did you mean churn?" in sandbox.cli("lookup", "Churn", "1").err
    sandbox.settings('[sources]\nwarehouse = "sqlite:///x.db"\n')
    sandbox.edit("[key]", 'source = "warehose"\n[key]')
    assert "Did you mean warehouse?" in sandbox.cli("validate", "churn").err


def test_init_offers_a_valid_name(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.monkeypatch.chdir(tmp_path)
    refused = sandbox.cli("init", "My-Model")
    assert (refused.code, "; my_model would be one." in refused.err) == (2, True), refused.err
