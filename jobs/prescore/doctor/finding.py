"""What the doctor finds: one thing that was examined, its state, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    `state` is `ok`, `warning` for what will become a problem or wastes space, or `fault` for what keeps runs or readers
    from working. `observed` is a clause, and `advice` says what to do; it is empty when there is nothing to do.
    """

    subject: str
    state: State
    observed: str
    advice: str = ""


def ok(subject: str, observed: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(subject, "ok", observed)


def warning(subject: str, observed: str, advice: str) -> Finding:
    """Return a finding that deserves a look."""
    return Finding(subject, "warning", observed, advice)


def fault(subject: str, observed: str, advice: str) -> Finding:
    """Return a finding that keeps something from working."""
    return Finding(subject, "fault", observed, advice)
