"""Values as text for people, the same on a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from textwrap import shorten

from prescore.wording import age, count, utc

_LONGEST = 80
_FIRST_ELEMENTS = 6


def format_value(value: object) -> str:
    """Return a value as a person reads it: floats with four digits, times with a zone in UTC, None as a dash.

    Of an array, it shows the first elements and their number.
    """
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}" if value.tzinfo is None else utc(value)
        case list():
            return _format_array(value)
        case _:
            return str(value)


def _format_array(elements: Sequence[object]) -> str:
    shown = ", ".join(map(format_value, elements[:_FIRST_ELEMENTS]))
    if len(elements) <= _FIRST_ELEMENTS:
        return f"[{shown}]"
    return f"[{shown}, …] ({count(len(elements), 'element')})"


def format_age(seconds: float | None) -> str | None:
    """Return a length of time in seconds as text, such as `6 h`."""
    return None if seconds is None else age(seconds)


def format_share(share: float) -> str:
    """Return the share of the keys that a canary is served to as text."""
    return "in shadow" if share == 0 else f"for {100 * share:.6g}% of the keys"


def format_seconds(seconds: Mapping[str, float]) -> str:
    """Return the durations of a run's steps as text, with what the total has beside them."""
    steps = {name: duration for name, duration in seconds.items() if name != "total"}
    parts = [f"{name} {duration:.1f}" for name, duration in steps.items()]
    if "total" in seconds:
        rest = seconds["total"] - sum(steps.values())
        parts += [f"loading, validating and waiting {rest:.1f}", f"total {seconds['total']:.1f}"]
    return ", ".join(parts)


def first_line(text: str | None) -> str | None:
    """Return the first line of a text, shortened to fit into a table."""
    if not text:
        return text
    return shorten(text.splitlines()[0], _LONGEST, placeholder=" …")
