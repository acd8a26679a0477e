"""Dates and times: as users write them, and as Postgres returns them outside the range of Python's types."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from psycopg import DataError
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

from prescore.errors import Mistake


def parse_datetime(text: str) -> datetime:
    """Return the time of an ISO 8601 date or datetime, in UTC when it names no zone; raise Mistake."""
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise Mistake(
            f"{text!r} is not a valid time. Use, for example, 2026-01-31 (midnight UTC) or 2026-01-31T05:00:00+01:00."
        ) from error
    return _with_zone(parsed)


def to_datetime(value: object) -> datetime:
    """Return the time that a datetime, a date or a text means: UTC without a zone, 00:00 for a date; raise Mistake."""
    match value:
        case str():
            return parse_datetime(value)
        case datetime():
            return _with_zone(value)
        case date():
            return datetime.combine(value, time(), UTC)
        case _:
            raise Mistake(f"{value!r} is not a valid time. Use a datetime, a date, or a text such as '2026-01-31'.")


def _with_zone(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def is_out_of_range(error: DataError) -> bool:
    """Return whether psycopg could not represent a value in Python; errors of the server have an SQLSTATE."""
    return error.sqlstate is None


def load_out_of_range_as_text(adapters: AdaptersMap) -> None:
    """Make a cursor return text for dates and times that Python cannot represent, such as `infinity`.

    Register this only when needed: these loaders are slower for all other values, too.
    """
    for name, loader in _LOADERS.items():
        adapters.register_loader(name, loader)


class _Lenient(Loader):
    def load(self, data: Buffer) -> Any:
        try:
            # The subclasses below inherit from a psycopg loader as well, which is next in the method resolution order.
            return super().load(data)  # type: ignore[safe-super]
        except DataError:
            return bytes(data).decode()


class _LenientTime(_Lenient):
    def load(self, data: Buffer) -> Any:
        value = super().load(data)
        if isinstance(value, str):
            return value.replace(" ", "T", 1)
        return value


class _Date(_Lenient, DateLoader):
    pass


class _Timestamp(_LenientTime, TimestampLoader):
    pass


class _Timestamptz(_LenientTime, TimestamptzLoader):
    pass


_LOADERS = {"date": _Date, "timestamp": _Timestamp, "timestamptz": _Timestamptz}
