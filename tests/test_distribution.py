"""Charts of the planner's statistics: every row is accounted for, and the two versions share one axis."""

from __future__ import annotations

import math
import random
import re
import sys
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prescore_api.pages import axis, distribution, svg
from prescore_api.pages.charts import ChartCache, Output, Source
from prescore_api.pages.distribution import Bar, Statistics
from prescore_api.pages.svg import Versions

PATIENT = settings(deadline=None)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1).map(float)


@st.composite
def statistics(draw: st.DrawFn, numbers: st.SearchStrategy[float] = NUMBERS) -> Statistics:
    """Generate statistics that Postgres may hold for a column of numbers: common values, histogram bounds or both."""
    common = draw(st.lists(numbers, max_size=12, unique=True))
    bounds = sorted(draw(st.lists(numbers, min_size=0 if common else 2, max_size=30).filter(lambda b: len(b) != 1)))
    weights = draw(st.lists(st.floats(0.01, 1), min_size=len(common), max_size=len(common)))
    whole = sum(weights) / (draw(st.floats(0.05, 0.95)) if bounds else 1.0)
    return Statistics(tuple(map(repr, common)), tuple(w / whole for w in weights), tuple(map(repr, bounds)))


@PATIENT
@given(st.lists(statistics(), min_size=1, max_size=2), st.booleans())
def test_both_versions_are_complete_on_one_axis(versions: list[Statistics], whole: bool) -> None:
    parts = [distribution.pieces(version) for version in versions]
    scale = axis.between(*distribution.drawn_range(parts), whole=whole)
    assert all(a < b for a, b in pairwise(scale.edges))
    assert 1 <= len(scale.edges) - 1 <= axis.BINS
    for part in parts:
        spread = distribution.histogram(part, scale.edges)
        assert len(spread.masses) == len(scale.edges) - 1
        assert math.fsum(piece.mass for piece in part) == pytest.approx(1)
        assert math.fsum([*spread.masses, spread.below, spread.above]) == pytest.approx(1)
        assert spread.below <= 0.03
        assert spread.above <= 0.03
        assert min(spread.masses) >= -1e-12


@PATIENT
@given(NUMBERS, NUMBERS, st.booleans())
def test_an_axis_covers_its_range_with_distinct_labels_that_fit(a: float, b: float, whole: bool) -> None:
    low, high = min(a, b), max(a, b)
    scale = axis.between(low, high, whole=whole)
    assert scale.edges[0] <= low
    assert scale.edges[-1] >= high
    assert scale.ticks
    assert all(0 <= tick.position <= 1 for tick in scale.ticks)
    assert all(a.position < b.position for a, b in pairwise(scale.ticks))
    labels = [tick.label for tick in scale.ticks]
    assert len(set(labels)) == len(labels)
    assert len(labels) == 1 or sum(len(label) + 2 for label in labels) <= 46


@pytest.mark.parametrize(
    ("low", "high", "whole", "labels"),
    [
        (0.003, 0.994, False, "0 0.2 0.4 0.6 0.8 1"),
        (0.21, 0.58, False, "0.2 0.3 0.4 0.5 0.6"),
        (-3.0, 12.0, False, "-5 0 5 10"),
        (1234.0, 98765.0, False, "0 20,000 40,000 60,000 80,000 100,000"),
        (0.0, 2.4e9, False, "0 5·10⁸ 10⁹ 1.5·10⁹ 2·10⁹ 2.5·10⁹"),
        (1e-9, 8e-9, False, "0 2·10⁻⁹ 4·10⁻⁹ 6·10⁻⁹ 8·10⁻⁹"),
        (0.0, 4.0, True, "0 1 2 3 4"),
        (3.0, 3.0, True, "3"),
        (0.0, 100.0, True, "0 20 40 60 80 100"),
        (-sys.float_info.max, sys.float_info.max, False, "-1.5·10³⁰⁸ -5·10³⁰⁷ 5·10³⁰⁷ 1.5·10³⁰⁸"),
    ],
)
def test_labels_are_round_numbers(low: float, high: float, whole: bool, labels: str) -> None:
    assert [tick.label for tick in axis.between(low, high, whole=whole).ticks] == labels.split()


def test_each_whole_number_has_its_own_bin() -> None:
    column = Statistics(("2", "3"), (0.5, 0.25), ("0", "1", "4"))
    scale = axis.between(*distribution.drawn_range([distribution.pieces(column)]), whole=True)
    assert scale.edges == (-0.5, 0.5, 1.5, 2.5, 3.5, 4.5)
    masses = distribution.histogram(distribution.pieces(column), scale.edges).masses
    assert masses[2] > 0.5
    assert masses[3] > 0.25


def test_a_uniform_column_is_flat_except_for_its_common_value() -> None:
    column = Statistics(("0.5",), (0.5,), tuple(str(n / 100) for n in range(101)))
    scale = axis.between(0.0, 1.0)
    masses = distribution.histogram(distribution.pieces(column), scale.edges).masses
    assert masses[24] == pytest.approx(0.5 + 0.5 / 48)
    assert [mass for i, mass in enumerate(masses) if i != 24] == pytest.approx([0.5 / 48] * 47)


@PATIENT
@given(statistics(), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_quantiles_ascend_within_the_range_of_the_values(column: Statistics, a: float, b: float) -> None:
    parts = distribution.pieces(column)
    low, high = (distribution.quantile(parts, share) for share in sorted((a, b)))
    assert min(piece.low for piece in parts) <= low
    assert high <= max(piece.high for piece in parts)
    assert low <= high


def test_a_few_outliers_are_mentioned_but_not_drawn() -> None:
    column = Statistics(bounds=(*(str(n / 100) for n in range(300)), "1000"))
    parts = distribution.pieces(column)
    low, high = distribution.drawn_range([parts])
    assert (low, high < 4) == (0, True)
    spread = distribution.histogram(parts, axis.between(low, high).edges)
    assert 0 < spread.above < 0.01
    assert "beyond the ends" in rendered("real", column)


def test_bars_are_in_an_order_that_does_not_depend_on_the_statistics() -> None:
    now, before = Statistics(("f", "t"), (0.75, 0.25)), Statistics(("t", "f"), (0.5, 0.5))
    assert distribution.bars(now, before, "boolean") == [Bar("true", 0.25, 0.5), Bar("false", 0.75, 0.5)]
    now, before = Statistics(("10", "9"), (0.75, 0.25)), Statistics(("11",), (1.0,))
    assert [bar.label for bar in distribution.bars(now, before, "integer")] == ["9", "10", "11"]


def test_uncommon_texts_share_one_bar() -> None:
    now = Statistics(tuple("abcdefgh"), (0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05))
    bars = distribution.bars(now, Statistics(("a", "z"), (0.5, 0.5)), "text")
    assert [bar.label for bar in bars] == [*"abcdef", "everything else"]
    assert [bars[-1].now, bars[-1].before] == pytest.approx([0.3, 0.5])
    assert math.fsum(bar.now for bar in bars) == pytest.approx(1)


def rendered(kind: str, now: Statistics, before: Statistics | None = None) -> str:
    """Return the chart as SVG text, or an empty text if there is no chart."""
    return str(svg.render_distribution("score", kind, now, before, Versions(2, None if before is None else 1)) or "")


@pytest.mark.parametrize("kind", ["real", "bigint", "text", "boolean"])
def test_a_column_without_statistics_has_no_chart(kind: str) -> None:
    assert rendered(kind, Statistics()) == ""
    assert rendered(kind, Statistics(), Statistics(("1",), (1.0,))) == ""


def test_a_column_of_distinct_texts_has_no_chart() -> None:
    assert rendered("text", Statistics(bounds=("a", "b", "c"))) == ""


def test_a_constant_column_is_one_bar() -> None:
    constant = Statistics(("0.5",), (1.0,))
    for chart in (rendered("real", constant), rendered("integer", Statistics(("3",), (1.0,)))):
        assert chart.count('class="now"') == 1
        assert "100 %" in chart
    assert rendered("real", constant, Statistics(bounds=("0", "1", "2"))).count("<path") == 2


@PATIENT
@given(statistics(), st.none() | statistics(), st.sampled_from(["real", "double precision", "bigint"]))
def test_every_chart_has_a_title_and_stays_within_its_frame(
    now: Statistics, before: Statistics | None, kind: str
) -> None:
    chart = rendered(kind, now, before)
    assert f"<title>score in version 2{' and in version 1' if before else ''}</title><desc>" in chart
    assert not re.search(r"\b(nan|inf)\b", chart)
    percentages = re.findall(r'(?:width|x|x1|x2)="([\d.e+-]+)%"', chart)
    assert percentages
    assert all(0 <= float(percentage) <= 100 for percentage in percentages)
    heights = re.findall(r"V(\d[\d.e+-]*)", chart)
    assert all(0 <= float(height) <= 100 for height in heights)


def test_a_chart_of_the_most_detailed_histogram_is_short() -> None:
    random.seed(1)
    bounds = tuple(repr(x) for x in sorted(random.gauss(0, 1) for _ in range(101)))
    assert len(rendered("real", Statistics(bounds=bounds), Statistics(bounds=bounds))) < 3000


def test_long_values_are_cut_by_their_display_width() -> None:
    chart = rendered("text", Statistics(("a" * 40, "長" * 40, "<b>&"), (0.5, 0.25, 0.25)))
    assert ">" + "a" * 25 + "…<" in chart
    assert ">" + "長" * 12 + "…<" in chart
    assert "&lt;b&gt;&amp;" in chart
    assert "<b>" not in chart


@pytest.mark.parametrize(
    ("seconds", "text", "overdue"),
    [(0, "0 s old, max age 26 h", False), (93601, "26 h old, max age 26 h", True), (-5, "-5 s old", False)],
)
def test_an_age_bar_marks_the_max_age_once_it_is_exceeded(seconds: float, text: str, overdue: bool) -> None:
    chart = str(svg.render_age(seconds, 93600))
    assert text in chart
    assert ('class="max-age"' in chart) == overdue


def test_a_chart_is_cached_once_the_statistics_of_both_versions_are_available() -> None:
    started_at = datetime.now(UTC)
    output = Output("score", "real", Source(2, "m_v2", started_at), Source(1, "m_v1", started_at))
    now = {("m_v2", "score"): Statistics(bounds=("0", "1", "2"))}
    both = now | {("m_v1", "score"): Statistics(bounds=("0", "1", "3"))}
    cache = ChartCache()
    assert cache.chart(output, {}) is None
    assert str(cache.chart(output, now)).count("<path") == 1
    assert cache.missing([output]) == [output]
    assert str(cache.chart(output, both)).count("<path") == 2
    assert cache.missing([output]) == []
    assert cache.chart(output, {}) == cache.chart(output, both)


def test_the_cache_is_bounded_and_keeps_the_charts_in_use() -> None:
    cache, by_column = ChartCache(), {("m_v1", "score"): Statistics(("1",), (1.0,))}
    outputs = [Output("score", "real", Source(1, "m_v1", datetime.fromtimestamp(n, UTC)), None) for n in range(1000)]
    for output in outputs:
        assert cache.missing(outputs[:1]) == [] or output == outputs[0]
        assert cache.chart(output, by_column)
    # The first chart is still cached because the page kept using it.
    assert cache.missing(outputs) == outputs[1:-511]
