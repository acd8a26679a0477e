"""How psycopg reads the dates and times of a source: those that Python does not have do not end the result."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

from prescore.sources.values import Unparsed


def register(connection: psycopg.Connection[Any]) -> None:
    """Let a connection return dates and times that Python does not have, such as infinity, as `Unparsed`."""
    connection.adapters.register_loader("date", _Date)
    connection.adapters.register_loader("timestamp", _Timestamp)
    connection.adapters.register_loader("timestamptz", _TimestampWithZone)


class _Date(DateLoader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return _unparsed(data)


class _Timestamp(TimestampLoader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return _unparsed(data)


class _TimestampWithZone(TimestamptzLoader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return _unparsed(data)


def _unparsed(data: Buffer) -> Unparsed:
    return Unparsed(bytes(data).decode())
