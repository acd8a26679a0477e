"""Check results in a few words each: never the rows themselves, of which there may be millions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from prescore.catalog.catalog import CheckResult
from prescore.checks.expected import at_points, describe, shown
from prescore.wording import count, short

ROWS_EXPECTATION = "unexpected_rows_expectation"
"""The expectation that is a query, which no row may meet. Its name does not begin with `expect_`."""
_QUANTILES = {"quantiles", "values"}
_MAX_EXAMPLES = 3
_MAX_LENGTH = 200
_LOOKS_ROUND = 1e-5


def sentence(result: CheckResult) -> str:
    """Describe a result in one line: the check's name, what it observed, and what it expected."""
    name = result["name"]
    observed = short(result["observed"])
    expected = result["expected"]
    text = f"{name}: observed {observed}"
    if not expected:
        return text
    return f"{text}; expected {expected}"


def differing_rows(rows: int, base: int) -> str:
    """Return where a check looked that read the rows of a delta alone, as the other rows of its base have passed it."""
    verb = "differs" if rows == 1 else "differ"
    return f"in the {count(rows, 'row')} that {verb} from version {base}"


def from_validation(validation: Any, differing: str | None = None) -> CheckResult:
    """Convert a Great Expectations validation result; `differing` says which rows it is about, None if all."""
    config = validation.expectation_config
    return {
        "name": config.meta["title"],
        "passed": bool(validation.success),
        "observed": _observed(validation, differing),
        "expected": describe(config.type.removeprefix("expect_"), config.kwargs, config.meta.get("row_condition")),
    }


def exceptions(exception_info: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the exceptions behind a Great Expectations result, which holds either one or one per metric."""
    raised = []
    for part in (exception_info, *exception_info.values()):
        if not isinstance(part, dict):
            continue
        if part.get("raised_exception"):
            raised.append(part)
    return raised


def _observed(validation: Any, differing: str | None) -> Any:
    raised = exceptions(validation.exception_info)
    if raised:
        first = raised[0]
        message = first["exception_message"]
        return f"an error in the check itself: {message}"
    result = validation.result
    if not result.keys() - {"details"}:
        return "as expected" if validation.success else "not as expected"
    value = result.get("observed_value")
    if value is None:
        return _without_value(result, differing)
    if validation.expectation_config.type == ROWS_EXPECTATION:
        return count(value, "unexpected row")
    if isinstance(value, dict) and value.keys() == _QUANTILES:
        values = map(short, value["values"])
        return at_points(value["quantiles"], values)
    if isinstance(value, bool | str):
        return value
    if _is_number(value):
        return value
    if isinstance(value, float):
        # The mean of a column with a NaN.
        return "not a number"
    return shown(value)[:_MAX_LENGTH]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _without_value(result: dict[str, Any], differing: str | None) -> str:
    """Describe what an expectation observed that counts values instead of observing one."""
    parts = []
    if "partial_missing_list" in result:
        parts.append(_missing(result["missing_count"], result["partial_missing_list"]))
    # The absence of unexpected values says nothing beside the values that are missing.
    if result.get("unexpected_count") or ("unexpected_count" in result and not parts):
        parts.append(_unexpected(result, differing))
    # Such as the mean of no rows at all.
    return ", ".join(parts) or "no value"


def _missing(number: int, values: Iterable[Any]) -> str:
    """Return which values do not occur in a column, of those that must."""
    if not number:
        return "no value is missing"
    examples = ", ".join(list(map(shown, values))[:_MAX_EXAMPLES])
    if number == 1:
        return f"{examples} is missing"
    return f"{count(number, 'value')} are missing, such as {examples}"


def _unexpected(result: dict[str, Any], differing: str | None) -> str:
    number = result["unexpected_count"] or 0
    counted = count(number, "unexpected value")
    if differing is not None:
        counted = f"{counted} {differing}"
    values = result.get("partial_unexpected_list", [])
    distinct = list(dict.fromkeys(map(_shown_exactly, values)))
    if not distinct:
        return counted
    examples = ", ".join(distinct[:_MAX_EXAMPLES])
    return f"{counted}, such as {examples}"


def _shown_exactly(value: Any) -> str:
    """Return an unexpected value as text, with more digits where few would look like a bound: 1.0000001, not 1."""
    if isinstance(value, float) and math.isfinite(value):
        rounded = float(f"{value:.4g}")
        if value != rounded and math.isclose(value, rounded, rel_tol=_LOOKS_ROUND):
            return f"{value:.8g}"
    return shown(value)
