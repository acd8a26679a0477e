"""Aggregates of a column, such as its mean, which Great Expectations then reads in one scan of a table."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

_DIALECT = "postgresql"
_UNNEEDED = (
    "table.row_count",
    # Only SQLite computes a standard deviation from these.
    "column.mean",
    "column_values.null.unexpected_count",
)
"""Metrics that Great Expectations reads before an aggregate, in scans of their own, and that Postgres does not need."""


@cache
def register() -> None:
    """Have the aggregates of Great Expectations need no other metric of a table in Postgres.

    It reads all metrics that need no others in one scan. On other databases they are as they were.
    """
    from great_expectations.expectations.metrics.column_aggregate_metrics.column_distinct_values import (
        ColumnDistinctValuesCount,
    )
    from great_expectations.expectations.metrics.column_aggregate_metrics.column_max import ColumnMax
    from great_expectations.expectations.metrics.column_aggregate_metrics.column_mean import ColumnMean
    from great_expectations.expectations.metrics.column_aggregate_metrics.column_min import ColumnMin
    from great_expectations.expectations.metrics.column_aggregate_metrics.column_standard_deviation import (
        ColumnStandardDeviation,
    )
    from great_expectations.expectations.metrics.column_aggregate_metrics.column_sum import ColumnSum

    aggregates: tuple[Any, ...] = (
        ColumnDistinctValuesCount,
        ColumnMax,
        ColumnMean,
        ColumnMin,
        ColumnStandardDeviation,
        ColumnSum,
    )
    for aggregate in aggregates:
        # A subclass would not replace a metric that is computed together with others.
        aggregate.get_evaluation_dependencies = _needing_less(aggregate.get_evaluation_dependencies)


def _needing_less(dependencies: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return the function that names the metrics that an aggregate needs, without those that Postgres does not need."""

    def needed(*arguments: Any, **named: Any) -> dict[str, Any]:
        found = dependencies(*arguments, **named)
        engine = named.get("execution_engine")
        if getattr(engine, "dialect_name", None) == _DIALECT:
            for name in _UNNEEDED:
                found.pop(name, None)
        return found

    return needed
