"""Moments as people write them, and those that Postgres knows and Python does not: `infinity` passes as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from psycopg import DataError
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

from prescore.errors import Mistake


def parse_datetime(text: str) -> datetime:
    """A date or time in ISO 8601; one without a zone is UTC. Raises Mistake."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise Mistake(
            f"{text!r} is no time. Write one such as 2026-01-31, which begins at midnight UTC, "
            "or 2026-01-31T05:00:00+01:00."
        ) from error
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def is_out_of_range(error: DataError) -> bool:
    """Whether it is Python that complains of a value that it cannot hold, and not Postgres."""
    return error.sqlstate is None


def load_out_of_range_as_text(adapters: AdaptersMap) -> None:
    """Let a cursor's results hold text where Python has no such date or time; slower for those that it has."""
    for name, loader in (("date", _Date), ("timestamp", _Timestamp), ("timestamptz", _Timestamptz)):
        adapters.register_loader(name, loader)


class _Lenient(Loader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)  # type: ignore[safe-super] # of the class beside this one
        except DataError:
            return bytes(data).decode()


class _LenientTime(_Lenient):
    def load(self, data: Buffer) -> Any:
        loaded = super().load(data)
        return loaded.replace(" ", "T", 1) if isinstance(loaded, str) else loaded


class _Date(_Lenient, DateLoader):
    pass


class _Timestamp(_LenientTime, TimestampLoader):
    pass


class _Timestamptz(_LenientTime, TimestamptzLoader):
    pass
