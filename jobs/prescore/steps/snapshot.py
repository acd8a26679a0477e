"""Freeze the domain for one run: a Parquet file whose row groups are the chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prescore.checks.results import Result, sentence
from prescore.errors import DomainInvalid, Refused
from prescore.project.spec import Spec
from prescore.scoring import conversion, rejects
from prescore.scoring.rejects import Reject
from prescore.scoring.scorer import null_message
from prescore.sources.source import Source
from prescore.store.folder import hash_file

# By which the clocks of a source and of this machine may differ.
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class SnapshotSummary:
    """What a snapshot turned out to be."""

    rows: int
    chunks: int
    fingerprint: str
    data_as_of: datetime | None


@dataclass(frozen=True)
class Conversion:
    """What a column must become; a text that goes into the table must be one that Postgres can hold."""

    name: str
    kind: pa.DataType
    allow_precision_loss: bool = False
    stored: bool = False

    def __call__(self, column: pa.Array) -> pa.Array:
        """The column as that; raises DomainInvalid."""
        converted = conversion.convert(self.name, column, self.kind, allow_precision_loss=self.allow_precision_loss)
        if self.stored:
            conversion.refuse_nul(self.name, converted)
        return converted


class DomainConverter:
    """Turns the batches of a domain into those of a snapshot: only the columns that are needed, each of its exact type.

    A column that is a key or passed through is kept as that type, and is known to fit its feature's type as well.
    Raises DomainInvalid for a column that is missing or of the wrong type.
    """

    def __init__(self, spec: Spec, features: dict[str, pa.DataType], domain: pa.Schema) -> None:
        self.spec = spec
        table = {**spec.key, **spec.passthrough}
        stored = [Conversion(n, conversion.ARROW[t], stored=True) for n, t in table.items()]
        fed = [
            Conversion(n, kind, allow_precision_loss=n in spec.onnx.allow_precision_loss)
            for n, kind in features.items()
        ]
        kept = [*stored, *(c for c in fed if c.name not in table)]
        self.schema = pa.schema([(c.name, c.kind) for c in kept])
        self._conversions = [*kept, *(c for c in fed if c.name in table)]
        self._never_null = _never_null(spec, features)
        faults = [*_absent(spec, features, domain), *self._untypable(domain)]
        if faults:
            raise DomainInvalid(
                f"The domain query of {spec.model} does not give what is needed:\n  " + "\n  ".join(faults)
            )
        self.newest: Any = None

    def convert(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
        """A batch as the snapshot keeps it, and the rows that it cannot keep: null where none may be, or misfits."""
        batch, rejects = self._without_nulls(batch)
        try:
            kept = self._converted(batch)
        except DomainInvalid:
            batch, misfits = self._without_misfits(batch)
            kept, rejects = self._converted(batch), rejects + misfits
        self._watch_clock(batch)
        return kept, rejects

    def _converted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [convert(batch.column(convert.name)) for convert in self._conversions]
        return pa.record_batch(arrays[: len(self.schema)], schema=self.schema)

    def _without_nulls(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
        found: list[Reject] = []
        for name, why in self._never_null.items():
            if batch.column(name).null_count:
                there = batch.column(name).is_valid()
                found += rejects.reject_rows(batch.filter(pc.invert(there)), self.spec.key, name, why)
                batch = batch.filter(there)
        return batch, found

    def _without_misfits(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
        faults: dict[int, tuple[str, str]] = {}
        for convert in self._conversions:
            for row, why in _misfits(convert, batch.column(convert.name)):
                faults.setdefault(row, (convert.name, why))
        found = [
            r for row, fault in faults.items() for r in rejects.reject_rows(batch.slice(row, 1), self.spec.key, *fault)
        ]
        fit = [row not in faults for row in range(batch.num_rows)]
        return batch.filter(pa.array(fit, pa.bool_())), found

    def _watch_clock(self, batch: pa.RecordBatch) -> None:
        clock = self.spec.domain.data_as_of
        if clock is not None and clock.column is not None:
            try:
                newest = pc.max(batch.column(clock.column)).as_py()
            except (OverflowError, ValueError) as error:
                raise DomainInvalid(
                    f"domain.data_as_of: column {clock.column} holds a time past the year 9999, or infinity. "
                    "Make it NULL in the domain query."
                ) from error
            self.newest = max((t for t in (self.newest, newest) if t is not None), default=None)

    def data_as_of(self) -> datetime | None:
        """The newest time in the clock column, if the spec names one; raises DomainInvalid when it has none."""
        clock = self.spec.domain.data_as_of
        if clock is None or clock.column is None:
            return None
        if self.newest is None:
            raise DomainInvalid(f"domain.data_as_of: column {clock.column} is NULL in every row, so it tells no time.")
        return to_datetime(self.newest)

    def _untypable(self, domain: pa.Schema) -> Iterator[str]:
        for wanted in self._conversions:
            if domain.get_field_index(wanted.name) >= 0:
                try:
                    conversion.check_type(
                        wanted.name,
                        domain.field(wanted.name).type,
                        wanted.kind,
                        allow_precision_loss=wanted.allow_precision_loss,
                    )
                except DomainInvalid as error:
                    yield str(error)
        clock = self.spec.domain.data_as_of
        if clock is not None and clock.column in domain.names and not _tells_time(domain.field(clock.column).type):
            yield f"column {clock.column}, for data_as_of, is {domain.field(clock.column).type} and no time"


def write(
    batches: Iterator[pa.RecordBatch],
    converter: DomainConverter,
    path: Path,
    rows: int,
    on_progress: Callable[[int], None],
    on_rejects: Callable[[list[Reject]], None],
) -> SnapshotSummary:
    """Write the snapshot, one row group a chunk of at most `rows` rows."""
    texts = [f.name for f in converter.schema if pa.types.is_string(f.type)]
    total, chunks = 0, 0
    with pq.ParquetWriter(
        path, converter.schema, compression="lz4", use_dictionary=texts, write_statistics=False
    ) as writer:
        for chunk in _chunks(_kept(batches, converter, on_rejects), rows):
            writer.write_table(chunk, row_group_size=chunk.num_rows)
            total, chunks = total + chunk.num_rows, chunks + 1
            on_progress(chunk.num_rows)
    return SnapshotSummary(total, chunks, hash_file(path), converter.data_as_of() if total else None)


def _kept(
    batches: Iterator[pa.RecordBatch], converter: DomainConverter, on_rejects: Callable[[list[Reject]], None]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        kept, found = converter.convert(batch)
        if found:
            on_rejects(found)
        yield kept


def expected_types(spec: Spec, features: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """The types that a row-wise source's values are read as where they say nothing themselves."""
    return features | {n: conversion.ARROW[t] for n, t in {**spec.key, **spec.passthrough}.items()}


def query_data_as_of(source: Source, spec: Spec) -> datetime | None:
    """What the spec's data_as_of query says, if there is one; raises DomainInvalid when that is not one value."""
    if spec.domain.data_as_of is None or spec.domain.data_as_of.query is None:
        return None
    with source.open(spec.domain.data_as_of.query, 2, label="domain.data_as_of.query") as stream:
        values = [row for batch in stream.batches for row in batch.to_pylist()]
    if len(values) != 1 or len(values[0]) != 1 or None in values[0].values():
        raise DomainInvalid(f"domain.data_as_of.query must give one time; it gives {values[:2]}.")
    return to_datetime(*values[0].values())


def empty_domain_error(model: str, aside: Result | None = None) -> Refused:
    """An empty domain is refused: it would replace every prediction with nothing. `aside`: rejects, if it had any."""
    why = f"has no row that can be scored: {sentence(aside)}." if aside else "is empty."
    hint = "Mend the domain query." if aside else "Is the source loaded?"
    message = f"The domain of {model} {why} An empty version would take every prediction away. {hint}"
    return Refused(message, [{"name": "rows", "passed": False, "observed": 0, "expected": "at least 1"}])


def to_datetime(value: Any) -> datetime | None:
    """A clock reading of the domain as a moment: a date begins at midnight, and what has no zone is UTC."""
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise DomainInvalid(f"data_as_of must be a date or a time; the domain gives {value!r}.")
    when: datetime = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if when > datetime.now(UTC) + _SKEW:
        raise DomainInvalid(
            f"data_as_of would be {when:%Y-%m-%d %H:%M %Z}, which is yet to come: predictions would seem newer than "
            "they are. A time without zone is read as UTC; give it its zone in the query."
        )
    return when


def _chunks(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Batches of whatever size as tables of at most `rows` rows, small ones put together."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            part = batch.slice(start, rows)
            if waiting and sum(b.num_rows for b in waiting) + part.num_rows > rows:
                yield pa.Table.from_batches(waiting)
                waiting = []
            waiting.append(part)
    if waiting:
        yield pa.Table.from_batches(waiting)


def _tells_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind))


def _absent(spec: Spec, features: dict[str, pa.DataType], domain: pa.Schema) -> list[str]:
    clock = spec.domain.data_as_of
    needed = {
        **dict.fromkeys(spec.key, "key"),
        **dict.fromkeys(spec.passthrough, "passed-through"),
        **dict.fromkeys(features, "feature"),
    }
    if clock is not None and clock.column is not None:
        needed[clock.column] = "data_as_of"
    have = ", ".join(domain.names)
    twice = sorted({n for n in needed if domain.names.count(n) > 1})
    faults = [
        f"{role} column {n} is missing; the query gives {have}" for n, role in needed.items() if n not in domain.names
    ]
    return faults + [f"column {n} stands twice in the query; give one of them another name" for n in twice]


def _never_null(spec: Spec, features: dict[str, pa.DataType]) -> dict[str, str]:
    """Columns that must not be null, and why."""
    keys = {name: f"Key column {name} is null: a row without a key cannot be looked up" for name in spec.key}
    fed = {
        n: null_message(n, kind) for n, kind in features.items() if n not in spec.onnx.nullable and n not in spec.key
    }
    return keys | fed


def _misfits(convert: Conversion, column: pa.Array, first: int = 0) -> Iterator[tuple[int, str]]:
    """Which rows cannot be converted, found by halving."""
    try:
        convert(column)
    except DomainInvalid as error:
        if len(column) == 1:
            yield first, str(error)
            return
        half = len(column) // 2
        yield from _misfits(convert, column[:half], first)
        yield from _misfits(convert, column[half:], first + half)
