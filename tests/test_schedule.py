"""Deadlines of publications, computed for chosen times without running Airflow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from prescore.catalog.datetimes import parse_datetime
from prescore.project.spec import Schedule

NIGHTLY = {"cron": "0 5 * * *", "timezone": "Europe/Zurich", "published_by": "06:00:00"}


def _missed_deadline(published_at: str | None, now: str, **schedule: Any) -> datetime | None:
    from prescore_dags.schedule import Schedule as Timetable
    from prescore_dags.schedule import missed_deadline

    spec = Schedule.model_validate({**NIGHTLY, **schedule})
    return missed_deadline(
        Timetable(spec.cron, spec.timezone, spec.assets, spec.published_by),
        parse_datetime(published_at) if published_at else None,
        parse_datetime(now),
    )


@pytest.mark.parametrize(
    ("published_at", "now", "deadline"),
    [
        # Before the deadline, 06:00 in Zurich, yesterday's publication is enough.
        ("2026-03-10T04:10Z", "2026-03-10T04:59Z", None),
        # Published by tonight's run.
        ("2026-03-10T04:10Z", "2026-03-10T05:01Z", None),
        # Published after yesterday's deadline, and not since.
        ("2026-03-09T05:10Z", "2026-03-10T05:01Z", "2026-03-10T05:00Z"),
        # Published late, but published by now.
        ("2026-03-10T05:20Z", "2026-03-10T05:30Z", None),
        ("2026-03-10T04:10Z", "2026-03-10T23:59Z", None),
        # The night when summer time begins.
        ("2026-03-28T04:10Z", "2026-03-29T04:01Z", "2026-03-29T04:00Z"),
    ],
)
def test_a_deadline_is_missed_if_nothing_was_published_since_its_run_was_due(
    published_at: str, now: str, deadline: str | None
) -> None:
    assert _missed_deadline(published_at, now) == (deadline and parse_datetime(deadline))


@pytest.mark.parametrize(
    ("published_at", "now", "deadline"),
    [
        # In October, 02:45 comes twice. Airflow starts the run of 02:00 at the second 02:00, 01:00 UTC.
        ("2026-10-24T00:10Z", "2026-10-25T00:50Z", None),
        ("2026-10-24T00:10Z", "2026-10-25T01:44Z", None),
        ("2026-10-24T00:10Z", "2026-10-25T01:46Z", "2026-10-25T01:45Z"),
        ("2026-10-25T01:10Z", "2026-10-25T01:46Z", None),
        # In March, it does not exist.
        ("2026-03-28T01:10Z", "2026-03-29T01:30Z", None),
        ("2026-03-28T01:10Z", "2026-03-29T01:46Z", "2026-03-29T01:45Z"),
    ],
)
def test_a_deadline_in_an_hour_that_is_repeated_or_skipped(published_at: str, now: str, deadline: str | None) -> None:
    missed = _missed_deadline(published_at, now, cron="0 2 * * *", published_by="02:45:00")
    assert (missed and missed.astimezone(UTC)) == (deadline and parse_datetime(deadline))


def test_days_without_a_run_have_no_deadline() -> None:
    friday, sunday, monday = "2026-03-13T04:10Z", "2026-03-15T12:00Z", "2026-03-16T05:01Z"
    assert _missed_deadline(friday, sunday, cron="0 5 * * 1-5") is None
    assert _missed_deadline(friday, monday, cron="0 5 * * 1-5") == parse_datetime("2026-03-16T05:00Z")


@pytest.mark.parametrize("cron", ["@quarterly", "0 0 1 */3 *"])
def test_presets_mean_what_they_mean_to_airflow(cron: str) -> None:
    spring, summer = "2026-04-01T00:10Z", "2026-07-01T05:01Z"
    assert _missed_deadline(spring, "2026-06-30T12:00Z", cron=cron) is None
    assert _missed_deadline(spring, summer, cron=cron) == parse_datetime("2026-07-01T04:00Z")


def test_a_model_scheduled_by_assets_is_due_once_a_day() -> None:
    assert _missed_deadline("2026-03-09T05:10Z", "2026-03-10T05:01Z", cron=None, assets=["orders"]) is None
    assert _missed_deadline("2026-03-09T04:10Z", "2026-03-10T05:01Z", cron=None, assets=["orders"]) is not None


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ({"timezone": "UTC"}, "must have cron, assets, or both"),
        ({"cron": "0 5 * *"}, "cron must have five fields"),
        ({"cron": "0 5 * * *", "published_by": "at six"}, "must be a time of day without a zone, such as 06:00:00"),
        ({"cron": "0 5 * * *", "published_by": "06:00:00+01:00"}, "schedule.timezone sets the zone"),
    ],
)
def test_a_meaningless_schedule_is_rejected_with_a_reason(schedule: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Schedule.model_validate(schedule)
