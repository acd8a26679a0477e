"""When a model's DAG runs, and by when it was to have published."""

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
    """As Airflow has it: by the clock, when other DAGs have updated all of some assets, or whichever comes first."""
    if schedule is None:
        return None
    assets: list[Any] = [Asset.ref(uri=a) if "://" in a else Asset.ref(name=a) for a in schedule.assets]
    if schedule.cron is None:
        return assets
    clock = _clock(schedule)
    try:
        clock.validate()
        # Raises for one that never comes, such as the 30th of February.
        croniter(clock.expression).get_next()
    except (AirflowTimetableInvalid, CroniterError) as error:
        raise SpecInvalid(f'schedule.cron: Airflow cannot read "{schedule.cron}": {error}') from error
    return AssetOrTimeSchedule(timetable=clock, assets=assets) if assets else clock


def missed(schedule: Schedule, published_at: datetime | None, now: datetime) -> datetime | None:
    """The deadline that has passed without a publication since the run that was to make it; None when all is well.

    Without a cron expression the run is one of the day before the deadline.
    """
    if schedule.published_by is None:
        return None
    here = now.astimezone(ZoneInfo(schedule.timezone))
    deadline = datetime.combine(here.date(), schedule.published_by, here.tzinfo)
    if deadline > here:
        deadline = datetime.combine(here.date() - timedelta(days=1), schedule.published_by, here.tzinfo)
    due = (
        croniter(_clock(schedule).expression, deadline).get_prev(datetime)
        if schedule.cron
        else deadline - timedelta(days=1)
    )
    return deadline if published_at is None or published_at < due else None


def _clock(schedule: Schedule) -> CronTriggerTimetable:
    """Its `expression` has five fields: Airflow writes out what croniter need not know, such as @quarterly."""
    return CronTriggerTimetable(schedule.cron or "", timezone=schedule.timezone)
