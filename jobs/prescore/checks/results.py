"""Check results in a few words each: never the rows themselves, of which there may be millions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from prescore.catalog.catalog import CheckResult
from prescore.wording import short

_MAX_EXAMPLES = 3
_MAX_LENGTH = 200

# Arguments of an expectation that its name or the table already implies.
_IMPLIED = ("batch_id", "column", "unexpected_rows_query")


def sentence(result: CheckResult) -> str:
    """Describe a result in one line: the check's name, what it observed, and what it expected."""
    name = result["name"]
    observed = short(result["observed"])
    expected = result["expected"]
    text = f"{name}: observed {observed}"
    if not expected:
        return text
    return f"{text}; expected {expected}"


def quantity(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 row` or `2,000 rows`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}s"


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
    nested = [part for part in exception_info.values() if isinstance(part, dict)]
    parts = [exception_info, *nested]
    return [part for part in parts if part.get("raised_exception")]


def _observed(result: dict[str, Any], exception_info: dict[str, Any]) -> Any:
    raised = exceptions(exception_info)
    if raised:
        message = raised[0]["exception_message"]
        return f"an error in the check itself: {message}"
    value = result.get("observed_value")
    if value is None and "unexpected_count" in result:
        return _unexpected(result)
    if isinstance(value, dict) and set(value) == {"quantiles", "values"}:
        values = map(short, value["values"])
        return _at_points(value["quantiles"], values)
    if _is_number(value) or isinstance(value, bool | str):
        return value
    if value is None or isinstance(value, float):
        # The mean of a column with a NaN, or of no rows at all.
        return "not a number"
    return str(value)[:_MAX_LENGTH]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _unexpected(result: dict[str, Any]) -> str:
    number = result["unexpected_count"] or 0
    count = quantity(number, "unexpected value")
    values = map(short, result.get("partial_unexpected_list", []))
    distinct = list(dict.fromkeys(values))
    if not distinct:
        return count
    examples = ", ".join(distinct[:_MAX_EXAMPLES])
    return f"{count}, such as {examples}"


def _expected(arguments: dict[str, Any]) -> str:
    shown = {name: value for name, value in arguments.items() if name not in _IMPLIED and value is not None}
    ranges = shown.pop("quantile_ranges", None)
    if ranges is not None:
        bounds = [_range(low, high) for low, high in ranges["value_ranges"]]
        return _at_points(ranges["quantiles"], bounds)
    low = shown.pop("min_value", None)
    high = shown.pop("max_value", None)
    parts = []
    if low is not None or high is not None:
        parts.append(_range(low, high))
    for name, value in shown.items():
        label = name.replace("_", " ")
        parts.append(f"{label} {value}")
    return ", ".join(parts)


def _range(low: Any, high: Any) -> str:
    if high is None:
        return f"at least {short(low)}"
    if low is None:
        return f"at most {short(high)}"
    if low == high:
        return f"exactly {short(low)}"
    return f"{short(low)} to {short(high)}"


def _at_points(points: Iterable[float], values: Iterable[str]) -> str:
    pairs = zip(points, values, strict=True)
    return ", ".join(f"{value} at {point}" for point, value in pairs)
