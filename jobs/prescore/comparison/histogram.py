"""A number's histogram in two versions: what follows from it about their distributions."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prescore.comparison import bins
from prescore.comparison.bins import Bin
from prescore.comparison.differences import POINTS, Bucket

_DECILES = 10


@dataclass(frozen=True)
class Place:
    """Where a quantile is: a bin, and which of its values in order, from 1."""

    bin: Bin
    place: int

    @property
    def value(self) -> float | None:
        """The quantile, if the bin alone determines it."""
        if self.place == 1:
            return self.bin.low
        if self.place == self.bin.rows or self.bin.low == self.bin.high:
            return self.bin.high
        return None

    @property
    def estimate(self) -> float:
        """The quantile, by linear interpolation within a bin of different values."""
        if self.value is not None:
            return self.value
        low = self.bin.low
        width = self.bin.high - low
        share = (self.place - 1) / (self.bin.rows - 1)
        return low + share * width


def places(in_order: Sequence[Bin]) -> list[Place]:
    """Return where the quantiles at `POINTS` are, as `percentile_disc` defines them; empty without a value."""
    ends = list(accumulate(each.rows for each in in_order))
    if not ends:
        return []
    found = []
    for point in POINTS:
        rank = max(1, math.ceil(point * ends[-1]))
        # The first bin that ends at the rank or beyond.
        index = bisect_left(ends, rank)
        each = in_order[index]
        below = ends[index] - each.rows
        found.append(Place(each, rank - below))
    return found


@dataclass(frozen=True)
class Histogram:
    """The rows of two versions in the same bins, in order."""

    cells: Sequence[Bucket]

    @classmethod
    def from_bins(cls, a: Iterable[Bin], b: Iterable[Bin]) -> Histogram:
        """Return the histogram of two versions whose bins have the same edges."""
        in_a = bins.by_bucket(a)
        in_b = bins.by_bucket(b)
        cells = []
        for bucket in sorted(in_a | in_b):
            cell = _cell(in_a.get(bucket), in_b.get(bucket))
            cells.append(cell)
        return cls(cells)

    @property
    def totals(self) -> tuple[int, int]:
        """The rows of either version."""
        total_a = sum(cell.a for cell in self.cells)
        total_b = sum(cell.b for cell in self.cells)
        return total_a, total_b

    def ks(self) -> float | None:
        """Return the largest distance between the cumulative distributions at the ends of bins, None without a value.

        Within a bin the distance can be larger: at most by the share of its rows in either version. It is exact if the
        values of a bin are equal, or all from one version.
        """
        total_a, total_b = self.totals
        if not total_a or not total_b:
            return None
        below_a = below_b = 0
        distances = []
        for cell in self.cells:
            below_a += cell.a
            below_b += cell.b
            distance = below_a / total_a - below_b / total_b
            distances.append(abs(distance))
        return max(distances)

    def deciles(self) -> tuple[Bucket, ...]:
        """Return the rows between the deciles of the first version, to the next bin."""
        total_a, _ = self.totals
        grouped: dict[int, list[Bucket]] = {}
        below = 0
        for cell in self.cells:
            decile = 0
            if total_a:
                decile = min(_DECILES * below // total_a, _DECILES - 1)
            merged = grouped.setdefault(decile, [])
            merged.append(cell)
            below += cell.a
        return tuple(_merged(cells) for cells in grouped.values())


def _cell(a: Bin | None, b: Bin | None) -> Bucket:
    present = [each for each in (a, b) if each is not None]
    return Bucket(
        low=min(each.low for each in present),
        high=max(each.high for each in present),
        a=a.rows if a else 0,
        b=b.rows if b else 0,
    )


def _merged(cells: Sequence[Bucket]) -> Bucket:
    return Bucket(
        low=cells[0].low,
        high=cells[-1].high,
        a=sum(cell.a for cell in cells),
        b=sum(cell.b for cell in cells),
    )


def bounds(found: Iterable[Place]) -> tuple[list[float], list[int]]:
    """Return bounds within which the unknown quantiles are, and their places among all values within the bounds."""
    limits: list[float] = []
    ranks: list[int] = []
    within = 0
    last: Bin | None = None
    for place in found:
        if place.value is not None:
            continue
        if place.bin is not last:
            if last is not None:
                within += last.rows
            last = place.bin
            above = math.nextafter(last.high, math.inf)
            limits += [last.low, above]
        ranks.append(within + place.place)
    return limits, ranks
