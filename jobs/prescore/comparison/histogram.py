"""A number's histogram in two versions: what follows from it about their distributions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

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
        share = (self.place - 1) / (self.bin.rows - 1)
        return self.bin.low + share * (self.bin.high - self.bin.low)


def places(bins: Sequence[Bin]) -> list[Place]:
    """Return where the quantiles at `POINTS` are, as `percentile_disc` defines them; empty without a value."""
    ends = list(accumulate(each.rows for each in bins))
    if not ends:
        return []
    ranks = [max(1, math.ceil(point * ends[-1])) for point in POINTS]
    found = []
    for rank in ranks:
        each, end = next((each, end) for each, end in zip(bins, ends, strict=True) if end >= rank)
        found.append(Place(each, rank - (end - each.rows)))
    return found


@dataclass(frozen=True)
class Histogram:
    """The rows of two versions in the same bins, in order."""

    cells: Sequence[Bucket]

    @classmethod
    def from_bins(cls, a: Iterable[Bin], b: Iterable[Bin]) -> Histogram:
        """Return the histogram of two versions whose bins have the same edges."""
        in_a = {each.bucket: each for each in a}
        in_b = {each.bucket: each for each in b}
        return cls([_cell(in_a.get(bucket), in_b.get(bucket)) for bucket in sorted(in_a | in_b)])

    @property
    def totals(self) -> tuple[int, int]:
        """The rows of either version."""
        return sum(cell.a for cell in self.cells), sum(cell.b for cell in self.cells)

    def ks(self) -> float | None:
        """Return the largest distance between the cumulative distributions at the ends of bins, None without a value.

        Within a bin the distance can be larger: at most by the share of its rows in either version. It is exact if the
        values of a bin are equal, or all from one version.
        """
        total_a, total_b = self.totals
        if not total_a or not total_b:
            return None
        cumulated = zip(
            accumulate(cell.a for cell in self.cells),
            accumulate(cell.b for cell in self.cells),
            strict=True,
        )
        return max(abs(a / total_a - b / total_b) for a, b in cumulated)

    def deciles(self) -> tuple[Bucket, ...]:
        """Return the rows between the deciles of the first version, to the next bin."""
        total_a, _ = self.totals
        grouped: dict[int, list[Bucket]] = {}
        below = 0
        for cell in self.cells:
            decile = min(_DECILES * below // total_a, _DECILES - 1) if total_a else 0
            grouped.setdefault(decile, []).append(cell)
            below += cell.a
        return tuple(_merged(cells) for cells in grouped.values())


def _cell(a: Bin | None, b: Bin | None) -> Bucket:
    bins = [each for each in (a, b) if each is not None]
    return Bucket(
        low=min(each.low for each in bins),
        high=max(each.high for each in bins),
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
    for place in _unknown(found):
        if place.bin is not last:
            within += last.rows if last else 0
            limits += [place.bin.low, math.nextafter(place.bin.high, math.inf)]
            last = place.bin
        ranks.append(within + place.place)
    return limits, ranks


def _unknown(found: Iterable[Place]) -> Iterator[Place]:
    return (place for place in found if place.value is None)
