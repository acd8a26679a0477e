"""The database's clock in the server: an age is never told as less than it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from prescore_api.service.clock import Clock


def test_a_slow_answer_does_not_set_it_back() -> None:
    clock, now = Clock(), datetime.now(UTC)
    clock.set(now, time.monotonic())
    quick = clock.now()
    # Asked four seconds ago, and the database said so then.
    clock.set(now, time.monotonic() - 4)
    assert clock.now() >= quick
    assert clock.now() < quick + 1


def test_it_is_the_databases_and_goes_on_by_itself() -> None:
    clock, theirs = Clock(), datetime.now(UTC) - timedelta(days=400)
    clock.set(theirs, time.monotonic())
    assert 0 <= clock.now() - theirs.timestamp() < 5
    before = clock.now()
    assert clock.now() >= before
