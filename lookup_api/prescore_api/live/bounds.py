"""Bounds on what live answers may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LiveBounds:
    """Bounds on the seconds that a request waits, and on the rows that wait at the same time for one model.

    A request waits at most `load_seconds` for the model file, `queue_seconds` for other rows, and `call_seconds` for
    its own. The scoring process is replaced once it has not started within `start_seconds`, has not responded for
    `stuck_seconds`, or a model has computed for that long. The loading of a model that takes longer than
    `reload_seconds` is given up and begins again.
    """

    load_seconds: float = 4.0
    queue_seconds: float = 2.0
    call_seconds: float = 10.0
    queue_rows: int = 20_000
    start_seconds: float = 60.0
    stuck_seconds: float = 30.0
    reload_seconds: float = 600.0
