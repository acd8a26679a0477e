"""What a check found, in a few words: never the rows, of which there may be millions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from prescore.wording import short

Result = dict[str, Any]
"""One check: `{name, passed, observed, expected}`; `observed` is a finite number, a boolean or a short text."""


def sentence(result: Result) -> str:
    """One result in a line: which check, what was seen, what was allowed."""
    return f"{result['name']}: saw {short(result['observed'])}, allowed is {result['expected']}"


def from_validation(validated: Any) -> Result:
    """A Great Expectations result as ours."""
    config = validated.expectation_config
    return {
        "name": config.meta["title"],
        "passed": bool(validated.success),
        "observed": _observed(validated.result, validated.exception_info),
        "expected": _expected(config.kwargs),
    }


def exceptions(exception: dict[str, Any]) -> list[dict[str, Any]]:
    """The exceptions behind a Great Expectations result: it holds one, or one a metric."""
    parts = (exception, *(part for part in exception.values() if isinstance(part, dict)))
    return [part for part in parts if part.get("raised_exception")]


def _observed(seen: dict[str, Any], exception: dict[str, Any]) -> Any:
    for fault in exceptions(exception):
        return f"that the check itself failed: {fault['exception_message']}"
    value = seen.get("observed_value")
    if value is None and "unexpected_count" in seen:
        examples = ", ".join(list(dict.fromkeys(map(short, seen.get("partial_unexpected_list", []))))[:3])
        return f"{seen['unexpected_count'] or 0:,} values off" + (f", such as {examples}" if examples else "")
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        # What a mean is of values of which one is no number.
        return "no number"
    if isinstance(value, dict) and set(value) == {"quantiles", "values"}:
        return _pairs(value["quantiles"], map(short, value["values"]))
    return value if isinstance(value, int | float | str | bool) else str(value)[:200]


# Said already, or of no use to a person.
_KNOWN = ("batch_id", "column", "unexpected_rows_query")


def _expected(kwargs: dict[str, Any]) -> str:
    given = {k: v for k, v in kwargs.items() if k not in _KNOWN and v is not None}
    if (ranges := given.pop("quantile_ranges", None)) is not None:
        return _pairs(ranges["quantiles"], (_range(low, high) for low, high in ranges["value_ranges"]))
    low, high = given.pop("min_value", None), given.pop("max_value", None)
    bounds = [] if low is None and high is None else [_range(low, high)]
    return ", ".join([*bounds, *(f"{name.replace('_', ' ')} {value}" for name, value in given.items())])


def _range(low: Any, high: Any) -> str:
    if low is None or high is None:
        return f"at least {short(low)}" if high is None else f"at most {short(high)}"
    return f"exactly {short(low)}" if low == high else f"{short(low)} to {short(high)}"


def _pairs(points: Iterable[float], values: Iterable[str]) -> str:
    return ", ".join(f"{value} at {point}" for point, value in zip(points, values, strict=True))
