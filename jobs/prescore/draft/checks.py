"""The checks of a draft: bounds around what a sample of predictions shows, each with what was observed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from prescore.draft.outputs import DraftOutput, Tensor
from prescore.wording import count, short

# How far the number of rows and the mean of probabilities may move, as factors.
_LOW, _HIGH = 0.5, 2.0
# Below this part of the observed standard deviation, a model has lost what it knew.
_LEAST_DEVIATION = 0.2
_MOST_LABELS = 20
# A sum of 32-bit floats, such as the votes of a forest, may exceed 1 by its rounding.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class DraftCheck:
    """An expectation, with what was observed when it was drafted."""

    name: str
    expect: str
    arguments: dict[str, Any]
    observed: str


def draft(rows: int, outputs: list[DraftOutput]) -> list[DraftCheck]:
    """Return the checks for a domain of so many rows with these outputs."""
    row_count = DraftCheck(
        name="the number of rows is plausible",
        expect="table_row_count_to_be_between",
        arguments={
            "min_value": int(rows * _LOW),
            "max_value": int(rows * _HIGH),
        },
        observed=count(rows, "row"),
    )
    checks = [row_count]
    for output in outputs:
        checks += _of_output(output)
    return checks


def _of_output(output: DraftOutput) -> Iterator[DraftCheck]:
    match output.kind:
        case "probability":
            yield from _of_probability(output)
        case "number":
            yield from _of_number(output)
        case "label":
            yield from _of_label(output)


def _of_probability(output: DraftOutput) -> Iterator[DraftCheck]:
    values = _finite(output.values)
    if not values.size:
        return
    low, high = _ends(values)
    yield DraftCheck(
        name=f"{output.name} is a probability",
        expect="column_values_to_be_between",
        arguments={
            "column": output.name,
            "min_value": 0.0 if low >= 0 else -_ROUNDING,
            "max_value": 1.0 if high < 1 - _ROUNDING else 1 + _ROUNDING,
        },
        observed=f"{short(low)} to {short(high)}",
    )
    mean = float(values.mean())
    yield _mean(output, mean, mean * _LOW, min(mean * _HIGH, 1.0))
    yield from _deviation(output, values)


def _of_number(output: DraftOutput) -> Iterator[DraftCheck]:
    values = _finite(output.values)
    if not values.size:
        return
    low, high = _ends(values)
    span = high - low or abs(high) or 1.0
    yield _values(output, "is in its range", low - span, high + span, f"{short(low)} to {short(high)}")
    deviation = float(values.std())
    if deviation:
        mean = float(values.mean())
        yield _mean(output, mean, mean - deviation, mean + deviation)
    yield from _deviation(output, values)


def _deviation(output: DraftOutput, values: Tensor) -> Iterator[DraftCheck]:
    deviation = float(values.std())
    if deviation:
        yield DraftCheck(
            name=f"{output.name} differs between rows",
            expect="column_stdev_to_be_between",
            arguments={
                "column": output.name,
                "min_value": _rounded(deviation * _LEAST_DEVIATION),
            },
            observed=short(deviation),
        )


def _of_label(output: DraftOutput) -> Iterator[DraftCheck]:
    seen = list(dict.fromkeys(output.values.tolist()))
    known = list(output.labels) or sorted(seen)
    is_known = set(map(type, known)) == set(map(type, seen)) and set(seen) <= set(known)
    if output.type == "boolean" or len(known) > _MOST_LABELS or not is_known:
        return
    yield DraftCheck(
        name=f"{output.name} is a known class",
        expect="column_values_to_be_in_set",
        arguments={"column": output.name, "value_set": known},
        observed=", ".join(map(str, seen)),
    )


def _values(output: DraftOutput, what: str, low: float, high: float, observed: str) -> DraftCheck:
    return DraftCheck(
        name=f"{output.name} {what}",
        expect="column_values_to_be_between",
        arguments=_bounds(output, low, high),
        observed=observed,
    )


def _mean(output: DraftOutput, mean: float, low: float, high: float) -> DraftCheck:
    return DraftCheck(
        name=f"{output.name} has a plausible mean",
        expect="column_mean_to_be_between",
        arguments=_bounds(output, low, high),
        observed=short(mean),
    )


def _bounds(output: DraftOutput, low: float, high: float) -> dict[str, Any]:
    return {
        "column": output.name,
        "min_value": _rounded(low),
        "max_value": _rounded(high),
    }


def _ends(values: Tensor) -> tuple[float, float]:
    low = float(values.min())
    high = float(values.max())
    return low, high


def _finite(values: Tensor) -> Tensor:
    numbers = values.astype(np.float64)
    return numbers[np.isfinite(numbers)]


def _rounded(number: float) -> float:
    """Return a bound with three significant digits, as a person would write it."""
    return float(f"{number:.3g}")
