"""The database's clock in the server: an age is never reported as lower than it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from prescore_api.service.clock import Clock


def test_a_slow_reply_does_not_set_the_clock_back() -> None:
    clock, now = Clock(), datetime.now(UTC)
    clock.set(now, time.monotonic())
    quick = clock.now()
    # The query was sent four seconds ago, so the time in its reply may be that old.
    clock.set(now, time.monotonic() - 4)
    assert clock.now() >= quick
    assert clock.now() < quick + 1


def test_the_clock_follows_the_database_and_runs_on_by_itself() -> None:
    clock, theirs = Clock(), datetime.now(UTC) - timedelta(days=400)
    clock.set(theirs, time.monotonic())
    assert 0 <= clock.now() - theirs.timestamp() < 5
    before = clock.now()
    assert clock.now() >= before
