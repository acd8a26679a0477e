"""The distribution of an output, from the planner's statistics: shares of the rows in bins, or of a few values.

Postgres takes these statistics from a sample of the rows. They stay valid, because a version's table never changes.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
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
    """What Postgres knows of a column.

    `common` are its most common values, `shares` their shares of the rows. Between each two neighbors of `bounds` lies
    an equal part of the other rows. `nulls` is the share of rows without a value.
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

    The list is empty if Postgres knows nothing of the column.
    """
    points = []
    for value, share in zip(statistics.common, statistics.shares, strict=True):
        points.append(Piece(float(value), float(value), share))
    points.sort()
    between = [_cut_at_points(piece, points) for piece in _pieces_between_bounds(statistics)]
    all_pieces = sorted(chain(points, *between))
    total = math.fsum(piece.mass for piece in all_pieces)
    if not total:
        return []
    return [piece._replace(mass=piece.mass / total) for piece in all_pieces if piece.mass]


def _pieces_between_bounds(statistics: Statistics) -> Iterator[Piece]:
    bounds = [float(bound) for bound in statistics.bounds]
    rest = 1 - statistics.nulls - math.fsum(statistics.shares)
    mass = max(0.0, rest) / max(1, len(bounds) - 1)
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
        yield Piece(low, high, piece.mass * (end - start))


def quantile(version: Sequence[Piece], share: float) -> float:
    """Return the value below which this share of the rows lies. There must be at least one piece."""
    below = 0.0
    for piece in version:
        if below + piece.mass >= share:
            part = (share - below) / piece.mass
            value = piece.low * (1 - part) + piece.high * part
            return min(piece.high, max(piece.low, value))
        below += piece.mass
    return version[-1].high


def drawn_range(versions: Sequence[Sequence[Piece]]) -> tuple[float, float]:
    """Return the range that a chart of all versions covers.

    It leaves out a few rows that are far away, because they would squeeze all others into a bin or two.
    """
    known = [version for version in versions if version]
    low = min(piece.low for version in known for piece in version)
    high = max(piece.high for version in known for piece in version)
    first = min(quantile(version, _TAIL) for version in known)
    last = max(quantile(version, 1 - _TAIL) for version in known)
    length = last - first
    if length and first - low > length / 2:
        low = first - length / 8
    if length and high - last > length / 2:
        high = last + length / 8
    return low, high


def histogram(version: Iterable[Piece], edges: Sequence[float]) -> Histogram:
    """Return the share of the rows in each bin between these edges."""
    # The first and the last entry are for what lies beyond the edges.
    masses = [0.0] * (len(edges) + 1)
    for piece in version:
        first = _bin(piece.low, edges)
        for bin_, share in enumerate(_shares_of_bins(piece, edges), first):
            masses[bin_] += piece.mass * share
    return Histogram(tuple(masses[1:-1]), masses[0], masses[-1])


def _shares_of_bins(piece: Piece, edges: Sequence[float]) -> Iterator[float]:
    """Yield the share of a piece that lies in each bin which it reaches."""
    inner: Sequence[float] = ()
    if is_wide(piece.low, piece.high):
        inner = edges[_bin(piece.low, edges) : _bin(piece.high, edges)]
    cuts = [position(edge, piece.low, piece.high) for edge in inner]
    for start, end in pairwise([0.0, *cuts, 1.0]):
        yield end - start


def _bin(value: float, edges: Sequence[float]) -> int:
    """Return a value's bin, from 1, or 0 if it is below the first edge. The last edge belongs to the last bin."""
    return bisect_right(edges, value) - (value == edges[-1])


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
    shares = _shares(now)
    shares_before = None if before is None else _shares(before)
    values = _shown_values([*shares, *(shares_before or {})], kind)
    shown = []
    for value in values:
        share_before = None if shares_before is None else shares_before.get(value, 0.0)
        shown.append(Bar(_label(value, kind), shares.get(value, 0.0), share_before))
    rest_before = None if shares_before is None else _rest(shares_before, values)
    rest = Bar("everything else", _rest(shares, values), rest_before)
    if max(rest.now, rest.before or 0.0) > _LEAST_SHARE:
        shown.append(rest)
    return shown


def _shares(statistics: Statistics) -> dict[str, float]:
    return dict(zip(statistics.common, statistics.shares, strict=True))


def _shown_values(values: Iterable[str], kind: str) -> list[str]:
    unique = list(dict.fromkeys(values))
    if kind == "text":
        return unique[:_TEXTS]
    if kind == "boolean":
        return sorted(unique, key=_false_last)
    return sorted(unique, key=float)


def _false_last(value: str) -> bool:
    return value != "t"


def _rest(shares: Mapping[str, float], values: Iterable[str]) -> float:
    shown = math.fsum(shares.get(value, 0.0) for value in values)
    return max(0.0, 1 - shown)


def _label(value: str, kind: str) -> str:
    if kind == "boolean":
        return "true" if value == "t" else "false"
    return value
