"""The database's clock, which every age is computed with, carried forward by this machine's monotonic clock."""

from __future__ import annotations

import time
from datetime import datetime

# Of several readings within this time, the quickest round trip is the most accurate one. After it, the latest reading
# counts, so that a clock that was set on the database server is followed.
_KEPT_SECONDS = 60.0


class Clock:
    """Seconds since 1970 by the database's clock, also while the database is away. It never runs behind."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._set_at = -_KEPT_SECONDS

    def set(self, now: datetime, queried_at: float) -> None:
        """Set the clock to `now`, the database's reply to a query sent at `queried_at` on the monotonic clock.

        The database read its clock some time between the query and the reply. Counting from the query makes this clock
        fast by at most the time that the query took to arrive: an age may come out slightly too high, but nothing
        stale is ever reported as fresh.
        """
        offset = now.timestamp() - queried_at
        set_at = time.monotonic()
        is_more_accurate = offset < self._offset
        is_outdated = set_at - self._set_at >= _KEPT_SECONDS
        if is_more_accurate or is_outdated:
            self._offset = offset
            self._set_at = set_at

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return time.monotonic() + self._offset
