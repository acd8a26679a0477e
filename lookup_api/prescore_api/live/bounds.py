"""Bounds on what live answers may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LiveBounds:
    """Bounds on the seconds that a request waits, and on the rows that wait at the same time for one model.

    A request waits at most `load_seconds` for the model file, `queue_seconds` for other rows, and `call_seconds` for
    its own.
    """

    load_seconds: float = 5.0
    queue_seconds: float = 2.0
    call_seconds: float = 10.0
    queue_rows: int = 20_000
