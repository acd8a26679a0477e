"""When a model's DAG runs, and the deadline by which its version must be published."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable
from airflow.sdk.exceptions import AirflowTimetableInvalid
from croniter import CroniterError, croniter

from prescore.errors import SpecInvalid
from prescore.project.environment import Resolver


@dataclass(frozen=True)
class Schedule:
    """The table `[schedule]` of a spec. Runs validate the spec as a whole; here, only wrong types are errors."""

    cron: str | None = None
    timezone: str = "UTC"
    assets: tuple[str, ...] = ()
    published_by: time | None = None

    @classmethod
    def read(cls, spec_file: Path) -> Schedule | None:
        """Return the schedule in a spec file, None if it has none; raise SpecInvalid or OSError."""
        table = read_resolved(spec_file, "schedule")
        if table is None:
            return None
        try:
            schedule = cls(
                cron=table.get("cron"),
                timezone=table.get("timezone", "UTC"),
                assets=tuple(table.get("assets", ())),
                published_by=_time_of_day(table.get("published_by")),
            )
            ZoneInfo(schedule.timezone)
            for name in schedule.assets:
                _asset(name)
        except (AttributeError, TypeError, ValueError, ZoneInfoNotFoundError, IsADirectoryError) as error:
            raise SpecInvalid(f"{spec_file}: [schedule] is not valid: {error}") from error
        return schedule


def read_resolved(file: Path, key: str) -> Any:
    """Return a key of a spec with the values of this process's environment variables; None without the key.

    Raises SpecInvalid or OSError.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecInvalid(f"{file} is not valid TOML: {error}.") from error
    resolver = Resolver(os.environ)
    value = resolver.resolve(content.get(key), key)
    if resolver.faults or resolver.unset:
        raise SpecInvalid(f"{file} is not valid: {'; '.join([*resolver.faults, *resolver.unset])}")
    return value


def _time_of_day(value: object) -> time | None:
    parsed = time.fromisoformat(value) if isinstance(value, str) else value
    if parsed is not None and not isinstance(parsed, time):
        raise TypeError(f"published_by is {value!r}, which is not a time of day such as 06:00:00")
    return parsed


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
    deadline = _latest(today, schedule.published_by, zone)
    if deadline > now:
        yesterday = today - timedelta(days=1)
        deadline = _latest(yesterday, schedule.published_by, zone)
    if published_at is None or published_at < _due_before(schedule, deadline):
        return deadline
    return None


def _latest(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """Return a time of day in a zone; the later of the two in an hour that is repeated or skipped, as Airflow runs."""
    first = datetime.combine(day, clock, zone)
    # Times of the same zone are compared by their clocks, which are the same here.
    return max(first, first.replace(fold=1), key=datetime.timestamp)


def _due_before(schedule: Schedule, deadline: datetime) -> datetime:
    """Return when the last run before the deadline was due."""
    if not schedule.cron:
        return deadline - timedelta(days=1)
    due: datetime = croniter(_cron_timetable(schedule).expression, deadline).get_prev(datetime)
    return due


def _cron_timetable(schedule: Schedule) -> CronTriggerTimetable:
    """Return the cron timetable; its `expression` has five fields, with presets such as @quarterly written out."""
    return CronTriggerTimetable(schedule.cron or "", timezone=schedule.timezone)
