"""How an output is distributed, out of the planner's statistics: shares of the rows, in bins or of a few values.

What Postgres keeps of a column comes from a sample of the rows; of a table that never changes it stays true.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from prescore_api.pages.axis import is_wide, place

# Numbers of which there are no more than so many are told one by one.
FEW = 8
_TEXTS = 6
# Of the rows: less is not told.
_LEAST = 0.0005
# Of the rows on each side, that are left out where they are far away.
_TAIL = 0.01


@dataclass(frozen=True)
class Statistics:
    """Common values with their shares of the rows, and bounds between which equal parts of the others lie."""

    common: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    bounds: tuple[str, ...] = ()
    nulls: float = 0.0


class Piece(NamedTuple):
    """A share of the rows that lies evenly between two values, or at one."""

    low: float
    high: float
    mass: float


class Spread(NamedTuple):
    """Shares of the rows: in each bin, and beyond the two ends. Together they are 1."""

    masses: tuple[float, ...]
    below: float
    above: float


class Bar(NamedTuple):
    """A value's share of the rows in each of two versions; `before` is None when there is no other."""

    label: str
    now: float
    before: float | None


def pieces(known: Statistics) -> list[Piece]:
    """Where the rows of a column of numbers lie, ascending; the masses sum to 1. Empty when nothing is known."""
    points = sorted(Piece(float(v), float(v), share) for v, share in zip(known.common, known.shares, strict=True))
    bounds = [float(bound) for bound in known.bounds]
    rest = max(0.0, 1 - known.nulls - math.fsum(known.shares)) / max(1, len(bounds) - 1)
    between = (piece for low, high in pairwise(bounds) for piece in _cut(Piece(low, high, rest), points))
    found = sorted([*points, *between])
    total = math.fsum(piece.mass for piece in found)
    return [piece._replace(mass=piece.mass / total) for piece in found if piece.mass] if total else []


def _cut(piece: Piece, points: Sequence[Piece]) -> Iterator[Piece]:
    """A piece in parts, between which points lie that are in it."""
    if not is_wide(piece.low, piece.high):
        yield piece
        return
    inner = points[bisect_right(points, (piece.low, math.inf)) : bisect_left(points, (piece.high,))]
    reached = [(point.low, place(point.low, piece.low, piece.high)) for point in inner]
    for (low, start), (high, end) in pairwise([(piece.low, 0.0), *reached, (piece.high, 1.0)]):
        yield Piece(low, high, piece.mass * (end - start))


def quantile(parts: Sequence[Piece], share: float) -> float:
    """The value below which this share of the rows lies; of at least one piece."""
    below = 0.0
    for piece in parts:
        if below + piece.mass >= share:
            part = (share - below) / piece.mass
            return min(piece.high, max(piece.low, piece.low * (1 - part) + piece.high * part))
        below += piece.mass
    return parts[-1].high


def ends(versions: Sequence[Sequence[Piece]]) -> tuple[float, float]:
    """From where to where a picture of all versions goes: a few rows far away must not press all others together."""
    parts = [piece for version in versions for piece in version]
    low, high = min(piece.low for piece in parts), max(piece.high for piece in parts)
    first = min(quantile(version, _TAIL) for version in versions if version)
    last = max(quantile(version, 1 - _TAIL) for version in versions if version)
    most = last - first
    if not most:
        return low, high
    return (
        low if first - low <= most / 2 else first - most / 8,
        high if high - last <= most / 2 else last + most / 8,
    )


def spread(parts: Iterable[Piece], edges: Sequence[float]) -> Spread:
    """What share of the rows lies in each bin between these edges."""
    # What is beyond the ends stands first and last.
    masses = [0.0] * (len(edges) + 1)
    for piece in parts:
        first, last = _bin(piece.low, edges), _bin(piece.high, edges)
        inner = edges[first:last] if is_wide(piece.low, piece.high) else ()
        reached = [0.0, *(place(edge, piece.low, piece.high) for edge in inner), 1.0]
        for bin_, (start, end) in enumerate(pairwise(reached), first):
            masses[bin_] += piece.mass * (end - start)
    return Spread(tuple(masses[1:-1]), masses[0], masses[-1])


def _bin(value: float, edges: Sequence[float]) -> int:
    """0 below the first edge, then the bins from 1; the last edge belongs to the last bin."""
    return bisect_right(edges, value) - (value == edges[-1])


def are_few(versions: Iterable[Statistics]) -> bool:
    """Whether a column of numbers has so few values that each may have a bar of its own."""
    known = list(versions)
    return not any(one.bounds for one in known) and len({float(v) for one in known for v in one.common}) <= FEW


def bars(now: Statistics, before: Statistics | None, kind: str) -> list[Bar]:
    """The common values' shares: numbers in their order, texts by how common they are now; then all others together."""
    shares, earlier = _shares(now), None if before is None else _shares(before)
    values = list(shares | (earlier or {}))
    if kind == "text":
        del values[_TEXTS:]
    else:
        values.sort(key=(lambda value: value != "t") if kind == "boolean" else float)
    told = [Bar(_named(v, kind), shares.get(v, 0.0), None if earlier is None else earlier.get(v, 0.0)) for v in values]
    others = Bar("everything else", _others(shares, values), None if earlier is None else _others(earlier, values))
    return [*told, others] if max(others.now, others.before or 0.0) > _LEAST else told


def _shares(known: Statistics) -> dict[str, float]:
    return dict(zip(known.common, known.shares, strict=True))


def _others(shares: Mapping[str, float], values: Iterable[str]) -> float:
    return max(0.0, 1 - math.fsum(shares.get(value, 0.0) for value in values))


def _named(value: str, kind: str) -> str:
    return {"t": "true", "f": "false"}[value] if kind == "boolean" else value
