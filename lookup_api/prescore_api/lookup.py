"""Answers to keys, whatever asked for them: one statement a request, so one version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import DictRow

from prescore.contract import keys, lookup
from prescore.contract.errors import DatabaseRefused, KeyInvalid, RequestInvalid, Transient
from prescore_api.models import Described, Models, unknown
from prescore_api.reader import Reader

MAX_KEYS = 10_000
_ATTEMPTS = 10

Answer = dict[str, Any]
Key = Mapping[str, Any]
Parse = Callable[[Described], list[dict[str, Any]]]


class Lookup:
    """Looks keys up in the published version of a model."""

    def __init__(self, reader: Reader, models: Models) -> None:
        self._reader, self._models = reader, models

    async def one(self, model: str, key: Key) -> Answer:
        """The answer to a key given by column name; raises Unknown or KeyInvalid."""
        return (await self._answers(model, lambda columns: [keys.parse(columns.key, key)]))[0]

    async def single(self, model: str, value: str) -> Answer:
        """The answer to a key of one column, given by its value alone; raises Unknown or KeyInvalid."""
        return (await self._answers(model, lambda columns: [_single(columns, value)]))[0]

    async def many(self, model: str, asked: Sequence[Any]) -> list[Answer]:
        """The answers to keys in their order, all of one version; raises Unknown, or KeyInvalid with the position."""
        if len(asked) > MAX_KEYS:
            raise RequestInvalid(f"{len(asked)} keys in one request; at most {MAX_KEYS} are answered. Ask in parts.")
        return await self._answers(model, lambda columns: [_at(i, columns, key) for i, key in enumerate(asked)])

    async def _answers(self, model: str, parse: Parse) -> list[Answer]:
        columns = await self._models.described(model)
        for _ in range(_ATTEMPTS):
            parsed = parse(columns)
            try:
                rows = await self._rows(columns, parsed)
            except (DatabaseRefused, psycopg.Error):
                was, columns = columns, await self._models.renewed(columns)
                if columns.version == was.version:
                    raise
                continue
            if lookup.settled(rows, columns.version):
                return lookup.answers(model, columns.outputs, parsed, rows)
            columns = await self._models.follow(model, rows[0]["version"])
        raise Transient(f"{model} is published faster than it can be read.")

    async def _rows(self, columns: Described, parsed: Sequence[Key]) -> list[DictRow]:
        parameters = lookup.parameters(columns.model, columns.key, parsed)
        rows = await self._reader.rows(columns.statement, parameters)
        if not rows:
            raise unknown(columns.model)
        return rows


def _single(columns: Described, value: str) -> dict[str, Any]:
    names = [column["name"] for column in columns.key]
    if len(names) > 1:
        form = "&".join(f"{name}=…" for name in names)
        raise KeyInvalid(
            f"The key of {columns.model} has {len(names)} columns: GET /v1/predictions/{columns.model}?{form}"
        )
    return keys.parse(columns.key, {names[0]: value})


def _at(position: int, columns: Described, key: Any) -> dict[str, Any]:
    if not isinstance(key, Mapping):
        raise KeyInvalid(f"keys[{position}] is not an object of column names and values.")
    try:
        return keys.parse(columns.key, key)
    except KeyInvalid as error:
        raise KeyInvalid(f"keys[{position}]: {error}") from error
