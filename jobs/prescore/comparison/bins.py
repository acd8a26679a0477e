"""The bins of a histogram: how many values of one version are between two edges, and their moments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
        variance = self.deviation**2
        return self.rows * variance

    def squares_from(self, center: float) -> float:
        """Return the sum of the squared distances from a center."""
        distance = self.mean - center
        between = self.rows * distance**2
        return self.squares + between

    @property
    def has_one_value(self) -> bool:
        """Whether all of its values are equal."""
        return self.low == self.high


def edges(values: Iterable[float]) -> list[float]:
    """Return edges that give each of these values a bin of its own, and one to the values between two of them."""
    found: set[float] = set()
    for value in values:
        found.add(value)
        found.add(math.nextafter(value, math.inf))
    return sorted(found)


def count(bins: Iterable[Bin]) -> int:
    """Return the number of values."""
    return sum(each.rows for each in bins)


def moments(bins: Sequence[Bin]) -> tuple[int, float | None, float | None]:
    """Return the number of values, their mean and their standard deviation; None for these without a value."""
    rows = count(bins)
    if not rows:
        return 0, None, None
    totals = [each.rows * each.mean for each in bins]
    mean = math.fsum(totals) / rows
    squares = [each.squares_from(mean) for each in bins]
    variance = math.fsum(squares) / rows
    return rows, mean, math.sqrt(variance)


def are_coarse(bins: Sequence[Bin]) -> bool:
    """Return whether a bin of different values has too many of all for what is measured from bins alone."""
    limit = COARSE * count(bins)
    for each in bins:
        if each.has_one_value:
            continue
        if each.rows > limit:
            return True
    return False


def replaced(bins: Iterable[Bin], removed: Iterable[Bin], added: Iterable[Bin]) -> list[Bin] | None:
    """Return the bins of a version in which values have been removed and others added, all between the same edges.

    Numbers of values and moments follow exactly, up to rounding. Within the distribution, `low` and `high` may stay
    wider than the values that are left. Returns None if the smallest or the largest value of all cannot be known.
    """
    before = by_bucket(bins)
    lost = by_bucket(removed)
    won = by_bucket(added)
    changes: list[_Change] = []
    results: list[Bin] = []
    for bucket in sorted(before | lost | won):
        change = _Change(
            before.get(bucket),
            lost.get(bucket),
            won.get(bucket),
        )
        if change.left < 0:
            return None
        result = change.result()
        if result is not None:
            changes.append(change)
            results.append(result)
    if not changes:
        return []
    if not changes[0].keeps_low():
        return None
    if not changes[-1].keeps_high():
        return None
    return results


def by_bucket(bins: Iterable[Bin]) -> dict[int, Bin]:
    """Return bins by their buckets."""
    return {each.bucket: each for each in bins}


@dataclass(frozen=True)
class _Change:
    """A bin, and those of its values that were removed and added."""

    before: Bin | None
    removed: Bin | None
    added: Bin | None

    @property
    def left(self) -> int:
        """The number of values before, less those that were removed; negative if the bin is not that of a version."""
        left = 0
        if self.before is not None:
            left += self.before.rows
        if self.removed is not None:
            left -= self.removed.rows
        return left

    def result(self) -> Bin | None:
        """Return the bin afterwards, None if it is empty."""
        found = self.before
        if found is None or not self.left:
            return self.added
        if self.removed == self.added:
            return found
        if self.removed is not None:
            found = _without(found, self.removed)
        if self.added is not None:
            found = _with(found, self.added)
        return found

    def keeps_low(self) -> bool:
        """Return whether `low` is a value that is still there."""
        before = self.before
        removed = self.removed
        added = self.added
        if before is None or removed is None:
            return True
        if not self.left or before.has_one_value:
            return True
        if removed.low > before.low:
            return True
        return added is not None and added.low <= before.low

    def keeps_high(self) -> bool:
        """Return whether `high` is a value that is still there."""
        before = self.before
        removed = self.removed
        added = self.added
        if before is None or removed is None:
            return True
        if not self.left or before.has_one_value:
            return True
        if removed.high < before.high:
            return True
        return added is not None and added.high >= before.high


def _with(one: Bin, other: Bin) -> Bin:
    rows = one.rows + other.rows
    distance = other.mean - one.mean
    share = other.rows / rows
    between = distance**2 * one.rows * share
    squares = one.squares + other.squares + between
    variance = squares / rows
    return Bin(
        bucket=one.bucket,
        rows=rows,
        mean=one.mean + distance * share,
        deviation=math.sqrt(variance),
        low=min(one.low, other.low),
        high=max(one.high, other.high),
    )


def _without(whole: Bin, part: Bin) -> Bin:
    rows = whole.rows - part.rows
    distance = whole.mean - part.mean
    share = part.rows / rows
    between = distance**2 * whole.rows * share
    squares = whole.squares - part.squares - between
    # Rounding may leave less than nothing.
    variance = max(squares, 0.0) / rows
    return Bin(
        bucket=whole.bucket,
        rows=rows,
        mean=whole.mean + distance * share,
        deviation=math.sqrt(variance),
        low=whole.low,
        high=whole.high,
    )
