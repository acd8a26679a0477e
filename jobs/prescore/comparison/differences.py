"""How two versions differ: their keys, and each column that both have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prescore.wording import count, short

POINTS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""The points at which the quantiles of a number are compared."""
_EMPTY_SHARE = 1e-4
"""The share that stands for an empty bucket, because its logarithm would be infinite."""


@dataclass(frozen=True)
class KeyCounts:
    """Numbers of keys: only in the second version, only in the first, in both, and in both with other values."""

    added: int
    vanished: int
    common: int
    changed: int

    @property
    def rows_a(self) -> int:
        """The number of rows of the first version."""
        return self.vanished + self.common

    @property
    def rows_b(self) -> int:
        """The number of rows of the second version."""
        return self.added + self.common


@dataclass(frozen=True)
class Distribution:
    """The values of a number in one version; None where there is no value.

    `count` excludes NULL, NaN, infinite and enormous values. `quantiles` are the values at `POINTS`: each one occurs
    (`percentile_disc`), unless the distribution is derived from a profile. They are then interpolated within a bin.
    """

    count: int
    mean: float | None
    deviation: float | None
    quantiles: Sequence[float] | None


@dataclass(frozen=True)
class Bucket:
    """The rows of either version between two deciles of the first one, with the values from `low` to `high`."""

    low: float
    high: float
    a: int
    b: int


@dataclass(frozen=True)
class Mover:
    """A key whose number moved, with its value in either version. Times in keys are text."""

    key: Sequence[Any]
    a: float
    b: float


@dataclass(frozen=True)
class Shift:
    """How a number moved.

    `psi` and `ks` compare the distributions over all rows of either version, and `buckets` count these rows between
    the deciles of the first version. The others are about the common rows: the mean and the largest difference, second
    version minus first, how many rows moved by more than `tolerance`, and the `movers`, which moved most. None where
    there is no value to compare.
    """

    a: Distribution
    b: Distribution
    psi: float | None
    ks: float | None
    mean_difference: float | None
    largest_difference: float | None
    tolerance: float | None
    moved: int
    buckets: Sequence[Bucket]
    movers: Sequence[Mover] = ()

    @property
    def mean_shift(self) -> float | None:
        """How far apart the two means are, over all rows of either version."""
        if self.a.mean is None or self.b.mean is None:
            return None
        return abs(self.b.mean - self.a.mean)

    @property
    def quantile_shift(self) -> float | None:
        """The largest distance between quantiles of the two versions, without their extremes."""
        if self.a.quantiles is None or self.b.quantiles is None:
            return None
        inner = zip(self.a.quantiles[1:-1], self.b.quantiles[1:-1], strict=True)
        return max(abs(b - a) for a, b in inner)


@dataclass(frozen=True)
class LabelPair:
    """How many common rows have the value `a` in the first version and `b` in the second."""

    a: Any
    b: Any
    rows: int


@dataclass(frozen=True)
class ElementShift:
    """How far the elements of an array moved: the largest difference, and the rows with one beyond `tolerance`."""

    largest_difference: float | None
    tolerance: float
    moved: int


@dataclass(frozen=True)
class ColumnDifference:
    """How a column differs; `changed` is the number of common rows that have another value.

    A number has a `shift`, an array of numbers `elements`. A column with few distinct values has `labels`, its
    confusion table, most frequent pair first; None if it has too many pairs of values, or is of another type.
    """

    column: str
    type: str
    changed: int
    shift: Shift | None = None
    elements: ElementShift | None = None
    labels: Sequence[LabelPair] | None = None

    @property
    def flips(self) -> Sequence[LabelPair]:
        """The pairs of different values, most frequent first."""
        return [pair for pair in self.labels or () if pair.a != pair.b]

    def sentence(self) -> str:
        """Return the difference in one line, without the name of the column."""
        if not self.changed:
            return "no row changed"
        parts = [f"{count(self.changed, 'row')} changed"]
        if self.shift is not None:
            parts += _shift_parts(self.shift)
        elif self.elements is not None:
            parts.append(f"elements by {short(self.elements.largest_difference)} at most")
        parts += [f"{pair.rows:,} from {pair.a} to {pair.b}" for pair in self.flips[:3] if self.shift is None]
        return ", ".join(parts)


def _shift_parts(shift: Shift) -> list[str]:
    if shift.largest_difference is None:
        return []
    mean, largest = short(shift.mean_difference), short(shift.largest_difference)
    return [
        f"by {mean} on average and {largest} at most",
        f"PSI {short(shift.psi)}",
        f"KS {short(shift.ks)}",
    ]


@dataclass(frozen=True)
class Comparison:
    """What changed from version `a` of a model to version `b`.

    `not_compared` maps each column that is only in one version, or has another type in the other, to the reason.
    """

    model: str
    a: int
    b: int
    keys: KeyCounts
    columns: tuple[ColumnDifference, ...]
    not_compared: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as `prescore compare --json` prints it."""
        return asdict(self)

    def without_rows(self) -> dict[str, Any]:
        """Return the comparison as the catalog keeps it: without keys, which must not outlive their rows."""
        content = self.as_dict()
        for column in content["columns"]:
            if column["shift"] is not None:
                del column["shift"]["movers"]
        return content


def psi(buckets: Sequence[Bucket]) -> float | None:
    """Return the population stability index of counts per bucket; None when a version has no value.

    It is the sum of (b - a) * ln(b / a) over the buckets' shares a and b of either version (N. Siddiqi, Credit Risk
    Scorecards, 2006). An empty bucket counts as a share of 0.0001.
    """
    total_a = sum(bucket.a for bucket in buckets)
    total_b = sum(bucket.b for bucket in buckets)
    if not total_a or not total_b:
        return None
    index = 0.0
    for bucket in buckets:
        share_a = max(bucket.a / total_a, _EMPTY_SHARE)
        share_b = max(bucket.b / total_b, _EMPTY_SHARE)
        index += (share_b - share_a) * math.log(share_b / share_a)
    return index
