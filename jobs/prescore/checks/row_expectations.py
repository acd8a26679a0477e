"""Expectations that judge each row by itself: a row that has met one meets it in every version that has the row."""

from __future__ import annotations

from typing import Any

from prescore.catalog.catalog import Version

ROW_EXPECTATIONS = frozenset(
    {
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_null",
        "expect_column_values_to_match_like_pattern",
        "expect_column_values_to_match_like_pattern_list",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_like_pattern",
        "expect_column_values_to_not_match_like_pattern_list",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
        "expect_multicolumn_sum_to_equal",
        "expect_multicolumn_values_to_be_equal",
        "expect_select_column_values_to_be_unique_within_record",
    }
)
"""Their names.

Great Expectations' other map expectations look at several rows or at types, do not run in SQL, or ignore conditions.
"""


def judges_rows(expectation: Any) -> bool:
    """Return whether all rows of a version meet an expectation if each of them does."""
    return expectation.expectation_type in ROW_EXPECTATIONS and expectation.mostly == 1


def restricted(expectation: Any, version: Version) -> Any:
    """Return an expectation on the table of a delta that leaves out the rows which only hide a row of the base."""
    from great_expectations.expectations.row_conditions import Column

    condition = Column("version") == version["rows_version"]
    if expectation.row_condition is not None:
        condition = expectation.row_condition & condition
    return expectation.copy(update={"row_condition": condition})
