"""Numbers, times, durations and names as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

_SMALLEST_WITH_SEPARATORS = 1000
_LARGEST_EXACT = 2**53
_MOST_NAMES = 10
_LONGEST_NAME = 60
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def age(seconds: float | None) -> str:
    """Return a duration in its largest unit that counts at least two, such as `3 h`; `-` for None."""
    if seconds is None:
        return "-"
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def utc(time: datetime) -> str:
    """Return a time with a zone as text in UTC, such as `2026-01-31 05:00:00 UTC`."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def short(value: Any) -> str:
    """Return a value as text: numbers with at least four significant digits, and with thousands separators."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if _SMALLEST_WITH_SEPARATORS <= abs(value) < _LARGEST_EXACT:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a question with the known name that is most like this one, in whatever case, or nothing."""
    similar = similar_name(name, known)
    return "" if similar is None else f" Did you mean {prefix}{similar}?"


def guess(name: str, known: Iterable[str]) -> str:
    """Return the same within a sentence, such as ` (did you mean score?)`, or nothing."""
    similar = similar_name(name, known)
    return "" if similar is None else f" (did you mean {similar}?)"


def similar_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like this one, in whatever case, or None."""
    by_lower_case = {candidate.lower(): candidate for candidate in known}
    similar = get_close_matches(name.lower(), by_lower_case, n=1)
    return by_lower_case[similar[0]] if similar else None


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 row` or `1,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def names(given: Sequence[str]) -> str:
    """Return at most ten names as a list such as `a, b`; those that cannot be read easily are in quotes."""
    shown = [_name(name) for name in given[:_MOST_NAMES]]
    if len(given) > _MOST_NAMES:
        shown.append(f"and {len(given) - _MOST_NAMES:,} more")
    return ", ".join(shown)


def _name(name: str) -> str:
    is_readable = name.isprintable() and not any(character.isspace() for character in name)
    return name if name and is_readable and len(name) <= _LONGEST_NAME else repr(name[:_LONGEST_NAME])
