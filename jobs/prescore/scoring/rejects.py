"""Rows set aside with their key and a reason: they could not be scored, or their prediction is not finite."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
from psycopg.types.json import Jsonb

from prescore.catalog.catalog import Catalog, Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.checks.results import Result, sentence
from prescore.errors import Refused
from prescore.project.spec import Spec

KEPT_WHEN_REFUSED = 1000
"""Where a version is refused anyway, so many of its rejects are enough to see why."""


@dataclass(frozen=True)
class Reject:
    """One row that is not served: its key by column, the column at fault if it is one's, and why."""

    key: dict[str, Any]
    column: str | None
    reason: str

    def __str__(self) -> str:
        """As a person reads it."""
        key = ", ".join(f"{name}={value}" for name, value in self.key.items())
        return f"{self.reason.removesuffix('.')} ({key})"


@dataclass(frozen=True)
class Scored:
    """A chunk's rows for the table, how many were set aside, and as many of these as somebody will want to look at."""

    rows: pa.RecordBatch
    rejected: int
    rejects: list[Reject]


def reject_rows(rows: pa.RecordBatch, keys: Iterable[str], column: str | None, reason: str) -> list[Reject]:
    """Every row of a batch as a reject, for one reason."""
    plain = {name: [_plain(value) for value in _values(rows.column(name))] for name in keys}
    return [Reject(dict(zip(plain, key, strict=True)), column, reason) for key in zip(*plain.values(), strict=True)]


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):  # Python has no such time: its count of days or microseconds, then
        return list(column.view(pa.int32() if column.type.bit_width == 32 else pa.int64()).to_pylist())


def allowed_count(limit: float, rows: int) -> int:
    """How many rows of a domain of so many rows a spec's `max_rejects` allows to set aside."""
    # 0.29 of 100 are 29.
    return limit if isinstance(limit, int) else math.floor(Decimal(str(limit)) * rows)


def record_limit(limit: float, rows: int | None = None) -> int:
    """How many rejects to look at before it is plain that the version will be refused."""
    if rows is None and isinstance(limit, float):
        return sys.maxsize
    return max(allowed_count(limit, rows or 0), KEPT_WHEN_REFUSED)


class Tally:
    """Counts rejects of a domain as it is read, and hands them to `save`, if there is one.

    Raises Refused as soon as a limit of so many rows makes it plain that too many will be; a fraction has to wait for
    the last row.
    """

    def __init__(self, spec: Spec, save: Callable[[list[Reject]], None] | None = None) -> None:
        self.count = 0
        self.examples: dict[str | None, Reject] = {}
        self._spec, self._save = spec, save

    def add(self, found: list[Reject]) -> None:
        """Some more rejects."""
        if self._save is not None:
            self._save(found)
        self.count += len(found)
        self.examples = {reject.column: reject for reject in found} | self.examples
        if self.count > record_limit(self._spec.max_rejects):
            self.require_within_limit(self.count)

    def require_within_limit(self, rows: int) -> Result:
        """What the check says; raises Refused when too many of so many rows were set aside."""
        said = result(self.count, self._spec.max_rejects, rows, self.examples.values())
        if not said["passed"]:
            raise limit_error(self._spec.model, said)
        return said


def write(connection: Connection, version: Version, rejects: Sequence[Reject], chunk: int | None = None) -> None:
    """Write rejects of a chunk, or of the domain as it was frozen, into `prescore.rejects`."""
    if not rejects:
        return
    with connection.cursor().copy(query("rejects_copy")) as copy:
        for reject in rejects:
            reason = _writable(reject.reason)
            copy.write_row((version["model"], version["version"], chunk, Jsonb(reject.key), reject.column, reason))


def result(rejected: int, limit: float, rows: int, examples: Iterable[Reject]) -> Result:
    """What the check `rejects` says: whether so few of so many rows were set aside that the rest may be served."""
    told = "; ".join(f"such as {example}" for example in examples)
    return {
        "name": "rejects",
        "passed": rejected <= allowed_count(limit, rows),
        "observed": f"{rejected:,} rows set aside" + (f": {told}" if told else ""),
        "expected": f"at most {allowed_count(limit, rows):,}",
    }


def check(connection: Connection, version: Version, limit: float) -> Result:
    """The same of a version whose snapshot is taken, with examples from `prescore.rejects`."""
    rejected = version["rejected"] or 0
    found = _examples(connection, version) if rejected else ()
    return result(rejected, limit, version["snapshot_rows"] or 0, found)


def limit_error(model: str, result: Result) -> Refused:
    """What to raise when too much of a domain cannot be scored."""
    return Refused(
        f"Too many rows of the domain of {model} cannot be scored:\n  {sentence(result)}\n"
        "Mend the domain query, or allow them with max_rejects in the spec.",
        [result],
    )


def _examples(connection: Connection, version: Version) -> Iterator[Reject]:
    """One reject for each of the columns that most of them are about."""
    for row in Catalog(connection).all("rejects_examples", model=version["model"], version=version["version"]):
        key = {column["name"]: row["key"].get(column["name"]) for column in version["key_columns"]}
        yield Reject(key, row["column_name"], row["reason"])


def all_written(connection: Connection, version: Version) -> bool:
    """Whether every reject that was counted is kept."""
    name = {"model": version["model"], "version": version["version"]}
    return bool(Catalog(connection).one("rejects_complete", **name)["complete"])


def trim(connection: Connection, version: Version) -> None:
    """Keep so many rejects of a refused version as are enough to see why."""
    name = {"model": version["model"], "version": version["version"]}
    Catalog(connection).execute("rejects_trim", **name, enough=KEPT_WHEN_REFUSED)


def remove(connection: Connection, version: Version) -> None:
    """Remove a version's rejects: its freezing begins again, or its table has gone."""
    Catalog(connection).execute("rejects_delete", model=version["model"], version=version["version"])


def _plain(value: Any) -> Any:
    """A key's value as JSON holds it."""
    match value:
        case None | bool() | int():
            return value
        case bytes() if len(value) == 16:
            return str(UUID(bytes=value))
        case _:
            return _writable(str(value))


def _writable(text: str) -> str:
    # Postgres holds no NUL.
    return text.replace("\x00", "�")
