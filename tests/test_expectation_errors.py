"""Checks that cannot work are reported before anything is scored."""

from __future__ import annotations

import json

import pytest

from fix_project import QUERY, Sandbox
from prescore.checks import expectations
from prescore.checks.row_expectations import ROW_EXPECTATIONS

REPLACEMENTS = [
    ("min_value = 0", "min = 0", "min: unknown argument; did you mean min_value?"),
    (
        "min_value = 0",
        "max_rejects = 3",
        "max_rejects: unknown argument; max_rejects belongs at the top of the file, before the first [section]",
    ),
    ("min_value = 0", "zebra = 0", "zebra: unknown argument; it takes column, mostly, row_condition"),
    ("min_value = 0", "mostly = 3", "mostly: ensure this value is less than or equal to 1.0 (value: '3')"),
    ('column = "score"\n', "", "column: is missing"),
    ("column_values_to_be_between", "column_values_to_be_betwixt", " (did you mean column_values_to_be_between?)"),
    (
        "column_values_to_be_between",
        "expect_column_values_to_be_between",
        "must be in snake case, without expect_; write column_values_to_be_between",
    ),
    ("min_value = 0", "min_value = 3", "the lower bound 3 is above the upper bound 1, so no value can pass"),
    ("min_value = 0", 'min_value = "0"', "min_value is '0', but score is real; write a number, without quotes"),
    ("min_value = 0", "min_value = 2024-01-01", "min_value is '2024-01-01', but score is real; write a number"),
    (
        "min_value = 0",
        'min_value = { "$PARAMETER" = "x" }',
        "min_value: $PARAMETER is not supported; write the value itself",
    ),
    ("min_value = 0", 'min_value = 0\nmeta = { a = "b" }', "meta: is reserved by Great Expectations; leave it out"),
    (
        "min_value = 0",
        "min_value = 0\nrow_condition = 'score > 0.5'",
        'row_condition: cannot read \'score > 0.5\'; write it as \'col("score") > 0.5 and col("plan") == "team"\'',
    ),
    (
        "min_value = 0",
        'min_value = 0\nrow_condition = \'col("score") > 0.5 or col("score") < 0.1\'',
        'row_condition: cannot read \'col("score") > 0.5 or',
    ),
    ("min_value = 0", "min_value = 0\nrow_condition = 'col(\"score\") > 0 and '", "row_condition: cannot read"),
    ("min_value = 0", "min_value = 0\nrow_condition = ''", "row_condition: cannot read"),
    (
        "min_value = 0",
        "min_value = 0\nrow_condition = 'col(\"colour\") > 3'",
        "row_condition: the table has no column colour; it has customer, score",
    ),
    (
        "min_value = 0",
        "min_value = 0\nrow_condition = 'col(\"score\") > 0'\ncondition_parser = 'pandas'",
        "condition_parser: leave it out",
    ),
    (
        'column_values_to_be_between"\ncolumn = "score"\nmin_value = 0\nmax_value = 1',
        """column_pair_values_to_be_in_set"\ncolumn_A = "score"\ncolumn_B = "score"\nvalue_pairs_set = [[0, 0]]
        row_condition = 'col("score") > 0'""",
        "row_condition: Great Expectations ignores it here; use unexpected_rows_expectation instead",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    REPLACEMENTS,
    ids=[new or "nothing" for _, new, _ in REPLACEMENTS],
)
def test_a_check_that_cannot_work_is_an_error_before_anything_is_scored(
    sandbox: Sandbox, old: str, new: str, message: str
) -> None:
    sandbox.edit(old, new)
    for command in ("validate", "run"):
        done = sandbox.cli(command, "churn", "--json")
        assert done.code == 2, done.err
        assert json.loads(done.out)["error"]["code"] == "spec_invalid"
        assert message in done.err
        assert "type=" not in done.err
    assert sandbox.rows("select count(*) from prescore.versions") == [(0,)]


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ("quantiles = [0.1, 0.9], value_ranges = [[0, 0.5], [0.9, 0.5]]", "0.9 is above the upper bound 0.5"),
        ("quantiles = [0.1, 0.9], value_ranges = [[0, 0.5]]", "a lowest and a highest number for each quantile"),
        ("quantiles = [0.1], value_ranges = [[0.5]]", "a lowest and a highest number for each quantile"),
        ('quantiles = [0.1], value_ranges = [["0", 1]]', "a lowest and a highest number for each quantile"),
        ("quantiles = [0.1]", "a lowest and a highest number for each quantile"),
    ],
)
def test_quantile_ranges_must_be_complete_and_in_order(sandbox: Sandbox, ranges: str, message: str) -> None:
    sandbox.edit("column_values_to_be_between", "column_quantile_values_to_be_between")
    sandbox.edit("min_value = 0\nmax_value = 1", f"quantile_ranges = {{ {ranges} }}")
    done = sandbox.cli("validate", "churn")
    assert (done.code, message in done.err) == (2, True), done.err


CONDITIONS = {
    'col("customer") < 500': 500,
    'col("customer") >= 10 and col("customer") < 2e1': 10,
    "col('day') == '2026-01-03'": 100,
    'col("day") <= "2026-01-02" and col("customer") < 100': 20,
    'col("plan") == \'a or "b"\'': 1000,
    'col("is_seventh") == true': 1,
    'col("gap").isnull() and col("plan").notnull()': 1000,
}
"""Row conditions → the number of customers that meet them."""
COLUMNS = (
    "customer, date '2026-01-01' + (customer % 10)::integer as day, 'a or \"b\"' as plan, customer = 7 as is_seventh,"
    " null as gap"
)


def test_each_expectation_on_rows_is_known_to_judge_them_by_themselves_or_not_to(sandbox: Sandbox) -> None:
    expectations.build(sandbox.job().spec)
    from great_expectations.expectations import expectation, registry

    kinds = (
        expectation.ColumnMapExpectation,
        expectation.ColumnPairMapExpectation,
        expectation.MulticolumnMapExpectation,
    )
    registered = registry.list_registered_expectation_implementations()
    on_rows = {name for name in registered if issubclass(registry.get_expectation_impl(name), kinds)}
    assert on_rows - ROW_EXPECTATIONS == {
        # They look at all rows.
        "expect_column_value_z_scores_to_be_less_than",
        "expect_column_values_to_be_decreasing",
        "expect_column_values_to_be_increasing",
        "expect_column_values_to_be_unique",
        "expect_column_values_to_not_be_outliers",
        "expect_compound_columns_to_be_unique",
        # They look at the column's type.
        "expect_column_values_to_be_in_type_list",
        "expect_column_values_to_be_of_type",
        # It ignores conditions.
        "expect_column_pair_values_to_be_in_set",
        # They do not run in SQL.
        "expect_column_values_to_be_dateutil_parseable",
        "expect_column_values_to_be_json_parseable",
        "expect_column_values_to_match_json_schema",
        "expect_column_values_to_match_strftime_format",
    }
    assert on_rows >= ROW_EXPECTATIONS


def test_a_check_may_apply_to_some_rows_only(sandbox: Sandbox) -> None:
    sandbox.query(QUERY.replace("customer", COLUMNS, 1))
    sandbox.edit("[onnx]", '[passthrough]\nday = "date"\nplan = "text"\nis_seventh = "boolean"\ngap = "text"\n[onnx]')
    for i, condition in enumerate(CONDITIONS):
        check = f"[[checks]]\nname = 'check {i}'\nexpect = 'table_row_count_to_equal'\nvalue = 0\n"
        sandbox.edit("[freshness]", f"{check}row_condition = '''{condition}'''\n[freshness]")
    refusal = sandbox.cli("run", "churn").err
    for i, (condition, rows) in enumerate(CONDITIONS.items()):
        assert f"check {i}: observed {rows:,}; expected exactly 0 where {condition}" in refusal


def test_a_name_that_great_expectations_rewrites_cannot_be_checked_for_uniqueness(sandbox: Sandbox) -> None:
    sandbox.edit("[onnx]", '[passthrough]\n"a\\tb" = "bigint"\n[onnx]')
    sandbox.edit("[[checks]]", '[[checks]]\nexpect = "column_values_to_be_unique"\ncolumn = "a\\tb"\n[[checks]]')
    refused = sandbox.cli("validate", "churn")
    assert (refused.code, "replaces the tab or line break in 'a\\tb'; rename the column" in refused.err) == (2, True)
