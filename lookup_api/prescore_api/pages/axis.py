"""An axis of numbers: bins of one width, and round numbers to read it by, whatever the range."""

from __future__ import annotations

import math
import sys
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

BINS = 48
_TICKS = 5
# Of all labels together: as many as a phone has room for.
_LETTERS = 46
_LARGEST = sys.float_info.max
# Beyond it a float cannot tell a half.
_WHOLE = 2.0**52
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Tick(NamedTuple):
    """A round number; `at` is its place on the axis, from 0 to 1."""

    at: float
    label: str


class Axis(NamedTuple):
    """`edges` ascend; the bins between them are of one width."""

    edges: tuple[float, ...]
    ticks: tuple[Tick, ...]


def between(low: float, high: float, *, whole: bool = False) -> Axis:
    """An axis that holds both ends; whole numbers lie in the middle of their bins."""
    if whole and max(abs(low), abs(high)) < _WHOLE:
        return _of_whole(math.floor(low), math.ceil(high))
    low, high = _apart(low, high)
    step = _step(_length(low, high))
    low, high = _rounded(low, high, step)
    edges = tuple(low * (1 - i / BINS) + high * (i / BINS) for i in range(BINS + 1))
    return Axis(edges, _ticks(low, high, step))


def is_wide(low: float, high: float) -> bool:
    """Whether there is a way between two numbers that can be measured."""
    return high / 4 > low / 4


def place(value: float, low: float, high: float) -> float:
    """How far a value is on the way between two others, from 0 to 1."""
    # In quarters, because the way from the smallest to the largest number is longer than any number.
    way = (value / 4 - low / 4) / (high / 4 - low / 4)
    return min(1.0, max(0.0, way))


def _of_whole(low: int, high: int) -> Axis:
    width = -(-(high - low + 1) // BINS)
    count = -(-(high - low + 1) // width)
    edges = tuple(low - 0.5 + width * i for i in range(count + 1))
    return Axis(edges, _ticks(edges[0], edges[-1], max(Decimal(1), _step(float(high - low)))))


def _length(low: float, high: float) -> float:
    return min(high - low, _LARGEST)


def _apart(low: float, high: float) -> tuple[float, float]:
    """The ends, so far from each other that floats can tell the bins between them apart."""
    around = max(abs(low), abs(high))
    least = max(16 * BINS * math.ulp(around), sys.float_info.min)
    missing = max(abs(low) / 10, 0.5) if low == high else max(0.0, (least - (high - low)) / 2)
    return max(low - missing, -_LARGEST), min(high + missing, _LARGEST)


def _rounded(low: float, high: float, step: Decimal) -> tuple[float, float]:
    """The ends, each at the round number beyond it if that is near."""
    near = _length(low, high) / 6
    below, above = float(_count(low, step, ROUND_FLOOR) * step), float(_count(high, step, ROUND_CEILING) * step)
    return below if low - below <= near else low, above if above - high <= near else high


def _step(length: float) -> Decimal:
    """The way between round numbers: 1, 2 or 5 times a power of ten, so that few enough fit in."""
    part = (length or 1.0) / _TICKS
    power = math.floor(math.log10(part))
    return next(step for m in (1, 2, 5, 10, 20) if float(step := Decimal(m).scaleb(power)) >= part)


def _ticks(low: float, high: float, step: Decimal) -> tuple[Tick, ...]:
    first, last = _count(low, step, ROUND_CEILING), _count(high, step, ROUND_FLOOR)
    values = [(n * step).normalize() for n in range(first, last + 1)]
    found = [Tick(place(float(v), low, high), label) for v, label in zip(values, _labels(values), strict=True)]
    fewer = (found[::every] for every in range(1, len(found) + 1))
    return tuple(next((ticks for ticks in fewer if sum(len(tick.label) + 2 for tick in ticks) <= _LETTERS), found[:1]))


def _count(value: float, step: Decimal, rounding: str) -> int:
    """How many steps it is from zero; by its shortest text, so that 0.3 is three times 0.1."""
    return int((Decimal(repr(value)) / step).to_integral_value(rounding))


def _labels(values: list[Decimal]) -> list[str]:
    """As people write them, all in one way: 0.25, 1,500, or 2·10⁹ where that is short."""
    powers = [value.adjusted() for value in values if value]
    digits = max(len(value.as_tuple().digits) for value in values) if values else 0
    powered = digits <= 3 and (max(powers, default=0) > 5 or max(powers, default=0) < -3)
    return [_in_powers(value) if powered else f"{value:,f}" for value in values]


def _in_powers(value: Decimal) -> str:
    power = str(value.adjusted()).translate(_SUPERSCRIPT)
    lead = f"{value.scaleb(-value.adjusted()):f}"
    shown = lead.replace("1", "10") if lead in ("1", "-1") else f"{lead}·10"
    return shown + power if value else "0"
