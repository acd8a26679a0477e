"""The database's clock, which every age is told by: as it was last read, going on by this machine's steady one."""

from __future__ import annotations

import time
from datetime import datetime

# A clock that was set is followed after so long; until then the quickest answer counts, which is the nearest.
_KEPT_SECONDS = 60.0


class Clock:
    """Seconds since 1970 by the database's clock, also while the database is away; never behind it."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()
        self._read_at = -_KEPT_SECONDS

    def set(self, now: datetime, asked_at: float) -> None:
        """What the database said that time it was when it was asked, at a time of this machine's monotonic clock.

        It was read between the question and the answer. As of the question it is late by the way there at most: an age
        is then told as a little more than it is, and nothing that is stale as fresh.
        """
        ahead, when = now.timestamp() - asked_at, time.monotonic()
        if ahead < self._ahead or when - self._read_at >= _KEPT_SECONDS:
            self._ahead, self._read_at = ahead, when

    def now(self) -> float:
        """Seconds since 1970."""
        return time.monotonic() + self._ahead
