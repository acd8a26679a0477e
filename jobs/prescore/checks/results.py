"""Check results in a few words each: never the rows themselves, of which there may be millions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from prescore.catalog.catalog import CheckResult
from prescore.wording import count, short

_QUANTILES = {"quantiles", "values"}
_MAX_EXAMPLES = 3
_MAX_LENGTH = 200

# Arguments of an expectation that its name or the table already implies.
_IMPLIED = ("batch_id", "column", "unexpected_rows_query")
_BOUNDS = ("min_value", "max_value")


def sentence(result: CheckResult) -> str:
    """Describe a result in one line: the check's name, what it observed, and what it expected."""
    name = result["name"]
    observed = short(result["observed"])
    expected = result["expected"]
    text = f"{name}: observed {observed}"
    if not expected:
        return text
    return f"{text}; expected {expected}"


def from_validation(validation: Any) -> CheckResult:
    """Convert a Great Expectations validation result."""
    config = validation.expectation_config
    return {
        "name": config.meta["title"],
        "passed": bool(validation.success),
        "observed": _observed(validation.result, validation.exception_info),
        "expected": _expected(config.kwargs),
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


def _observed(result: dict[str, Any], exception_info: dict[str, Any]) -> Any:
    raised = exceptions(exception_info)
    if raised:
        first = raised[0]
        message = first["exception_message"]
        return f"an error in the check itself: {message}"
    value = result.get("observed_value")
    if value is None and "unexpected_count" in result:
        return _unexpected(result)
    if isinstance(value, dict) and value.keys() == _QUANTILES:
        values = map(short, value["values"])
        return _at_points(value["quantiles"], values)
    if isinstance(value, bool | str):
        return value
    if _is_number(value):
        return value
    if value is None or isinstance(value, float):
        # The mean of a column with a NaN, or of no rows at all.
        return "not a number"
    return str(value)[:_MAX_LENGTH]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _unexpected(result: dict[str, Any]) -> str:
    number = result["unexpected_count"] or 0
    counted = count(number, "unexpected value")
    values = result.get("partial_unexpected_list", [])
    distinct = list(dict.fromkeys(map(short, values)))
    if not distinct:
        return counted
    examples = ", ".join(distinct[:_MAX_EXAMPLES])
    return f"{counted}, such as {examples}"


def _expected(arguments: dict[str, Any]) -> str:
    quantiles = arguments.get("quantile_ranges")
    if quantiles is not None:
        points = quantiles["quantiles"]
        ranges = [_range(*bounds) for bounds in quantiles["value_ranges"]]
        return _at_points(points, ranges)
    low, high = (arguments.get(name) for name in _BOUNDS)
    parts = []
    if low is not None or high is not None:
        parts.append(_range(low, high))
    for name, value in arguments.items():
        if value is None or name in (*_BOUNDS, *_IMPLIED):
            continue
        label = name.replace("_", " ")
        parts.append(f"{label} {value}")
    return ", ".join(parts)


def _range(low: Any, high: Any) -> str:
    lowest = short(low)
    highest = short(high)
    if high is None:
        return f"at least {lowest}"
    if low is None:
        return f"at most {highest}"
    if low == high:
        return f"exactly {lowest}"
    return f"{lowest} to {highest}"


def _at_points(points: Iterable[float], values: Iterable[str]) -> str:
    parts = []
    for point, value in zip(points, values, strict=True):
        parts.append(f"{value} at {point}")
    return ", ".join(parts)
