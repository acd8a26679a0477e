"""A schedule under which no run starts by itself during a test."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo


def cron_far_from_now(timezone: str = "UTC") -> str:
    """Return a cron expression that is due once a day, twelve hours from now.

    Airflow makes up for a run that was due within the last tenth of the interval, before it had seen the DAG.
    """
    hour = (datetime.now(ZoneInfo(timezone)).hour + 12) % 24
    return f"0 {hour} * * *"
