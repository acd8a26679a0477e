"""Rejected rows: recorded with key and reason, because they could not be scored or their prediction is not finite."""

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

from prescore.catalog import keys
from prescore.catalog.catalog import Catalog, CheckResult, Version
from prescore.catalog.database import Connection
from prescore.catalog.queries import query
from prescore.checks.results import sentence
from prescore.errors import KeyInvalid, Refused
from prescore.project.spec import Spec
from prescore.scoring.column_types import ARROW
from prescore.wording import count

KEPT_WHEN_REFUSED = 1000
"""How many rejects of a version are enough to see why it was refused."""


@dataclass(frozen=True)
class Reject:
    """One rejected row: its key by column name, the column at fault if there is one, and the reason."""

    key: dict[str, Any]
    column: str | None
    reason: str

    def __str__(self) -> str:
        """Return the reason, followed by the key."""
        reason = self.reason.removesuffix(".")
        pairs = [f"{name}={'null' if value is None else value}" for name, value in self.key.items()]
        key = ", ".join(pairs)
        return f"{reason} ({key})"


@dataclass(frozen=True)
class Scored:
    """A scored chunk: its rows for the table, the number of rejects, and those of the rejects that are recorded."""

    rows: pa.RecordBatch
    rejected: int
    rejects: list[Reject]


def reject_rows(
    rows: pa.RecordBatch,
    keys: Iterable[str],
    column: str | None,
    reason: str,
) -> list[Reject]:
    """Return every row of a batch as a reject, all for the same reason."""
    columns = {name: _json_values(rows.column(name)) for name in keys}
    rejects = []
    for values in zip(*columns.values(), strict=True):
        key = dict(zip(columns, values, strict=True))
        rejects.append(Reject(key, column, reason))
    return rejects


def allowed_count(limit: float, rows: int) -> int:
    """Return how many rejects `max_rejects` allows in a domain of `rows` rows: an int as it is, a float as a share."""
    if isinstance(limit, int):
        return limit
    # In binary floats 0.29 * 100 is below 29.
    share = Decimal(str(limit))
    return math.floor(share * rows)


def record_limit(limit: float, rows: int | None = None) -> int:
    """Return how many rejects to record at most: with more of them the version is certain to be refused.

    Nothing is certain while `limit` is a share of an unknown number of rows.
    """
    if rows is None and isinstance(limit, float):
        return sys.maxsize
    return max(allowed_count(limit, rows or 0), KEPT_WHEN_REFUSED)


Save = Callable[[list[Reject]], None]
"""A function that stores rejects."""


class Tally:
    """The rejects of a domain while it is being read: counted, and passed to `save` if there is one."""

    def __init__(self, spec: Spec, save: Save | None = None) -> None:
        self.count = 0
        self._examples: dict[str | None, Reject] = {}
        self._spec = spec
        self._save = save

    def add(self, rejects: list[Reject]) -> None:
        """Add rejects; raise Refused as soon as more than `max_rejects` are certain.

        Where the limit is a share of the rows, only `require_within_limit` decides, after the last row.
        """
        if self._save is not None:
            self._save(rejects)
        self.count += len(rejects)
        for reject in rejects:
            self._examples.setdefault(reject.column, reject)
        limit = record_limit(self._spec.max_rejects)
        if self.count > limit:
            self.require_within_limit(self.count)

    def require_within_limit(self, rows: int) -> CheckResult:
        """Return the result of the check `rejects` for a domain of `rows` rows; raise Refused when it failed."""
        result = _check(
            self.count,
            self._spec.max_rejects,
            rows,
            self._examples.values(),
        )
        if not result["passed"]:
            raise limit_error(self._spec.model, result)
        return result


def check(connection: Connection, version: Version, limit: float) -> CheckResult:
    """Return the result of the check `rejects` for a version with a snapshot, with examples from the database."""
    rows = version["snapshot_rows"] or 0
    rejected = version["rejected"] or 0
    examples: list[Reject] = []
    if rejected:
        examples += _read_examples(connection, version)
    return _check(rejected, limit, rows, examples)


def _check(
    rejected: int,
    limit: float,
    rows: int,
    examples: Iterable[Reject],
) -> CheckResult:
    allowed = allowed_count(limit, rows)
    observed = count(rejected, "rejected row")
    shown = "; ".join(map(str, examples))
    return {
        "name": "rejects",
        "passed": rejected <= allowed,
        "observed": f"{observed}, for example: {shown}" if shown else observed,
        "expected": f"at most {allowed:,}",
    }


def limit_error(model: str, result: CheckResult) -> Refused:
    """Return the error for a domain with more rejects than the spec allows."""
    return Refused(
        f"Too many rows of the domain of {model} were rejected:\n  {sentence(result)}\n"
        "Fix these rows in the source or in the domain query, or raise max_rejects in the spec to publish without "
        "them.",
        [result],
    )


def _read_examples(connection: Connection, version: Version) -> Iterator[Reject]:
    """Yield one reject for each of the columns with the most rejects."""
    key_names = [column["name"] for column in version["key_columns"]]
    rows = Catalog(connection).all(
        "rejects_examples",
        model=version["model"],
        version=version["version"],
    )
    for row in rows:
        recorded_key = row["key"]
        key = {name: recorded_key.get(name) for name in key_names}
        yield Reject(key, row["column_name"], row["reason"])


def write(
    connection: Connection,
    version: Version,
    rejects: Sequence[Reject],
    chunk: int | None = None,
) -> None:
    """Copy rejects into `prescore.rejects`: those of a chunk, or, without `chunk`, of the domain's snapshot."""
    if not rejects:
        return
    with connection.cursor().copy(query("rejects_copy")) as copy:
        for reject in rejects:
            row = (
                version["model"],
                version["version"],
                chunk,
                Jsonb(reject.key),
                reject.column,
                _without_nul(reject.reason),
            )
            copy.write_row(row)


def all_written(connection: Connection, version: Version) -> bool:
    """Return whether every counted reject of a version is in `prescore.rejects`."""
    row = Catalog(connection).one(
        "rejects_complete",
        model=version["model"],
        version=version["version"],
    )
    return bool(row["complete"])


def read_keys(catalog: Catalog, version: Version, *, while_scoring: bool = False) -> pa.Table:
    """Return the keys of a version's rejects, as a snapshot has them, or only those that scoring rejected.

    Keys that are not valid are left out: no row has them.
    """
    statement = "rejects_scored" if while_scoring else "rejects_keys"
    columns: dict[str, list[Any]] = {column["name"]: [] for column in version["key_columns"]}
    for row in catalog.all(statement, model=version["model"], version=version["version"]):
        try:
            key = keys.parse(version["key_columns"], row["key"])
        except KeyInvalid:
            continue
        for column, value in key.items():
            columns[column].append(value.bytes if isinstance(value, UUID) else value)
    arrays = {}
    for key_column in version["key_columns"]:
        name = key_column["name"]
        arrays[name] = pa.array(columns[name], ARROW[key_column["type"]])
    return pa.table(arrays)


def trim(connection: Connection, version: Version) -> None:
    """Delete all but `KEPT_WHEN_REFUSED` rejects of a refused version."""
    Catalog(connection).execute(
        "rejects_trim",
        model=version["model"],
        version=version["version"],
        enough=KEPT_WHEN_REFUSED,
    )


def remove(connection: Connection, version: Version) -> None:
    """Delete the rejects of a version whose snapshot is taken again or whose table is gone."""
    Catalog(connection).execute(
        "rejects_delete",
        model=version["model"],
        version=version["version"],
    )


def _json_values(column: pa.Array) -> list[Any]:
    try:
        values = column.to_pylist()
    except (OverflowError, ValueError):
        # Python has no such date. Its number of days or microseconds stands in for it.
        integer = pa.int64()
        if column.type.bit_width == 32:
            integer = pa.int32()
        values = column.view(integer).to_pylist()
    return [json_value(value) for value in values]


def json_value(value: Any) -> Any:
    """Return a value of a rejected row's key as JSON can hold it."""
    match value:
        case None | bool() | int():
            return value
        case bytes() if len(value) == 16:
            return str(UUID(bytes=value))
        case _:
            return _without_nul(str(value))


def _without_nul(text: str) -> str:
    # The one character that Postgres cannot store.
    return text.replace("\x00", "�")
