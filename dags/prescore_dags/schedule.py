"""When a model's DAG runs, and the deadline by which its version must be published."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable
from airflow.sdk.exceptions import AirflowTimetableInvalid
from croniter import CroniterError, croniter

from prescore.errors import SpecInvalid

if TYPE_CHECKING:
    from prescore.project.spec import Schedule


def timetable(schedule: Schedule | None) -> Any:
    """Return the schedule in Airflow's terms: None, a cron timetable, a list of assets, or cron and assets combined.

    With both, a run starts at each cron time and each time that all assets were updated. Raises SpecInvalid for a cron
    expression that Airflow cannot read or that never comes due.
    """
    if schedule is None:
        return None
    assets = [_asset(name) for name in schedule.assets]
    if schedule.cron is None:
        return assets
    cron = _cron_timetable(schedule)
    try:
        cron.validate()
        # Raises for an expression that never comes due, such as the 30th of February.
        croniter(cron.expression).get_next()
    except (AirflowTimetableInvalid, CroniterError) as error:
        raise SpecInvalid(f'schedule.cron: Airflow cannot read "{schedule.cron}": {error}') from error
    if assets:
        return AssetOrTimeSchedule(timetable=cron, assets=assets)
    return cron


def _asset(name: str) -> Any:
    if "://" in name:
        return Asset.ref(uri=name)
    return Asset.ref(name=name)


def missed_deadline(schedule: Schedule, published_at: datetime | None, now: datetime) -> datetime | None:
    """Return the last deadline if nothing was published since the run that was due before it, else None.

    Without a cron expression, that run counts as due one day before the deadline.
    """
    if schedule.published_by is None:
        return None
    zone = ZoneInfo(schedule.timezone)
    today = now.astimezone(zone).date()
    deadline = datetime.combine(today, schedule.published_by, zone)
    if deadline > now:
        yesterday = today - timedelta(days=1)
        deadline = datetime.combine(yesterday, schedule.published_by, zone)
    if published_at is None or published_at < _due_before(schedule, deadline):
        return deadline
    return None


def _due_before(schedule: Schedule, deadline: datetime) -> datetime:
    """Return when the last run before the deadline was due."""
    if not schedule.cron:
        return deadline - timedelta(days=1)
    due: datetime = croniter(_cron_timetable(schedule).expression, deadline).get_prev(datetime)
    return due


def _cron_timetable(schedule: Schedule) -> CronTriggerTimetable:
    """Return the cron timetable; its `expression` has five fields, with presets such as @quarterly written out."""
    return CronTriggerTimetable(schedule.cron or "", timezone=schedule.timezone)
