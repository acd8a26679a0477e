"""The values of a spec's keys: what may be written, and what is said of anything else."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator

from prescore.catalog.naming import require_column_name, require_key_name, require_model_name
from prescore.errors import Mistake

_LONGEST = timedelta(days=36500)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(value: object) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,12})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a number and a unit, such as "90m", "26h" or "7d"')
    if int(match[1]) > _LONGEST / timedelta(**{_UNITS[match[2]]: 1}):
        raise ValueError('write at most "36500d", a hundred years')
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_duration(text: str) -> timedelta:
    """A length of time as specs and commands write it; raises Mistake."""
    try:
        return _duration(text)
    except ValueError as error:
        raise Mistake(f"{text!r} is no length of time: {error}.") from error


def _limit(value: object) -> object:
    rows = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not rows and not (isinstance(value, float) and 0 <= value < 1):
        raise ValueError("write a number of rows, such as 10, or a fraction of the domain below 1, such as 0.001")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError) as error:
        raise ValueError('no such time zone; write one such as "Europe/Zurich" or "UTC"') from error
    return value


def _clock(value: object) -> object:
    try:
        written = time.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        written = None
    if not isinstance(written, time) or written.tzinfo is not None:
        raise ValueError("write a time of the day, such as 06:00:00; its zone is that of the schedule")
    return written


def _feed(value: object) -> tuple[str, ...]:
    columns = [value] if isinstance(value, str) else value
    if not isinstance(columns, list | tuple) or not columns or not all(isinstance(c, str) for c in columns):
        raise ValueError('write one column, "distance", or a list of them, ["hour", "distance"]')
    return tuple(columns)


def _indexes(value: object) -> object:
    if isinstance(value, str) or (isinstance(value, list) and any(isinstance(columns, str) for columns in value)):
        raise ValueError('write a list of lists, such as [["dest"], ["origin", "dest"]]')
    return value


def _expectation(value: str) -> str:
    if value.startswith("expect_"):
        raise ValueError(f"leave out the leading expect_: {value.removeprefix('expect_')}")
    return value


Feed = Annotated[tuple[str, ...], BeforeValidator(_feed, json_schema_input_type=str | list[str])]
Duration = Annotated[timedelta, BeforeValidator(_duration, json_schema_input_type=str)]
Clock = Annotated[time, BeforeValidator(_clock, json_schema_input_type=time)]
Name = Annotated[str, AfterValidator(require_model_name)]
ColumnName = Annotated[str, AfterValidator(require_column_name)]
KeyColumnName = Annotated[ColumnName, AfterValidator(require_key_name)]
Limit = Annotated[int | float, BeforeValidator(_limit, json_schema_input_type=float)]
Zone = Annotated[str, AfterValidator(_zone)]
Indexes = Annotated[
    tuple[tuple[str, ...], ...], BeforeValidator(_indexes, json_schema_input_type=tuple[tuple[str, ...], ...])
]
Expectation = Annotated[str, AfterValidator(_expectation)]
