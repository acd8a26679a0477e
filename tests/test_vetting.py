"""Checks that cannot be meant, told before anything is scored."""

from __future__ import annotations

import json

import pytest

from fix_project import Sandbox

CHECKS = [
    ("min_value = 0", "min = 0", "min: no such argument; did you mean min_value?"),
    ("min_value = 0", "zebra = 0", "zebra: no such argument; it takes column, mostly, row_condition"),
    ("min_value = 0", "mostly = 3", "mostly: ensure this value is less than or equal to 1.0 (given: '3')"),
    ('column = "score"\n', "", "column: is missing"),
    ("column_values_to_be_between", "column_values_to_be_betwixt", "; did you mean column_values_to_be_between?"),
    ("column_values_to_be_between", "expect_column_values_to_be_between", "leave out the leading expect_"),
    ("min_value = 0", "min_value = 3", "its lower bound 3 is above its upper bound 1, so that nothing can pass"),
    ("min_value = 0", 'min_value = "0"', "min_value is '0', and score is real: write a number, without quotes"),
    ("min_value = 0", "min_value = 2024-01-01", "min_value is '2024-01-01', and score is real: write a number"),
    ("min_value = 0", 'min_value = { "$PARAMETER" = "x" }', "min_value: there are no parameters here"),
    ("min_value = 0", 'min_value = 0\nmeta = { a = "b" }', "meta is Great Expectations' own"),
    (
        "min_value = 0",
        "min_value = 0\nrow_condition = 'score > 0.5'",
        "row_condition: Postgres is not asked in such words",
    ),
    (
        "min_value = 0",
        "min_value = 0\nrow_condition = 'col(score) ! 3'\ncondition_parser = 'great_expectations'",
        "row_condition: unable to parse condition",
    ),
    (
        "min_value = 0",
        "min_value = 0\nrow_condition = 'col(\"colour\") > 3'\ncondition_parser = 'great_expectations'",
        "row_condition: the table has no column colour",
    ),
]


@pytest.mark.filterwarnings("ignore:.*row_condition|.*condition_parser:DeprecationWarning")
@pytest.mark.parametrize(("old", "new", "told"), CHECKS, ids=[new or "nothing" for _, new, _ in CHECKS])
def test_a_check_that_cannot_be_meant_is_told_before_anything_is_scored(
    sandbox: Sandbox, old: str, new: str, told: str
) -> None:
    sandbox.edit(old, new)
    for command in ("validate", "run"):
        done = sandbox.cli(command, "churn", "--json")
        assert done.code == 2, done.err
        assert json.loads(done.out)["error"]["code"] == "spec_invalid"
        assert told in done.err
        assert "type=" not in done.err
    assert sandbox.rows("select count(*) from prescore.versions") == [(0,)]


@pytest.mark.parametrize(
    ("ranges", "told"),
    [
        ("quantiles = [0.1, 0.9], value_ranges = [[0, 0.5], [0.9, 0.5]]", "0.9 is above its upper bound 0.5"),
        ("quantiles = [0.1, 0.9], value_ranges = [[0, 0.5]]", "a lowest and a highest number for each quantile"),
        ("quantiles = [0.1], value_ranges = [[0.5]]", "a lowest and a highest number for each quantile"),
        ('quantiles = [0.1], value_ranges = [["0", 1]]', "a lowest and a highest number for each quantile"),
        ("quantiles = [0.1]", "a lowest and a highest number for each quantile"),
    ],
)
def test_quantiles_have_bounds_in_order(sandbox: Sandbox, ranges: str, told: str) -> None:
    sandbox.edit("column_values_to_be_between", "column_quantile_values_to_be_between")
    sandbox.edit("min_value = 0\nmax_value = 1", f"quantile_ranges = {{ {ranges} }}")
    done = sandbox.cli("validate", "churn")
    assert (done.code, told in done.err) == (2, True), done.err


@pytest.mark.filterwarnings("ignore:.*row_condition|.*condition_parser:DeprecationWarning")
def test_a_check_may_be_of_some_rows_only(sandbox: Sandbox) -> None:
    condition = 'row_condition = \'col("customer") < 500\'\ncondition_parser = "great_expectations"'
    sandbox.edit("min_value = 0\n", f"min_value = 0\n{condition}\n")
    done = sandbox.cli("run", "churn")
    assert done.code == 0, done.err
