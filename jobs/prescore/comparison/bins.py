"""The bins of a histogram: how many values of one version are between two edges, and their moments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

COARSE = 0.004
"""The share of the values above which a bin of different values is too coarse: four times that in a profile."""


@dataclass(frozen=True)
class Bin:
    """The values of one version between two edges: how many, their moments, the smallest and the largest."""

    bucket: int
    rows: int
    mean: float
    deviation: float
    low: float
    high: float

    @property
    def squares(self) -> float:
        """The sum of the squared distances from the mean."""
        return self.rows * self.deviation**2


def edges(values: Iterable[float]) -> list[float]:
    """Return edges that give each of these values a bin of its own, and one to the values between two of them."""
    return sorted({edge for value in values for edge in (value, math.nextafter(value, math.inf))})


def moments(bins: Sequence[Bin]) -> tuple[int, float | None, float | None]:
    """Return the number of values, their mean and their standard deviation; None for these without a value."""
    rows = sum(each.rows for each in bins)
    if not rows:
        return 0, None, None
    mean = math.fsum(each.rows * each.mean for each in bins) / rows
    # The variance within the bins, and between them.
    squares = math.fsum(each.rows * (each.deviation**2 + (each.mean - mean) ** 2) for each in bins)
    return rows, mean, math.sqrt(squares / rows)


def are_coarse(bins: Sequence[Bin]) -> bool:
    """Return whether a bin of different values has too many of all for what is measured from bins alone."""
    limit = COARSE * sum(each.rows for each in bins)
    return any(each.rows > limit and each.low < each.high for each in bins)


def replaced(bins: Iterable[Bin], removed: Iterable[Bin], added: Iterable[Bin]) -> list[Bin] | None:
    """Return the bins of a version in which values have been removed and others added, all between the same edges.

    Numbers of values and moments follow exactly, up to rounding. Within the distribution, `low` and `high` may stay
    wider than the values that are left. Returns None if the smallest or the largest value of all cannot be known.
    """
    removed_by_bucket = {each.bucket: each for each in removed}
    added_by_bucket = {each.bucket: each for each in added}
    by_bucket = {each.bucket: each for each in bins}
    changes: list[_Change] = []
    for bucket in sorted(by_bucket | removed_by_bucket | added_by_bucket):
        change = _Change(by_bucket.get(bucket), removed_by_bucket.get(bucket), added_by_bucket.get(bucket))
        if change.left < 0:
            return None
        if change.result is not None:
            changes.append(change)
    if changes and not (changes[0].keeps_low and changes[-1].keeps_high):
        return None
    return [change.result for change in changes if change.result is not None]


@dataclass(frozen=True)
class _Change:
    """A bin, and those of its values that were removed and added."""

    before: Bin | None
    removed: Bin | None
    added: Bin | None

    @property
    def left(self) -> int:
        """The number of values before, less those that were removed; negative if the bin is not that of a version."""
        return (self.before.rows if self.before else 0) - (self.removed.rows if self.removed else 0)

    @cached_property
    def result(self) -> Bin | None:
        """The bin afterwards, None if it is empty."""
        if self.before is None or not self.left:
            return self.added
        if self.removed == self.added:
            return self.before
        rest = self.before if self.removed is None else _without(self.before, self.removed)
        return rest if self.added is None else _with(rest, self.added)

    @property
    def keeps_low(self) -> bool:
        """Whether `low` is a value that is still there."""
        if self._is_certain or self.before is None or self.removed is None:
            return True
        return self.removed.low > self.before.low or (self.added is not None and self.added.low <= self.before.low)

    @property
    def keeps_high(self) -> bool:
        """Whether `high` is a value that is still there."""
        if self._is_certain or self.before is None or self.removed is None:
            return True
        return self.removed.high < self.before.high or (self.added is not None and self.added.high >= self.before.high)

    @property
    def _is_certain(self) -> bool:
        """Whether what is left of the bin has one value, or nothing is left."""
        return not self.left or (self.before is not None and self.before.low == self.before.high)


def _with(one: Bin, other: Bin) -> Bin:
    rows = one.rows + other.rows
    distance = other.mean - one.mean
    squares = one.squares + other.squares + distance**2 * one.rows * other.rows / rows
    return replace(
        one,
        rows=rows,
        mean=one.mean + distance * other.rows / rows,
        deviation=math.sqrt(squares / rows),
        low=min(one.low, other.low),
        high=max(one.high, other.high),
    )


def _without(whole: Bin, part: Bin) -> Bin:
    rows = whole.rows - part.rows
    distance = whole.mean - part.mean
    squares = whole.squares - part.squares - distance**2 * whole.rows * part.rows / rows
    # Rounding may leave less than nothing.
    deviation = math.sqrt(max(squares, 0.0) / rows)
    return replace(whole, rows=rows, mean=whole.mean + distance * part.rows / rows, deviation=deviation)
