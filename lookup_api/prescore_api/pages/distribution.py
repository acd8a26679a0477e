"""The distribution of an output, from the planner's statistics: shares of the rows in bins, or of a few values.

Postgres takes these statistics from a sample of the rows. They stay valid, because a version's table never changes.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from prescore_api.pages.axis import is_wide, position

# Up to so many different numbers are shown as one bar each.
FEW = 8
_TEXTS = 6
# A smaller share of the rows is not shown.
_LEAST_SHARE = 0.0005
# The share of the rows at each end that is not drawn if it is far away from the others.
_TAIL = 0.01


@dataclass(frozen=True)
class Statistics:
    """The planner's statistics of a column.

    `common` holds its most common values, and `shares` their shares of the rows. An equal part of the other rows lies
    between each two neighbors in `bounds`. `nulls` is the share of rows without a value.
    """

    common: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    bounds: tuple[str, ...] = ()
    nulls: float = 0.0


class Piece(NamedTuple):
    """A share of the rows (`mass`) that is spread evenly between two values, or lies at one."""

    low: float
    high: float
    mass: float


class Histogram(NamedTuple):
    """Shares of the rows in each bin, below the first and above the last. They sum to 1."""

    masses: tuple[float, ...]
    below: float
    above: float


class Bar(NamedTuple):
    """A value's share of the rows in two versions; `before` is None if there is only one."""

    label: str
    now: float
    before: float | None


def pieces(statistics: Statistics) -> list[Piece]:
    """Return where the rows of a column of numbers lie, in ascending order. The masses sum to 1.

    The list is empty if Postgres has no statistics of the column.
    """
    points = _points(statistics)
    all_pieces = list(points)
    for piece in _pieces_between_bounds(statistics):
        all_pieces += _cut_at_points(piece, points)
    all_pieces.sort()
    return _normalize(all_pieces)


def _points(statistics: Statistics) -> list[Piece]:
    """Return the common values as pieces without a width, in ascending order."""
    points = []
    for text, share in zip(statistics.common, statistics.shares, strict=True):
        value = float(text)
        points.append(Piece(value, value, share))
    points.sort()
    return points


def _normalize(all_pieces: Sequence[Piece]) -> list[Piece]:
    """Scale the masses so that they sum to 1, and drop pieces without a mass."""
    total = math.fsum(piece.mass for piece in all_pieces)
    normalized = []
    for piece in all_pieces:
        if piece.mass:
            mass = piece.mass / total
            normalized.append(Piece(piece.low, piece.high, mass))
    return normalized


def _pieces_between_bounds(statistics: Statistics) -> Iterator[Piece]:
    common = math.fsum(statistics.shares)
    rest = max(0.0, 1 - statistics.nulls - common)
    bounds = list(map(float, statistics.bounds))
    intervals = max(1, len(bounds) - 1)
    mass = rest / intervals
    for low, high in pairwise(bounds):
        yield Piece(low, high, mass)


def _cut_at_points(piece: Piece, points: Sequence[Piece]) -> Iterator[Piece]:
    """Cut a piece at the points inside it, so that pieces and points together have an order."""
    if not is_wide(piece.low, piece.high):
        yield piece
        return
    first = bisect_right(points, (piece.low, math.inf))
    last = bisect_left(points, (piece.high,))
    inner = [point.low for point in points[first:last]]
    for low, high in pairwise([piece.low, *inner, piece.high]):
        start = position(low, piece.low, piece.high)
        end = position(high, piece.low, piece.high)
        mass = piece.mass * (end - start)
        yield Piece(low, high, mass)


def quantile(version: Sequence[Piece], share: float) -> float:
    """Return the value below which this share of the rows lies. There must be at least one piece."""
    below = 0.0
    for piece in version:
        if below + piece.mass >= share:
            part = (share - below) / piece.mass
            return _interpolate(piece, part)
        below += piece.mass
    return version[-1].high


def _interpolate(piece: Piece, part: float) -> float:
    """Return the value between a piece's ends with this part of the piece below it."""
    value = piece.low * (1 - part) + piece.high * part
    # Rounding may have moved it past an end.
    return min(piece.high, max(piece.low, value))


def drawn_range(versions: Sequence[Sequence[Piece]]) -> tuple[float, float]:
    """Return the range that a chart of all versions covers.

    It leaves out a few rows that are far away, because they would squeeze all others into a bin or two.
    """
    lows = []
    highs = []
    firsts = []
    lasts = []
    for version in versions:
        if version:
            lows.append(version[0].low)
            highs.append(max(piece.high for piece in version))
            firsts.append(quantile(version, _TAIL))
            lasts.append(quantile(version, 1 - _TAIL))
    low = min(lows)
    high = max(highs)
    first = min(firsts)
    last = max(lasts)
    length = last - first
    if not length:
        return low, high
    if first - low > length / 2:
        low = first - length / 8
    if high - last > length / 2:
        high = last + length / 8
    return low, high


def histogram(version: Iterable[Piece], edges: Sequence[float]) -> Histogram:
    """Return the share of the rows in each bin between these edges."""
    # The first and the last entry are for what lies beyond the edges.
    masses = [0.0] * (len(edges) + 1)
    for piece in version:
        first = _bin(piece.low, edges)
        shares = _shares_of_bins(piece, edges)
        for bin_, share in enumerate(shares, first):
            masses[bin_] += piece.mass * share
    return Histogram(
        masses=tuple(masses[1:-1]),
        below=masses[0],
        above=masses[-1],
    )


def _shares_of_bins(piece: Piece, edges: Sequence[float]) -> Iterator[float]:
    """Yield the share of a piece in each bin, from the bin of its lower end to the bin of its higher end."""
    if not is_wide(piece.low, piece.high):
        yield 1.0
        return
    first = _bin(piece.low, edges)
    last = _bin(piece.high, edges)
    cuts = [0.0]
    for edge in edges[first:last]:
        cut = position(edge, piece.low, piece.high)
        cuts.append(cut)
    cuts.append(1.0)
    for start, end in pairwise(cuts):
        yield end - start


def _bin(value: float, edges: Sequence[float]) -> int:
    """Return a value's bin, from 1, or 0 if it is below the first edge. The last edge belongs to the last bin."""
    if value == edges[-1]:
        return len(edges) - 1
    return bisect_right(edges, value)


def has_few_values(versions: Iterable[Statistics]) -> bool:
    """Return whether a column of numbers has so few different values that each can have its own bar."""
    values: set[float] = set()
    for statistics in versions:
        if statistics.bounds:
            return False
        values.update(map(float, statistics.common))
    return len(values) <= FEW


def bars(now: Statistics, before: Statistics | None, kind: str) -> list[Bar]:
    """Return the shares of the common values, and of all other values together.

    Numbers are in ascending order, texts in the order of how common they are now.
    """
    common = list(now.common)
    if before is not None:
        common += before.common
    values = _shown_values(common, kind)
    labels = [_label(value, kind) for value in values]
    labels.append("everything else")
    shares = _shares(now, values)
    if before is None:
        all_bars = [Bar(label, share, None) for label, share in zip(labels, shares, strict=True)]
    else:
        shares_before = _shares(before, values)
        all_bars = list(map(Bar, labels, shares, shares_before))
    rest = all_bars[-1]
    if max(rest.now, rest.before or 0.0) > _LEAST_SHARE:
        return all_bars
    return all_bars[:-1]


def _shares(statistics: Statistics, values: Iterable[str]) -> list[float]:
    """Return the share of each value, followed by the share of all other rows."""
    common = dict(zip(statistics.common, statistics.shares, strict=True))
    shares = [common.get(value, 0.0) for value in values]
    rest = 1 - math.fsum(shares)
    shares.append(max(0.0, rest))
    return shares


def _shown_values(values: Iterable[str], kind: str) -> list[str]:
    unique = list(dict.fromkeys(values))
    if kind == "text":
        return unique[:_TEXTS]
    if kind == "boolean":
        return sorted(unique, key=_false_last)
    return sorted(unique, key=float)


def _false_last(value: str) -> bool:
    return value != "t"


def _label(value: str, kind: str) -> str:
    if kind == "boolean":
        return "true" if value == "t" else "false"
    return value
