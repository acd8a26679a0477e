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

from prescore import columns
from prescore.contract.errors import DomainInvalid, Refused
from prescore.contract.spec import Spec
from prescore.sources import Source
from prescore.store import appearing, hash_file

_SKEW = timedelta(minutes=5)  # by which the clocks of a source and of this machine may differ


@dataclass(frozen=True)
class Frozen:
    """What a snapshot turned out to be."""

    rows: int
    chunks: int
    fingerprint: str
    data_as_of: datetime | None


class Freezer:
    """Turns the batches of a domain into those of a snapshot: only the columns that are needed, each of its exact type.

    A column that is a key or passed through is kept as that type, and is known to fit its feature's type as well.
    Raises DomainInvalid for a column that is missing or of the wrong type.
    """

    def __init__(self, spec: Spec, features: dict[str, pa.DataType], domain: pa.Schema) -> None:
        self.spec = spec
        self.features = features
        table = {**spec.key, **spec.passthrough}
        self.schema = pa.schema([*((n, columns.ARROW[t]) for n, t in table.items()), *self._only_features(table)])
        faults = [*_absent(spec, features, domain), *self._untypable(domain)]
        if faults:
            raise DomainInvalid(
                f"The domain query of {spec.model} does not give what is needed:\n  " + "\n  ".join(faults)
            )
        self.newest: Any = None

    def freeze(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch as the snapshot keeps it; raises Refused for nulls where none may be, DomainInvalid for misfits."""
        self._refuse_nulls(batch)
        for name in self.features:
            if name in self.spec.key or name in self.spec.passthrough:
                self._feature(name, batch)
        arrays = [self._kept(field, batch) for field in self.schema]
        self._watch_clock(batch)
        return pa.record_batch(arrays, schema=self.schema)

    def _kept(self, field: pa.Field, batch: pa.RecordBatch) -> pa.Array:
        if field.name in self.spec.key or field.name in self.spec.passthrough:
            return columns.convert(field.name, batch.column(field.name), field.type)
        return self._feature(field.name, batch)

    def _feature(self, name: str, batch: pa.RecordBatch) -> pa.Array:
        return columns.convert(name, batch.column(name), self.features[name], narrow=name in self.spec.onnx.narrow)

    def _refuse_nulls(self, batch: pa.RecordBatch) -> None:
        for name in self.spec.key:
            if nulls := batch.column(name).null_count:
                raise _refused(
                    "keys",
                    f"Key column {name} is null in {_at_least(nulls)}: a row without a key cannot be looked up.",
                )
        for name in self.features:
            nulls = 0 if name in self.spec.onnx.nullable else batch.column(name).null_count
            if nulls:
                raise _refused(
                    "features",
                    f"Feature {name} is null in {_at_least(nulls)}. Fill it in the domain query, or hand it to the "
                    f"model as NaN with onnx.nullable = [{name!r}].",
                )

    def _watch_clock(self, batch: pa.RecordBatch) -> None:
        clock = self.spec.domain.data_as_of
        if clock is not None and clock.column is not None:
            newest = pc.max(batch.column(clock.column)).as_py()
            self.newest = max((t for t in (self.newest, newest) if t is not None), default=None)

    def data_as_of(self) -> datetime | None:
        """The newest time in the clock column, if the spec names one; raises DomainInvalid when it has none."""
        clock = self.spec.domain.data_as_of
        if clock is None or clock.column is None:
            return None
        if self.newest is None:
            raise DomainInvalid(f"domain.data_as_of: column {clock.column} is NULL in every row, so it tells no time.")
        return moment(self.newest)

    def _only_features(self, table: dict[str, Any]) -> Iterator[tuple[str, pa.DataType]]:
        return ((name, kind) for name, kind in self.features.items() if name not in table)

    def _untypable(self, domain: pa.Schema) -> Iterator[str]:
        wanted = [(f.name, f.type) for f in self.schema] + list(self.features.items())
        for name, kind in dict.fromkeys(wanted):
            if domain.get_field_index(name) >= 0:
                narrow = name in self.spec.onnx.narrow and kind == self.features.get(name)
                try:
                    columns.check_type(name, domain.field(name).type, kind, narrow=narrow)
                except DomainInvalid as error:
                    yield str(error)
        clock = self.spec.domain.data_as_of
        if clock is not None and clock.column in domain.names and not _tells_time(domain.field(clock.column).type):
            yield f"column {clock.column}, for data_as_of, is {domain.field(clock.column).type} and no time"


def freeze(
    batches: Iterator[pa.RecordBatch], freezer: Freezer, path: Path, rows: int, on_rows: Callable[[int], None]
) -> Frozen:
    """Write the snapshot, one row group a chunk of at most `rows` rows; raises Refused when the domain is empty.

    The file appears under its name only when it is complete.
    """
    texts = [f.name for f in freezer.schema if pa.types.is_string(f.type)]
    total, chunks = 0, 0
    with appearing(path) as part:
        with pq.ParquetWriter(
            part, freezer.schema, compression="lz4", use_dictionary=texts, write_statistics=False
        ) as writer:
            for chunk in _chunks((freezer.freeze(batch) for batch in batches), rows):
                writer.write_table(chunk, row_group_size=chunk.num_rows)
                total, chunks = total + chunk.num_rows, chunks + 1
                on_rows(chunk.num_rows)
        if total == 0:
            raise empty(freezer.spec.model)
        fingerprint = hash_file(part)
    return Frozen(total, chunks, fingerprint, freezer.data_as_of())


def expected(spec: Spec, features: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """The types that a row-wise source's values are read as where they say nothing themselves."""
    return features | {n: columns.ARROW[t] for n, t in {**spec.key, **spec.passthrough}.items()}


def asked_clock(source: Source, spec: Spec) -> datetime | None:
    """What the spec's data_as_of query says, if there is one; raises DomainInvalid when that is not one value."""
    if spec.domain.data_as_of is None or spec.domain.data_as_of.query is None:
        return None
    with source.open(spec.domain.data_as_of.query, 2, named="domain.data_as_of.query") as stream:
        values = [row for batch in stream.batches for row in batch.to_pylist()]
    if len(values) != 1 or len(values[0]) != 1 or None in values[0].values():
        raise DomainInvalid(f"domain.data_as_of.query must give one time; it gives {values[:2]}.")
    return moment(*values[0].values())


def empty(model: str) -> Refused:
    """An empty domain is refused: it would replace every prediction with nothing."""
    return _refused(
        "rows",
        f"The domain of {model} is empty. An empty version would take every prediction away. Is the source loaded?",
    )


def moment(value: Any) -> datetime | None:
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


def _at_least(rows: int) -> str:
    # The rows that come after this batch have not been looked at.
    return f"at least {rows:,} row{'' if rows == 1 else 's'}"


def _refused(check: str, message: str) -> Refused:
    return Refused(message, [{"name": check, "passed": False, "observed": message, "expected": "see the message"}])
