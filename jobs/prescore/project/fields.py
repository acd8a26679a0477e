"""The types of a spec's values. Their error messages complete the sentence "<key>: …"."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator

from prescore.catalog.naming import require_column_name, require_key_name, require_model_name
from prescore.errors import Mistake

_LONGEST = timedelta(days=36500)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(value: object) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,12})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a number and a unit, such as "90m", "26h" or "7d"')
    number, unit = int(match[1]), _UNITS[match[2]]
    # Compare before multiplying: a timedelta cannot hold every number of days that matches.
    if number > _LONGEST / timedelta(**{unit: 1}):
        raise ValueError('must be at most "36500d", a hundred years')
    return timedelta(**{unit: number})


def parse_duration(text: str) -> timedelta:
    """Return a duration such as "26h", as specs and commands write it; raise Mistake if it is not valid."""
    try:
        return _duration(text)
    except ValueError as error:
        raise Mistake(f"{text!r} is not a valid duration: it {error}.") from error


def _limit(value: object) -> object:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    is_fraction = isinstance(value, float) and 0 <= value < 1
    if not is_count and not is_fraction:
        raise ValueError("must be a number of rows, such as 10, or a fraction of the domain below 1, such as 0.001")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError) as error:
        raise ValueError('must be a time zone, such as "Europe/Zurich" or "UTC"') from error
    return value


def _clock(value: object) -> object:
    try:
        clock = time.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        clock = None
    if not isinstance(clock, time) or clock.tzinfo is not None:
        raise ValueError("must be a time of day without a zone, such as 06:00:00; schedule.timezone sets the zone")
    return clock


def _feed(value: object) -> tuple[str, ...]:
    columns = [value] if isinstance(value, str) else value
    message = 'must be a column, such as "distance", or a list of columns, such as ["hour", "distance"]'
    if not isinstance(columns, list | tuple) or not columns:
        raise ValueError(message)
    if not all(isinstance(column, str) and column for column in columns):
        raise ValueError(message)
    for column in columns:
        if columns.count(column) > 1:
            raise ValueError(
                f"lists {column} more than once; if the model takes it twice, return it under two names in the query"
            )
    return tuple(columns)


def _columns(value: object) -> object:
    if value == "all":
        return value
    columns = value if isinstance(value, list | tuple) else []
    are_numbers = all(type(column) is int and column >= 0 for column in columns)
    if not columns or not (are_numbers or all(isinstance(column, str) for column in columns)):
        raise ValueError(
            'must be "all", a list of column numbers counted from 0, such as [0, 3], or a list of classes that are '
            'texts, such as ["gold", "silver"]'
        )
    return tuple(columns)


BY_NAME = "by name"
"""The value of `onnx.inputs` that feeds each input of the model from the column of its name."""
ONLY_INPUT = ""
"""Stands for the name of a model's only input in `onnx.inputs`, if the spec leaves it out."""


def _inputs(value: object) -> object:
    if value == BY_NAME:
        return {}
    if isinstance(value, list | tuple):
        return {ONLY_INPUT: _feed(value)}
    if not isinstance(value, dict) or not value:
        raise ValueError(
            f'must be a table from each input of the model to its columns, a list of columns, or "{BY_NAME}"'
        )
    return value


def _indexes(value: object) -> object:
    columns = value if isinstance(value, list) else [value]
    if any(isinstance(index, str) for index in columns):
        raise ValueError('must be a list of lists, such as [["dest"], ["origin", "dest"]]')
    return value


def _tolerance(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1:
        return value
    raise ValueError("must be a fraction below 1, such as 1e-5")


def _class_label(value: object) -> object:
    if isinstance(value, str | int):
        return value
    raise ValueError('must be a label of the classifier, such as "gold" or 1')


def _expectation(value: object) -> object:
    if not isinstance(value, str):
        return value
    # Great Expectations documents expectations by their classes.
    in_snake_case = re.sub(r"(?<!^)(?=[A-Z])", "_", value).lower()
    name = in_snake_case.removeprefix("expect_")
    if name != value and re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"must be in snake case, without expect_; write {name}")
    return value


def _parameter_name(value: str) -> str:
    if value == "as_of":
        raise ValueError("$as_of is the time that the run is for; choose another name")
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", value):
        raise ValueError("must be a name in lower case, such as country for $country in the query")
    return value


ParameterName = Annotated[str, AfterValidator(_parameter_name)]
Feed = Annotated[tuple[str, ...], BeforeValidator(_feed, json_schema_input_type=str | list[str])]
Columns = Annotated[
    Literal["all"] | tuple[int, ...] | tuple[str, ...],
    BeforeValidator(_columns, json_schema_input_type=Literal["all"] | list[int] | list[str]),
]
Inputs = Annotated[
    dict[str, Feed],
    BeforeValidator(
        _inputs,
        json_schema_input_type=dict[str, str | list[str]] | list[str] | Literal["by name"],
    ),
]
Duration = Annotated[timedelta, BeforeValidator(_duration, json_schema_input_type=str)]
Clock = Annotated[time, BeforeValidator(_clock, json_schema_input_type=time)]
Name = Annotated[str, AfterValidator(require_model_name)]
ColumnName = Annotated[str, AfterValidator(require_column_name)]
KeyColumnName = Annotated[ColumnName, AfterValidator(require_key_name)]
Limit = Annotated[int | float, BeforeValidator(_limit, json_schema_input_type=float)]
Zone = Annotated[str, AfterValidator(_zone)]
Indexes = Annotated[
    tuple[tuple[str, ...], ...],
    BeforeValidator(_indexes, json_schema_input_type=tuple[tuple[str, ...], ...]),
]
Tolerance = Annotated[float, BeforeValidator(_tolerance, json_schema_input_type=float)]
ClassLabel = Annotated[bool | int | str, BeforeValidator(_class_label, json_schema_input_type=str | int | bool)]
Expectation = Annotated[str, BeforeValidator(_expectation)]
