"""Distributions and ages as inline SVG that stretches to any width, while its text keeps its size.

Positions are percentages. Colors come from the page's style: the current version is filled and the previous one is an
outline, so that they are distinct without colors. Values from outside are escaped by `Markup.format`.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import NamedTuple
from unicodedata import east_asian_width

from markupsafe import Markup

from prescore.catalog.types import INTEGERS, NUMBERS, OUTPUT_TYPES
from prescore.wording import age, short
from prescore_api.pages import axis, distribution
from prescore_api.pages.axis import Axis, Tick
from prescore_api.pages.distribution import Bar, Histogram, Piece, Statistics, quantile

_BARS_ONLY = frozenset(OUTPUT_TYPES) - frozenset(NUMBERS)
# How many characters of a label a phone has room for, beside the shares.
_LABEL_CHARACTERS = 26
# Heights in pixels.
_PLOT_TOP = 18
_PLOT_HEIGHT = 104
_PLOT_MARGINS = 44
_BAR_HEIGHT = 46
_AGE_HEIGHT = 18

_SVG = Markup(
    '<svg class="{name}" role="img" width="100%" height="{height}"><title>{title}</title><desc>{description}</desc>'
    "{shapes}</svg>"
)
_STRETCHED = Markup(
    '<svg y="18" width="100%" height="{height}" viewBox="0 0 {bins} 100" preserveAspectRatio="none" aria-hidden="true">'
    "{shapes}</svg>"
)
_NOW = Markup('<path class="now" d="{}"/>')
_BEFORE = Markup('<path class="before" vector-effect="non-scaling-stroke" d="{}"/>')
_FRAME = Markup(
    '<text x="0" y="11">{top}</text><text x="100%" y="11" text-anchor="end">{beyond}</text>'
    '<line class="grid" x2="100%" y1="18" y2="18"/>'
    '<line class="axis" x2="100%" y1="{base}" y2="{base}"/>'
)
_TICK = Markup(
    '<line class="axis" x1="{at}%" x2="{at}%" y1="{base}" y2="{end}"/><text x="{at}%" y="{y}" text-anchor="{anchor}">'
    "{label}</text>"
)
_BAR = Markup(
    '<text x="0" y="{y}">{label}</text><text x="100%" y="{y}" text-anchor="end">{shares}</text>'
    '<rect class="track" y="{top}" width="100%" height="14"/><rect class="now" y="{top}" width="{now}%" height="14"/>'
)
_OUTLINE = Markup('<rect class="before" y="{top}" width="{before}%" height="14"/>')
_AGE = Markup(
    '<rect class="track" y="3" width="100%" height="12" rx="3"/>'
    '<rect class="age" y="3" width="{age}%" height="12" rx="3"/>'
)
_OVER = Markup(
    '<rect class="over" x="{at}%" y="3" width="{rest}%" height="12" rx="3"/>'
    '<line class="max-age" x1="{at}%" x2="{at}%" y2="18"/>'
)


class Versions(NamedTuple):
    """The numbers of the current version and of the previous one, if there is one."""

    now: int
    before: int | None


def render_distribution(
    name: str, kind: str, now: Statistics, before: Statistics | None, versions: Versions
) -> Markup | None:
    """Return a chart of an output of type `kind` in one or two versions, or None if nothing is known of the values."""
    statistics = [now] if before is None else [now, before]
    if kind in _BARS_ONLY or distribution.has_few_values(statistics):
        bars = distribution.bars(now, before, kind) if now.common else []
        return _bar_chart(name, bars, versions) if bars else None
    pieces = [distribution.pieces(one) for one in statistics]
    if not pieces[0]:
        return None
    return _histogram(name, pieces, whole=kind in INTEGERS, versions=versions)


def render_age(seconds: float, max_age: float) -> Markup:
    """Return a bar of an age. Its end is the max age, or a mark on it is if the age is beyond that."""
    whole = max(seconds, max_age) or 1.0
    shapes = _AGE.format(age=_percent(max(0.0, min(seconds, max_age)) / whole))
    if seconds > max_age:
        share = max_age / whole
        shapes += _OVER.format(at=_percent(share), rest=_percent(1 - share))
    return _SVG.format(
        name="bar",
        height=_AGE_HEIGHT,
        title="Age and max age",
        description=f"{age(seconds)} old, max age {age(max_age)}",
        shapes=shapes,
    )


def _histogram(name: str, pieces: Sequence[list[Piece]], *, whole: bool, versions: Versions) -> Markup:
    """Return a histogram of one or two versions on a common axis; the second may have no pieces."""
    low, high = distribution.drawn_range(pieces)
    scale = axis.between(low, high, whole=whole)
    histograms = [distribution.histogram(version, scale.edges) for version in pieces]
    highest = max(chain.from_iterable(one.masses for one in histograms)) or 1.0
    shapes = _NOW.format(_outline(histograms[0], highest) + "Z")
    if len(pieces) > 1 and pieces[1]:
        shapes += _BEFORE.format(_outline(histograms[1], highest))
    plot = _STRETCHED.format(height=_PLOT_HEIGHT, bins=len(histograms[0].masses), shapes=shapes)
    frame = _FRAME.format(
        top=f"up to {_share(highest)} of the rows",
        beyond=_beyond(histograms),
        base=_PLOT_TOP + _PLOT_HEIGHT,
    )
    return _SVG.format(
        name="plot",
        height=_PLOT_HEIGHT + _PLOT_MARGINS,
        title=_title(name, versions),
        description=_description(pieces, versions),
        shapes=plot + frame + _ticks(scale),
    )


def _outline(histogram: Histogram, highest: float) -> str:
    """Return a path from the axis up, in a step for each bin, and back to the axis."""
    steps = []
    for bin_, mass in enumerate(histogram.masses, 1):
        height = mass / highest
        steps.append(f"V{100 * (1 - height):.1f}H{bin_}")
    return f"M0 100{''.join(steps)}V100"


def _ticks(scale: Axis) -> Markup:
    return Markup().join(map(_tick, scale.ticks))


def _tick(tick: Tick) -> Markup:
    base = _PLOT_TOP + _PLOT_HEIGHT
    return _TICK.format(
        at=_percent(tick.position),
        base=base,
        end=base + 5,
        y=base + 20,
        anchor=_anchor(tick.position),
        label=tick.label,
    )


def _anchor(position: float) -> str:
    """Return how to align a label, so that those at the ends of the axis stay inside the page."""
    if position < 0.08:
        return "start"
    if position > 0.92:
        return "end"
    return "middle"


def _beyond(histograms: Sequence[Histogram]) -> str:
    """Return which share of the rows is too far away to be drawn."""
    largest = max(one.below + one.above for one in histograms)
    return f"{_share(largest)} beyond the ends" if largest else ""


def _description(pieces: Sequence[list[Piece]], versions: Versions) -> str:
    """Return the chart as text, for screen readers."""
    return " ".join(_describe_versions(pieces, versions))


def _describe_versions(pieces: Sequence[list[Piece]], versions: Versions) -> Iterator[str]:
    for number, version in zip(versions, pieces, strict=False):
        if not version:
            continue
        tenth = short(quantile(version, 0.1))
        half = short(quantile(version, 0.5))
        nine_tenths = short(quantile(version, 0.9))
        yield (
            f"Version {number}: a tenth of the rows below {tenth}, half below {half}, nine tenths below {nine_tenths}."
        )


def _bar_chart(name: str, bars: Sequence[Bar], versions: Versions) -> Markup:
    shares = "; ".join(f"{bar.label}: {_shares(bar)}" for bar in bars)
    rows = [_bar(bar, row * _BAR_HEIGHT) for row, bar in enumerate(bars)]
    return _SVG.format(
        name="bars",
        height=_BAR_HEIGHT * len(bars),
        title=_title(name, versions),
        description=f"Shares of the rows. {shares}.",
        shapes=Markup().join(rows),
    )


def _bar(bar: Bar, top: int) -> Markup:
    shape = _BAR.format(
        label=_shorten(bar.label),
        shares=_shares(bar),
        y=top + 13,
        top=top + 20,
        now=_percent(bar.now),
    )
    if bar.before:
        shape += _OUTLINE.format(top=top + 20, before=_percent(bar.before))
    return shape


def _shorten(text: str) -> str:
    """Cut a text to the width there is room for. Characters of some scripts are two wide."""
    ends = list(accumulate(map(_character_width, text)))
    if not ends or ends[-1] <= _LABEL_CHARACTERS:
        return text
    kept = bisect(ends, _LABEL_CHARACTERS - 1)
    return text[:kept] + "…"


def _character_width(character: str) -> int:
    return 2 if east_asian_width(character) in "FW" else 1


def _shares(bar: Bar) -> str:
    if bar.before is None:
        return _share(bar.now)
    return f"{_share(bar.now)}, was {_share(bar.before)}"


def _title(name: str, versions: Versions) -> str:
    title = f"{name} in version {versions.now}"
    if versions.before:
        title += f" and in version {versions.before}"
    return title


def _share(share: float) -> str:
    if not share:
        return "0 %"
    if share < 0.001:
        return "< 0.1 %"
    percent = 100 * share
    return f"{percent:.0f} %" if share >= 0.1 else f"{percent:.1f} %"


def _percent(share: float) -> str:
    within = min(1.0, max(0.0, share))
    return f"{100 * within:.5g}"
