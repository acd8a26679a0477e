"""Distributions out of the planner's statistics, whatever they are: nothing is lost, and two versions share an axis."""

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
    """What Postgres may keep of a column of numbers: common values, bounds, or both; never neither."""
    common = draw(st.lists(numbers, max_size=12, unique=True))
    bounds = sorted(draw(st.lists(numbers, min_size=0 if common else 2, max_size=30).filter(lambda b: len(b) != 1)))
    weights = draw(st.lists(st.floats(0.01, 1), min_size=len(common), max_size=len(common)))
    whole = sum(weights) / (draw(st.floats(0.05, 0.95)) if bounds else 1.0)
    return Statistics(tuple(map(repr, common)), tuple(w / whole for w in weights), tuple(map(repr, bounds)))


@PATIENT
@given(st.lists(statistics(), min_size=1, max_size=2), st.booleans())
def test_both_versions_are_whole_on_one_axis(known: list[Statistics], whole: bool) -> None:
    parts = [distribution.pieces(one) for one in known]
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
def test_an_axis_is_read_by_round_numbers(a: float, b: float, whole: bool) -> None:
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
def test_labels(low: float, high: float, whole: bool, labels: str) -> None:
    assert [tick.label for tick in axis.between(low, high, whole=whole).ticks] == labels.split()


def test_whole_numbers_have_bins_of_their_own() -> None:
    known = Statistics(("2", "3"), (0.5, 0.25), ("0", "1", "4"))
    scale = axis.between(*distribution.drawn_range([distribution.pieces(known)]), whole=True)
    assert scale.edges == (-0.5, 0.5, 1.5, 2.5, 3.5, 4.5)
    masses = distribution.histogram(distribution.pieces(known), scale.edges).masses
    assert masses[2] > 0.5
    assert masses[3] > 0.25


def test_a_uniform_column_is_flat_and_its_atoms_stand_out() -> None:
    known = Statistics(("0.5",), (0.5,), tuple(str(n / 100) for n in range(101)))
    scale = axis.between(0.0, 1.0)
    masses = distribution.histogram(distribution.pieces(known), scale.edges).masses
    assert masses[24] == pytest.approx(0.5 + 0.5 / 48)
    assert [m for i, m in enumerate(masses) if i != 24] == pytest.approx([0.5 / 48] * 47)


@PATIENT
@given(statistics(), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_quantiles_ascend_within_the_values(known: Statistics, a: float, b: float) -> None:
    parts = distribution.pieces(known)
    low, high = (distribution.quantile(parts, share) for share in sorted((a, b)))
    assert min(piece.low for piece in parts) <= low
    assert high <= max(piece.high for piece in parts)
    assert low <= high


def test_a_few_rows_far_away_are_told_and_not_drawn() -> None:
    known = Statistics(bounds=(*(str(n / 100) for n in range(300)), "1000"))
    parts = distribution.pieces(known)
    low, high = distribution.drawn_range([parts])
    assert (low, high < 4) == (0, True)
    spread = distribution.histogram(parts, axis.between(low, high).edges)
    assert 0 < spread.above < 0.01
    assert "beyond the ends" in drawn("real", known)


def test_bars_are_in_an_order_that_does_not_depend_on_the_statistics() -> None:
    now, before = Statistics(("f", "t"), (0.75, 0.25)), Statistics(("t", "f"), (0.5, 0.5))
    assert distribution.bars(now, before, "boolean") == [Bar("true", 0.25, 0.5), Bar("false", 0.75, 0.5)]
    now, before = Statistics(("10", "9"), (0.75, 0.25)), Statistics(("11",), (1.0,))
    assert [bar.label for bar in distribution.bars(now, before, "integer")] == ["9", "10", "11"]


def test_texts_that_are_not_common_are_told_together() -> None:
    now = Statistics(tuple("abcdefgh"), (0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05))
    told = distribution.bars(now, Statistics(("a", "z"), (0.5, 0.5)), "text")
    assert [bar.label for bar in told] == [*"abcdef", "everything else"]
    assert [told[-1].now, told[-1].before] == pytest.approx([0.3, 0.5])
    assert math.fsum(bar.now for bar in told) == pytest.approx(1)


def drawn(kind: str, now: Statistics, before: Statistics | None = None) -> str:
    """A picture as text, or no text."""
    return str(svg.render_distribution("score", kind, now, before, Versions(2, None if before is None else 1)) or "")


@pytest.mark.parametrize("kind", ["real", "bigint", "text", "boolean"])
def test_nothing_known_is_no_picture(kind: str) -> None:
    assert drawn(kind, Statistics()) == ""
    assert drawn(kind, Statistics(), Statistics(("1",), (1.0,))) == ""


def test_texts_that_are_all_different_are_no_picture() -> None:
    assert drawn("text", Statistics(bounds=("a", "b", "c"))) == ""


def test_a_constant_column_is_one_bar() -> None:
    constant = Statistics(("0.5",), (1.0,))
    for told in (drawn("real", constant), drawn("integer", Statistics(("3",), (1.0,)))):
        assert told.count('class="now"') == 1
        assert "100 %" in told
    assert drawn("real", constant, Statistics(bounds=("0", "1", "2"))).count("<path") == 2


@PATIENT
@given(statistics(), st.none() | statistics(), st.sampled_from(["real", "double precision", "bigint"]))
def test_every_picture_has_its_words_and_stays_on_the_paper(
    now: Statistics, before: Statistics | None, kind: str
) -> None:
    told = drawn(kind, now, before)
    assert f"<title>score in version 2{' and in version 1' if before else ''}</title><desc>" in told
    assert not re.search(r"\b(nan|inf)\b", told)
    places = re.findall(r'(?:width|x|x1|x2)="([\d.e+-]+)%"', told)
    assert places
    assert all(0 <= float(place) <= 100 for place in places)
    heights = re.findall(r"V(\d[\d.e+-]*)", told)
    assert all(0 <= float(height) <= 100 for height in heights)


def test_a_picture_is_the_same_text_for_a_hundred_thousand_rows_as_for_a_hundred() -> None:
    random.seed(1)
    bounds = tuple(repr(x) for x in sorted(random.gauss(0, 1) for _ in range(101)))
    assert len(drawn("real", Statistics(bounds=bounds), Statistics(bounds=bounds))) < 3000


def test_values_are_cut_by_the_room_that_they_take() -> None:
    told = drawn("text", Statistics(("a" * 40, "長" * 40, "<b>&"), (0.5, 0.25, 0.25)))
    assert ">" + "a" * 25 + "…<" in told
    assert ">" + "長" * 12 + "…<" in told
    assert "&lt;b&gt;&amp;" in told
    assert "<b>" not in told


@pytest.mark.parametrize(
    ("seconds", "words", "over"),
    [(0, "0 s old, max age 26 h", False), (93601, "26 h old, max age 26 h", True), (-5, "-5 s old", False)],
)
def test_an_age_is_a_bar_with_a_mark_where_the_promise_is_over(seconds: float, words: str, over: bool) -> None:
    told = str(svg.render_age(seconds, 93600))
    assert words in told
    assert ('class="max-age"' in told) == over


def test_a_picture_is_kept_once_all_is_known_that_belongs_on_it() -> None:
    begun = datetime.now(UTC)
    output = Output("score", "real", Source(2, "m_v2", begun), Source(1, "m_v1", begun))
    now = {("m_v2", "score"): Statistics(bounds=("0", "1", "2"))}
    both = now | {("m_v1", "score"): Statistics(bounds=("0", "1", "3"))}
    cache = ChartCache()
    assert cache.chart(output, {}) is None
    assert str(cache.chart(output, now)).count("<path") == 1
    assert cache.missing([output]) == [output]
    assert str(cache.chart(output, both)).count("<path") == 2
    assert cache.missing([output]) == []
    assert cache.chart(output, {}) == cache.chart(output, both)


def test_an_cache_does_not_grow_for_ever() -> None:
    cache, known = ChartCache(), {("m_v1", "score"): Statistics(("1",), (1.0,))}
    outputs = [Output("score", "real", Source(1, "m_v1", datetime.fromtimestamp(n, UTC)), None) for n in range(1000)]
    for output in outputs:
        assert cache.missing(outputs[:1]) == [] or output == outputs[0]
        assert cache.chart(output, known)
    # The first has been asked for all the time.
    assert cache.missing(outputs) == outputs[1:-511]
