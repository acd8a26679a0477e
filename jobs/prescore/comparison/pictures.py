"""A number's two distributions as inline SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prescore.comparison.differences import Bucket
from prescore.wording import short

_WIDTH = 640
_HEIGHT = 150
_BASE = 120
"""Where the bars stand, in pixels from the top."""


def histogram(buckets: Sequence[Bucket], label: str) -> str:
    """Return bars for the share of rows of the second version between the deciles of the first, whose shares are lines.

    `label` describes the picture to readers who cannot see it; it must be escaped.
    """
    total_a = sum(bucket.a for bucket in buckets) or 1
    total_b = sum(bucket.b for bucket in buckets) or 1
    highest = max((max(bucket.a / total_a, bucket.b / total_b) for bucket in buckets), default=1.0)
    width = _WIDTH / max(len(buckets), 1)
    parts: list[str] = []
    for number, bucket in enumerate(buckets):
        left = number * width
        parts += _bar(left, width, bucket.b / total_b / highest)
        parts += _line(left, width, bucket.a / total_a / highest)
        parts += _text(left + width / 2, bucket)
    shapes = "".join(parts)
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{shapes}</svg>'


def _bar(left: float, width: float, share: float) -> Iterator[str]:
    height = share * (_BASE - 10)
    top = _BASE - height
    yield f'<rect class="b" x="{left + 2:.1f}" y="{top:.1f}" width="{width - 4:.1f}" height="{height:.1f}"/>'


def _line(left: float, width: float, share: float) -> Iterator[str]:
    top = _BASE - share * (_BASE - 10)
    yield f'<line class="a" x1="{left:.1f}" x2="{left + width:.1f}" y1="{top:.1f}" y2="{top:.1f}"/>'


def _text(middle: float, bucket: Bucket) -> Iterator[str]:
    for row, value in enumerate((bucket.low, bucket.high), 1):
        yield f'<text x="{middle:.1f}" y="{_BASE + 13 * row}">{short(value)}</text>'
