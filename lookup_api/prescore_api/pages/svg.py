"""Distributions and ages as SVG inside of a page: it stretches to any width, and its letters do not.

Places are percentages, and colours the page's own: the current version is filled and the one before it an outline, so
that they are told apart without colours. Everything that is not a number of ours is escaped.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from unicodedata import east_asian_width

from markupsafe import Markup

from prescore.catalog.types import INTEGERS
from prescore.wording import age, short
from prescore_api.pages import axis, distribution
from prescore_api.pages.axis import Axis
from prescore_api.pages.distribution import Bar, Piece, Spread, Statistics, quantile

_TEXT = ("boolean", "text")
# Of a text: what a phone has room for beside its shares.
_LETTERS = 26
_PLOT, _ROW = 104, 46  # heights in pixels

_SVG = Markup('<svg class="{}" role="img" width="100%" height="{}"><title>{}</title><desc>{}</desc>{}</svg>')
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
    '<text x="0" y="{y}">{label}</text><text x="100%" y="{y}" text-anchor="end">{told}</text>'
    '<rect class="track" y="{top}" width="100%" height="14"/><rect class="now" y="{top}" width="{now}%" height="14"/>'
)
_OUTLINE = Markup('<rect class="before" y="{top}" width="{before}%" height="14"/>')
_AGE = Markup(
    '<rect class="track" y="3" width="100%" height="12" rx="3"/>'
    '<rect class="age" y="3" width="{age}%" height="12" rx="3"/>'
)
_OVER = Markup(
    '<rect class="over" x="{at}%" y="3" width="{rest}%" height="12" rx="3"/>'
    '<line class="promise" x1="{at}%" x2="{at}%" y2="18"/>'
)


def drawn(
    name: str, kind: str, now: Statistics, before: Statistics | None, versions: tuple[int, int | None]
) -> Markup | None:
    """How an output of type `kind` is distributed in a version, and in the one before it; None if nothing is known."""
    both = [now] if before is None else [now, before]
    if kind in _TEXT or distribution.are_few(both):
        bars = distribution.bars(now, before, kind) if now.common else []
        return _bars(name, bars, versions) if bars else None
    parts = [distribution.pieces(known) for known in both]
    return _bins(name, parts, kind in INTEGERS, versions) if parts[0] else None


def age_bar(seconds: float, promised: float) -> Markup:
    """An age against what is promised of it: the promise is the bar's end, or a mark on it when that is over."""
    whole = max(seconds, promised) or 1.0
    at = _percent(promised / whole)
    over = _OVER.format(at=at, rest=_percent(1 - promised / whole)) if seconds > promised else Markup()
    shapes = _AGE.format(age=_percent(max(0.0, min(seconds, promised)) / whole)) + over
    return _SVG.format("bar", 18, "Age against promise", f"{age(seconds)} old, promised {age(promised)}", shapes)


def _bins(name: str, parts: Sequence[list[Piece]], whole: bool, versions: tuple[int, int | None]) -> Markup:
    scale = axis.between(*distribution.ends(parts), whole=whole)
    spreads = [distribution.spread(part, scale.edges) for part in parts]
    most = max(chain.from_iterable(one.masses for one in spreads)) or 1.0
    paths = [_path([mass / most for mass in one.masses]) for one in spreads]
    shapes = _NOW.format(paths[0] + "Z") + (_BEFORE.format(paths[1]) if len(paths) > 1 and parts[1] else Markup())
    plot = _STRETCHED.format(height=_PLOT, bins=len(spreads[0].masses), shapes=shapes)
    frame = _FRAME.format(top=f"up to {_share(most)} of the rows", beyond=_beyond(spreads), base=18 + _PLOT)
    told = _told(parts, versions)
    return _SVG.format("plot", _PLOT + 44, _title(name, versions), told, plot + frame + Markup().join(_ticks(scale)))


def _path(heights: Sequence[float]) -> str:
    """Steps from the axis up and back to it, a bin after the other."""
    steps = "".join(f"V{100 * (1 - height):.1f}H{bin_}" for bin_, height in enumerate(heights, 1))
    return f"M0 100{steps}V100"


def _ticks(scale: Axis) -> Iterator[Markup]:
    base = 18 + _PLOT
    for tick in scale.ticks:
        anchor = "start" if tick.at < 0.08 else "end" if tick.at > 0.92 else "middle"
        shown = {"at": _percent(tick.at), "base": base, "end": base + 5, "y": base + 20}
        yield _TICK.format(**shown, anchor=anchor, label=tick.label)


def _beyond(spreads: Sequence[Spread]) -> str:
    """What is not drawn, because it would press everything else together."""
    most = max(one.below + one.above for one in spreads)
    return f"{_share(most)} beyond the ends" if most else ""


def _told(parts: Sequence[list[Piece]], versions: tuple[int, int | None]) -> str:
    """The picture in words, for who does not see it."""
    return " ".join(
        f"Version {version}: a tenth of the rows below {short(quantile(part, 0.1))}, "
        f"half below {short(quantile(part, 0.5))}, nine tenths below {short(quantile(part, 0.9))}."
        for version, part in zip(versions, parts, strict=False)
        if part
    )


def _bars(name: str, bars: Sequence[Bar], versions: tuple[int, int | None]) -> Markup:
    told = "; ".join(f"{bar.label}: {_compared(bar)}" for bar in bars)
    rows = Markup().join(_bar(bar, place * _ROW) for place, bar in enumerate(bars))
    return _SVG.format("bars", _ROW * len(bars), _title(name, versions), f"Shares of the rows. {told}.", rows)


def _bar(bar: Bar, above: int) -> Markup:
    shape = _BAR.format(label=_cut(bar.label), told=_compared(bar), y=above + 13, top=above + 20, now=_percent(bar.now))
    return shape + (_OUTLINE.format(top=above + 20, before=_percent(bar.before)) if bar.before else Markup())


def _cut(text: str) -> str:
    """No wider than there is room; a letter of some scripts is as wide as two."""
    ends = list(accumulate(2 if east_asian_width(letter) in "FW" else 1 for letter in text))
    return text if not ends or ends[-1] <= _LETTERS else text[: bisect(ends, _LETTERS - 1)] + "…"


def _compared(bar: Bar) -> str:
    return _share(bar.now) + ("" if bar.before is None else f", was {_share(bar.before)}")


def _title(name: str, versions: tuple[int, int | None]) -> str:
    return f"{name} in version {versions[0]}" + (f" and in version {versions[1]}" if versions[1] else "")


def _share(share: float) -> str:
    return "0 %" if not share else "< 0.1 %" if share < 0.001 else f"{100 * share:.{0 if share >= 0.1 else 1}f} %"


def _percent(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.5g}"
