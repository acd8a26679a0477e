"""Numbers as a person says them, wherever they are shown."""

from __future__ import annotations

from typing import Any


def age(seconds: float | None) -> str:
    """A number of seconds as a person says it."""
    if seconds is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def short(value: Any) -> str:
    """A value as a person reads it: four digits are enough."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
