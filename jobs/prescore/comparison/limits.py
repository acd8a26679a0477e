"""What a comparison measured, held against the limits of the spec."""

from __future__ import annotations

from collections.abc import Iterator

from prescore.catalog.catalog import CheckResult
from prescore.comparison.differences import ColumnDifference, Comparison, KeyCounts
from prescore.project.limits import ColumnLimits, ComparisonLimits, Limits

_NOT_MEASURED = "no value to compare"
_TITLES = {
    "changed": "rows with another {column}",
    "moved": "rows whose {column} moved",
    "psi": "PSI of {column}",
    "ks": "KS distance of {column}",
    "mean_shift": "shift of the mean of {column}",
    "quantile_shift": "shift of a quantile of {column}",
}
"""Measure of a column → its name as a check."""


def results(compared: Comparison, limits: ComparisonLimits, *, kept: int = 0) -> list[CheckResult]:
    """Return a check result for each limit: failed above `refuse`, with a warning above `warn`.

    A measure that has no value, such as the mean of a column without values, is a warning. Limits of a column that the
    served version does not have are left out. `kept` rows have keys that have vanished since the served version.
    """
    found = list(_key_results(compared.keys, limits, kept))
    for column in compared.columns:
        if column.column in limits.columns:
            found += _column_results(column, limits.columns[column.column], compared.keys)
    return found


def unmeasured(limits: ComparisonLimits, reason: str) -> list[CheckResult]:
    """Return a check result with a warning if there are limits, none of which could be measured."""
    if not (limits.rows or limits.added or limits.vanished or limits.columns):
        return []
    result: CheckResult = {
        "name": "comparison",
        "passed": True,
        "observed": f"not possible: {reason}",
        "expected": "a served version against which the limits can be measured",
        "warning": True,
    }
    return [result]


def _key_results(keys: KeyCounts, limits: ComparisonLimits, kept: int) -> Iterator[CheckResult]:
    measures = (
        ("change in the number of rows", abs(keys.rows_b - keys.rows_a), keys.rows_a, limits.rows),
        ("new keys", keys.added, keys.rows_b, limits.added),
        ("vanished keys", keys.vanished + kept, keys.rows_a, limits.vanished),
    )
    for name, rows, total, bounds in measures:
        if bounds is not None:
            yield _result(name, _share(rows, total), bounds)


def _column_results(column: ColumnDifference, limits: ColumnLimits, keys: KeyCounts) -> Iterator[CheckResult]:
    for measure, title in _TITLES.items():
        bounds = getattr(limits, measure)
        if bounds is not None:
            yield _result(title.format(column=column.column), _value(column, measure, keys), bounds)


def _value(column: ColumnDifference, measure: str, keys: KeyCounts) -> float | None:
    """Return a measure of a column; None if it has no value."""
    if measure == "changed":
        return _share(column.changed, keys.common)
    if measure == "moved":
        moving = column.shift or column.elements
        return None if moving is None else _share(moving.moved, keys.common)
    value: float | None = getattr(column.shift, measure, None)
    return value


def _share(rows: int, total: int) -> float | None:
    return rows / total if total else None


def _result(name: str, value: float | None, bounds: Limits) -> CheckResult:
    refused = value is not None and bounds.refuse is not None and value > bounds.refuse
    warning = value is None or (bounds.warn is not None and value > bounds.warn)
    result: CheckResult = {
        "name": name,
        "passed": not refused,
        "observed": _NOT_MEASURED if value is None else value,
        "expected": _describe(bounds),
    }
    if warning and not refused:
        result["warning"] = True
    return result


def _describe(bounds: Limits) -> str:
    parts = []
    if bounds.warn is not None:
        parts.append(f"at most {bounds.warn:g} without approval")
    if bounds.refuse is not None:
        parts.append(f"at most {bounds.refuse:g}")
    return ", and ".join(parts)
