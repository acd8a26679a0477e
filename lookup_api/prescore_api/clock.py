"""The database's clock, which every age is told by: as it was last read, going on by this machine's steady one."""

from __future__ import annotations

import time
from datetime import datetime


class Clock:
    """Seconds since 1970 by the database's clock, also while the database is away."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def set(self, now: datetime) -> None:
        """The database has just said what time it is."""
        self._ahead = now.timestamp() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return time.monotonic() + self._ahead
