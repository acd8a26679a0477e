"""Read all rows of one version, in pages: in the order of the key, from a cursor on that pins the version."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple, Self

import orjson
import psycopg

from prescore.catalog import lookup_statements, version_row
from prescore.errors import DatabaseRefused, NotFound, RequestInvalid, VersionRetired
from prescore_api.service import kept
from prescore_api.service.answers import Age, FetchedOutputs
from prescore_api.service.clock import Clock
from prescore_api.service.models import Models
from prescore_api.service.options import LookupOptions
from prescore_api.service.row_counts import RowCounts
from prescore_api.tables.database import ReaderPool
from prescore_api.tables.version import OutputSelection, TableVersion

Columns = Sequence[Sequence[Any]]
_CHECKSUM_BYTES = 6


class Cursor(NamedTuple):
    """Where a page begins: after `rows` rows of the version with this number and id, the last of which has this key."""

    version: int
    id: str
    rows: int
    key: list[str]

    def serialize(self) -> str:
        """Return it as text that needs no encoding in a URL."""
        content = orjson.dumps(tuple(self))
        return urlsafe_b64encode(_checksum(content) + content).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it from text; raise RequestInvalid for text that no cursor has."""
        try:
            decoded = urlsafe_b64decode(text + "==")
            checksum, content = decoded[:_CHECKSUM_BYTES], decoded[_CHECKSUM_BYTES:]
            parts = orjson.loads(content)
        except (ValueError, binascii.Error) as error:
            raise _invalid_cursor() from error
        # An altered count would look like lost rows.
        if checksum != _checksum(content):
            raise _invalid_cursor()
        match parts:
            case [int(version), str(version_id), int(rows), [*key]] if 0 < version < 2**31 and _are_texts(key):
                return cls(version, version_id, rows, key)
        raise _invalid_cursor()


@dataclass(frozen=True)
class Page:
    """Consecutive rows of a version, by column; `next` is where the next page begins, None after the last one.

    `kept_ages` are those of kept rows, which are older than `age`, by position.
    """

    table_version: TableVersion
    age: Age
    keys: Columns
    outputs: Columns
    selection: OutputSelection
    kept_ages: Mapping[int, Age]
    next: Cursor | None

    def selected(self) -> Columns:
        """Return the selected outputs, in the order of the selection."""
        return [self.outputs[position] for position in self.selection.positions]


class RowPages:
    """Reads pages from Postgres, also of versions in memory, whose rows are not in the order of their keys."""

    def __init__(self, reader: ReaderPool, models: Models, clock: Clock) -> None:
        self._reader = reader
        self._models = models
        self._clock = clock
        self._counts = RowCounts(reader)

    async def page(self, model: str, options: LookupOptions, after: Cursor | None, limit: int) -> Page:
        """Return at most `limit` rows, from the beginning of a version or after a cursor.

        Raises NotFound, RequestInvalid, TooOld, VersionRetired if the cursor's version is gone, DatabaseUnavailable,
        and DatabaseRefused if the version has lost rows.
        """
        version = await self._version(model, options, after)
        age = Age.at(version, self._clock.now())
        age.require(version, options)
        selection = version.select_outputs(options.outputs)
        rows = await self._rows(version, after, limit + 1)
        # Where rows of a delta are missing, a page has those of its base.
        if version_row.is_delta(version.row) and version.row["changes"]:
            await self._counts.require_all(version)
        before = after.rows if after else 0
        if len(rows) <= limit:
            version_row.require_count(version.row, before + len(rows))
        page = _page(version, age, selection, rows, before, limit)
        kept.require(version, page.kept_ages, page.keys, options)
        return page

    async def _version(self, model: str, options: LookupOptions, after: Cursor | None) -> TableVersion:
        if after is None:
            return await self._first(model, options.version)
        if options.version not in (None, after.version):
            raise RequestInvalid(
                f"after continues version {after.version}, and version={options.version} selects another."
            )
        try:
            version = await self._models.numbered(model, after.version)
        except NotFound as error:
            raise await self._retired(model, after.version) from error
        if version.id != after.id:
            raise await self._retired(model, after.version)
        if len(version.key) != len(after.key):
            raise _invalid_cursor()
        return version

    async def _first(self, model: str, number: int | None) -> TableVersion:
        if number is not None:
            return await self._models.numbered(model, number)
        version = await self._models.current(model)
        # Pages are read from the version's own table, but what is published is what the model's view shows.
        if not version.row["is_attached"]:
            raise version_row.lost_rows(version.row)
        return version

    async def _rows(self, version: TableVersion, after: Cursor | None, limit: int) -> list[version_row.Row]:
        """Fetch rows, each of which begins with the version's id."""
        statement = lookup_statements.page_statement(version.row, has_start=after is not None).as_bytes()
        start = after.key if after else []
        try:
            rows = await self._reader.tuples(statement, [*start, limit])
        except psycopg.DataError as error:
            if after is None:
                raise
            raise _invalid_cursor() from error
        except (DatabaseRefused, psycopg.Error):
            await self._require_current(version)
            raise
        if any(row[0] is None for row in rows):
            await self._require_current(version)
            raise version_row.lost_rows(version.row)
        if any(row[0] != version.id for row in rows):
            raise await self._retired(version.model, version.version)
        return rows

    async def _require_current(self, version: TableVersion) -> None:
        """Raise VersionRetired if the version was retired, or replaced by a restore, since its catalog row was read."""
        try:
            current = await self._models.reread(version)
        except NotFound as error:
            raise await self._retired(version.model, version.version) from error
        if current.id != version.id:
            raise await self._retired(version.model, version.version)

    async def _retired(self, model: str, number: int) -> VersionRetired:
        """Return the error for a version that is gone; raise NotFound if the model is gone, too."""
        published = await self._models.current(model)
        return VersionRetired(
            f"{model} version {number} was retired while its rows were being read. "
            f"Read them again without after: version {published.version} is published."
        )


def _page(
    version: TableVersion, age: Age, selection: OutputSelection, rows: list[version_row.Row], before: int, limit: int
) -> Page:
    width = len(version.key)
    served = rows[:limit]
    empty: Columns = [()] * (1 + width + len(version.outputs))
    columns: Columns = list(zip(*served, strict=True)) if served else empty
    cursor = None
    if len(rows) > limit:
        last_key = [_text(value) for value in served[-1][1 : 1 + width]]
        cursor = Cursor(version.version, version.id, before + limit, last_key)
    outputs = columns[1 + width :]
    kept_ages = kept.own_ages(version, age, [True] * len(served), FetchedOutputs(outputs))
    return Page(version, age, columns[1 : 1 + width], outputs, selection, kept_ages, cursor)


def _checksum(content: bytes) -> bytes:
    return sha256(content).digest()[:_CHECKSUM_BYTES]


def _are_texts(key: list[Any]) -> bool:
    return all(isinstance(value, str) and "\x00" not in value for value in key)


def _text(value: Any) -> str:
    """Return a key's value as text that Postgres reads as the same value."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _invalid_cursor() -> RequestInvalid:
    return RequestInvalid("after takes the cursor of a previous page of this model: see its Link header.")
