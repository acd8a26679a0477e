"""A numeric axis for any range: bins of equal width, and ticks at round numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

BINS = 48
# How many ticks to aim for.
_TICKS = 5
# How many characters all labels may have together: as many as a phone has room for.
_LABEL_CHARACTERS = 46
# Two labels need so much space between them.
_LABEL_GAP = 2
_LARGEST = sys.float_info.max
# From here on, a float cannot represent the halves at which bins of whole numbers begin.
_LARGEST_WITH_HALVES = 2.0**52
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Tick(NamedTuple):
    """A round number and its position on the axis, from 0 to 1."""

    position: float
    label: str


class Axis(NamedTuple):
    """The ascending edges of bins of equal width, and the ticks."""

    edges: tuple[float, ...]
    ticks: tuple[Tick, ...]


def between(low: float, high: float, *, whole: bool = False) -> Axis:
    """Return an axis that contains both ends. With `whole`, whole numbers lie in the middle of their bins."""
    largest = max(abs(low), abs(high))
    if whole and largest < _LARGEST_WITH_HALVES:
        return _whole_numbers(math.floor(low), math.ceil(high))
    low, high = _separate(low, high)
    length = _length(low, high)
    step = _tick_step(length)
    low, high = _extend_to_ticks(low, high, step)
    edges = []
    for i in range(BINS + 1):
        share = i / BINS
        edge = low * (1 - share) + high * share
        edges.append(edge)
    ticks = _ticks(low, high, step)
    return Axis(tuple(edges), ticks)


def is_wide(low: float, high: float) -> bool:
    """Return whether the distance between two numbers is more than 0, as `position` computes it."""
    return high / 4 > low / 4


def position(value: float, low: float, high: float) -> float:
    """Return where a value lies between two others, from 0 to 1."""
    # A quarter of each, because the distance from the smallest to the largest float is not a float.
    distance = value / 4 - low / 4
    length = high / 4 - low / 4
    share = distance / length
    return min(1.0, max(0.0, share))


def _whole_numbers(low: int, high: int) -> Axis:
    count = high - low + 1
    width = _divide_rounding_up(count, BINS)
    bins = _divide_rounding_up(count, width)
    first_edge = low - 0.5
    edges = [first_edge + width * i for i in range(bins + 1)]
    length = float(high - low)
    step = max(Decimal(1), _tick_step(length))
    ticks = _ticks(edges[0], edges[-1], step)
    return Axis(tuple(edges), ticks)


def _divide_rounding_up(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _length(low: float, high: float) -> float:
    # The distance from the smallest to the largest float is infinite.
    return min(high - low, _LARGEST)


def _separate(low: float, high: float) -> tuple[float, float]:
    """Move the ends apart until the edges of the bins between them are different floats."""
    largest = max(abs(low), abs(high))
    if low == high:
        margin = max(largest / 10, 0.5)
    else:
        spacing = math.ulp(largest)
        least_length = max(16 * BINS * spacing, sys.float_info.min)
        missing = least_length - (high - low)
        margin = max(0.0, missing / 2)
    low = max(low - margin, -_LARGEST)
    high = min(high + margin, _LARGEST)
    return low, high


def _extend_to_ticks(low: float, high: float, step: Decimal) -> tuple[float, float]:
    """Move each end to the round number beyond it, if that is near."""
    near = _length(low, high) / 6
    steps_below = _steps(low, step, ROUND_FLOOR)
    steps_above = _steps(high, step, ROUND_CEILING)
    tick_below = float(steps_below * step)
    tick_above = float(steps_above * step)
    if low - tick_below <= near:
        low = tick_below
    if tick_above - high <= near:
        high = tick_above
    return low, high


def _tick_step(length: float) -> Decimal:
    """Return the distance between ticks: the least 1, 2 or 5 times a power of ten that gives few enough of them."""
    if not length:
        length = 1.0
    least = length / _TICKS
    power = math.floor(math.log10(least))
    for factor in (1, 2, 5, 10):
        step = Decimal(factor).scaleb(power)
        if float(step) >= least:
            return step
    # The logarithm above may have been rounded down to the next power.
    return Decimal(20).scaleb(power)


def _ticks(low: float, high: float, step: Decimal) -> tuple[Tick, ...]:
    first = _steps(low, step, ROUND_CEILING)
    last = _steps(high, step, ROUND_FLOOR)
    values = []
    for number in range(first, last + 1):
        value = number * step
        values.append(value.normalize())
    labels = _labels(values)
    ticks = []
    for value, label in zip(values, labels, strict=True):
        tick = Tick(position(float(value), low, high), label)
        ticks.append(tick)
    return tuple(_thin_out(ticks))


def _thin_out(ticks: Sequence[Tick]) -> Sequence[Tick]:
    """Keep every second, third, … tick, as many as there is room for."""
    for every in range(1, len(ticks)):
        kept = ticks[::every]
        if _label_width(kept) <= _LABEL_CHARACTERS:
            return kept
    return ticks[:1]


def _label_width(ticks: Sequence[Tick]) -> int:
    width = 0
    for tick in ticks:
        width += len(tick.label) + _LABEL_GAP
    return width


def _steps(value: float, step: Decimal, rounding: str) -> int:
    """Return how many steps a value is from zero. Its shortest text is exact: 0.3 is three times 0.1."""
    steps = Decimal(repr(value)) / step
    return int(steps.to_integral_value(rounding))


def _labels(values: Sequence[Decimal]) -> list[str]:
    """Format all values in the same way: 0.25, 1,500, or 2·10⁹ if they are very large or small, and short."""
    if _suit_powers_of_ten(values):
        return [_power_of_ten(value) for value in values]
    return [f"{value:,f}" for value in values]


def _suit_powers_of_ten(values: Sequence[Decimal]) -> bool:
    exponents = [value.adjusted() for value in values if value]
    if not exponents:
        return False
    largest = max(exponents)
    if -3 <= largest <= 5:
        return False
    for value in values:
        digits = value.as_tuple().digits
        if len(digits) > 3:
            return False
    return True


def _power_of_ten(value: Decimal) -> str:
    if not value:
        return "0"
    exponent = value.adjusted()
    factor = f"{value.scaleb(-exponent):f}"
    power = "10" + str(exponent).translate(_SUPERSCRIPT)
    if factor == "1":
        return power
    if factor == "-1":
        return f"-{power}"
    return f"{factor}·{power}"
