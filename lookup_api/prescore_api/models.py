"""What the catalog says of models: how to read their keys, what to ask for, and what to tell about them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from prescore.contract import lookup
from prescore.contract.catalog import Column
from prescore.contract.errors import Unknown
from prescore.contract.queries import query
from prescore_api.reader import Reader

# A model that comes to mean other keys is followed after so long; new versions and their outputs are followed at once.
TRUSTED_SECONDS = 2.0
_CLOCKS = ("data_as_of", "published_at", "age_seconds", "max_age_seconds", "stale", "held")


@dataclass(frozen=True)
class Described:
    """The columns of one version, and the statement that reads them. They never change."""

    model: str
    version: int
    key: list[Column]
    outputs: list[Column]
    statement: bytes
    read_at: float = field(default_factory=time.monotonic)


class Models:
    """Models as the catalog has them; the version last seen of each is remembered."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._seen: dict[str, Described] = {}

    async def described(self, model: str) -> Described:
        """The columns of the version last seen of a model, at most 2 s ago; raises Unknown."""
        seen = self._seen.get(model)
        if seen is not None and time.monotonic() - seen.read_at < TRUSTED_SECONDS:
            return seen
        return await self._see(model, None)

    async def follow(self, model: str, version: int) -> Described:
        """The columns of the version that a model has moved to; raises Unknown."""
        seen = self._seen.get(model)
        if seen is not None and seen.version == version:  # another request was here first
            return seen
        return await self._see(model, version)

    async def renewed(self, columns: Described) -> Described:
        """The columns of a model whose view did not take those: of the same version, if it has not moved."""
        seen = self._seen.get(columns.model)
        if seen is not None and seen.version != columns.version:  # another request was here first
            return seen
        return await self._see(columns.model, None)

    async def every(self) -> list[dict[str, Any]]:
        """Every published model with its clocks, by name."""
        return [_told(row) for row in await self._reader.rows(query("lookup_described"), {"model": None})]

    async def one(self, model: str) -> dict[str, Any]:
        """A published model with its clocks and columns; raises Unknown."""
        row = await self._first("lookup_described", model)
        key, outputs = row["key_columns"], row["output_columns"]
        return _told(row) | {
            "key": [{name: column[name] for name in ("name", "type", "comment")} for column in key],
            "outputs": [{name: column[name] for name in ("name", "type", "comment", "role")} for column in outputs],
        }

    async def _see(self, model: str, version: int | None) -> Described:
        row = await self._first("lookup_columns", model, version=version)
        key, outputs = row["key_columns"], row["output_columns"]
        statement = lookup.statement(model, key, outputs).as_bytes(None)
        self._seen[model] = Described(model, row["version"], key, outputs, statement)
        return self._seen[model]

    async def _first(self, name: str, model: str, **values: Any) -> dict[str, Any]:
        # Postgres takes no NUL, not even to say that there is no such name.
        rows = [] if "\x00" in model else await self._reader.rows(query(name), {"model": model, **values})
        if not rows:
            raise unknown(model)
        return rows[0]


def unknown(model: str) -> Unknown:
    """There is no such model."""
    return Unknown(f"No model {model!r} is published here. GET /v1/models lists those that are.")


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("model", "description", "version", "rows", *_CLOCKS)}
