"""What differs between a snapshot and that of an earlier version, its base: the rows that must be scored again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from prescore.errors import PrescoreError
from prescore.sources import duckdb_connection, duckdb_errors
from prescore.store import snapshot_file
from prescore.store.snapshot_file import SnapshotReader

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_BATCH_ROWS = 102_400
_MAX_THREADS = 4
_BITS = {pa.float16(): pa.int16(), pa.float32(): pa.int32(), pa.float64(): pa.int64()}


@dataclass(frozen=True)
class Changes:
    """How a snapshot differs from that of its base.

    `scored` are the positions of the rows to score, ascending: rows that are new or differ, and those that must be
    scored again. `new` of them have a key that the base lacks. `vanished` are the keys of the base that the snapshot
    lacks, in the key's own types. `carried` is how many rows are as in the base.
    """

    scored: Positions
    new: int
    vanished: pa.Table
    carried: int


def find(
    snapshot: Path | RawIOBase,
    base: Path | RawIOBase,
    key: Sequence[str],
    again: pa.Table | None = None,
    *,
    memory_limit: str,
    spill: Path,
) -> Changes | None:
    """Compare a snapshot with that of its base: rows by their key, columns by their name, values bit by bit.

    NULL equals NULL, NaN equals NaN, and -0.0 differs from 0.0. `again` are keys of rows to score even if they are
    equal, such as those that the model failed on; its columns must fit the types of the key. Memory is limited as in
    `duckdb_connection.connect`, except for a few bytes a row and the vanished keys.

    Returns None if the snapshots cannot be compared: their columns or types differ, or one of them has a key twice.
    Raises NotFound if one cannot be read, StoreFull if `spill` has too little room, and Mistake if `memory_limit` is
    too low.
    """
    with closing(SnapshotReader(snapshot)) as ours, closing(SnapshotReader(base)) as theirs:
        if _types(ours.schema) != _types(theirs.schema):
            return None
        with duckdb_connection.connect(memory_limit, spill) as connection:
            engine = _Engine(connection, memory_limit, spill)
            return _compare(engine, ours, theirs, list(key), again)


def write(snapshot: Path | RawIOBase, scored: Positions, path: Path, chunk_rows: int) -> int:
    """Write the rows at ascending positions of a snapshot as a snapshot, and return its number of chunks.

    The schema and the order of the rows stay. A chunk has at most `chunk_rows` rows. Raises NotFound.
    """
    chunks = 0
    with closing(SnapshotReader(snapshot)) as reader, snapshot_file.open_writer(path, reader.schema) as writer:
        for chunk in snapshot_file.chunks(reader.take(scored), chunk_rows):
            writer.write_table(chunk, row_group_size=chunk.num_rows)
            chunks += 1
    return chunks


class _Engine:
    """A DuckDB that scans rows of snapshots as tables.

    Names of columns may differ in case only, which DuckDB takes for one name. Its tables have c0, c1, … instead, and
    the column `position`.
    """

    def __init__(self, connection: Any, memory_limit: str, spill: Path) -> None:
        self._connection = connection
        # Keeping the order of the rows takes memory, and the positions say what it was.
        connection.execute("set preserve_insertion_order = false")
        # Each thread takes memory too, and more threads would wait for the files, each of which one thread reads.
        ((threads,),) = connection.execute("select current_setting('threads')").fetchall()
        connection.execute(f"set threads = {min(threads, _MAX_THREADS):d}")
        self._memory_limit = memory_limit
        self._spill = spill
        self._failures: list[Exception] = []
        self._tables: list[str] = []

    def add(self, table: str, types: Iterable[pa.DataType], batches: Iterable[pa.RecordBatch]) -> None:
        """Add a table of batches for the next statement."""
        fields = [pa.field(f"c{number:d}", _comparable_type(arrow_type)) for number, arrow_type in enumerate(types)]
        schema = pa.schema([*fields, pa.field("position", pa.int64())])
        # The connection keeps the generator, which must not keep the connection: neither would ever be freed.
        reader = pa.RecordBatchReader.from_batches(schema, _numbered(schema, batches, self._failures))
        self._connection.register(table, reader)
        self._tables.append(table)

    def rows(self, statement: str) -> Iterator[pa.RecordBatch]:
        """Run a statement and yield its result. An error of a scanned file is raised as it was there."""
        import duckdb

        try:
            for batch in self._connection.sql(statement).to_arrow_reader(_BATCH_ROWS):
                self._require_complete_tables()
                yield batch
            self._require_complete_tables()
        # pyarrow raises most errors of a stream as an OSError.
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            what = "The snapshot could not be compared with that of its base"
            shortage = duckdb_errors.shortage(what, error, memory_limit=self._memory_limit, spill=self._spill)
            if shortage is None:
                raise
            raise shortage from error
        finally:
            self._drop_tables()

    def _require_complete_tables(self) -> None:
        if self._failures:
            raise self._failures[0]

    def _drop_tables(self) -> None:
        while self._tables:
            self._connection.unregister(self._tables.pop())


def _numbered(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], failures: list[Exception]
) -> Iterator[pa.RecordBatch]:
    """Yield batches for DuckDB, with the positions of their rows. They end at an error, which `failures` gets."""
    first_row = 0
    try:
        for batch in batches:
            positions = np.arange(first_row, first_row + batch.num_rows)
            arrays = [_comparable(values) for values in batch.columns]
            yield pa.record_batch([*arrays, pa.array(positions)], schema=schema)
            first_row += batch.num_rows
    # DuckDB would raise an error of its own with the text of this one.
    except PrescoreError as error:
        # pyarrow keeps an error of the store with its frames, which keep the file and DuckDB: none would be freed.
        failures.append(error.with_traceback(None))
    except Exception as error:
        failures.append(error)


@dataclass(frozen=True)
class _Matches:
    """Which rows of a snapshot must be scored and which of them are new; which rows of the base vanished."""

    scored: Mask
    new: Mask
    vanished: Mask


def _compare(
    engine: _Engine,
    ours: SnapshotReader,
    theirs: SnapshotReader,
    key: list[str],
    again: pa.Table | None,
) -> Changes | None:
    matches = _match(engine, ours, theirs, key)
    if matches is None:
        return None
    new, vanished = np.flatnonzero(matches.new), np.flatnonzero(matches.vanished)
    if _has_repeats(engine, ours, new, key) or _has_repeats(engine, theirs, vanished, key):
        return None
    if again is not None and again.num_rows:
        matches.scored[_positions(engine, ours, key, again)] = True
    scored = np.flatnonzero(matches.scored)
    return Changes(
        scored=scored,
        new=len(new),
        vanished=pa.Table.from_batches(theirs.take(vanished, key), schema=_key_schema(theirs, key)),
        carried=ours.rows - len(scored),
    )


def _match(engine: _Engine, ours: SnapshotReader, theirs: SnapshotReader, key: list[str]) -> _Matches | None:
    """Return which rows match, or None if a key that both snapshots have appears twice in one of them."""
    names = [*key, *(name for name in ours.schema.names if name not in key)]
    types = [ours.schema.field(name).type for name in names]
    engine.add("ours", types, ours.batches(names))
    engine.add("theirs", types, theirs.batches(names))
    scored = np.zeros(ours.rows, np.bool_)
    new = np.zeros(ours.rows, np.bool_)
    vanished = np.zeros(theirs.rows, np.bool_)
    matched = 0
    for batch in engine.rows(_full_join(len(key), len(names))):
        position, base_position, differs = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
        is_ours = position >= 0
        is_new = base_position < 0
        is_scored = is_ours & (differs | is_new)
        scored[position[is_scored]] = True
        new[position[is_new]] = True
        vanished[base_position[~is_ours]] = True
        is_pair = is_ours & ~is_new
        matched += int(np.count_nonzero(is_pair))
        # A key that appears n times in both snapshots makes n * n pairs: too many to count them all.
        if matched > ours.rows:
            return None
    # Each row that is not new has at least one pair. With one too many, its key appears twice.
    unpaired_ours = int(np.count_nonzero(new))
    unpaired_theirs = int(np.count_nonzero(vanished))
    if matched != ours.rows - unpaired_ours or matched != theirs.rows - unpaired_theirs:
        return None
    return _Matches(scored, new, vanished)


def _full_join(key_columns: int, columns: int) -> str:
    """Return the SELECT of all pairs of rows with the same key, and of all others with the position -1 beside them."""
    distinct = [f"ours.c{number:d} is distinct from theirs.c{number:d}" for number in range(key_columns, columns)]
    return (
        "select coalesce(ours.position, -1), coalesce(theirs.position, -1), "
        f"{' or '.join(distinct) or 'false'} from ours full join theirs on {_same_key(key_columns, 'theirs')}"
    )


def _same_key(key_columns: int, table: str) -> str:
    return " and ".join(f"ours.c{number:d} = {table}.c{number:d}" for number in range(key_columns))


def _has_repeats(engine: _Engine, reader: SnapshotReader, positions: Positions, key: list[str]) -> bool:
    """Return whether two of the rows at some positions have the same key."""
    engine.add("keys", _key_schema(reader, key).types, reader.take(positions, key))
    columns = ", ".join(f"c{number:d}" for number in range(len(key)))
    (count,) = engine.rows(f"select count(*) from (select distinct {columns} from keys)")
    return bool(count.column(0)[0].as_py() < len(positions))


def _positions(engine: _Engine, reader: SnapshotReader, key: list[str], wanted: pa.Table) -> Positions:
    """Return the positions of the rows with the wanted keys, as far as the snapshot has them."""
    schema = _key_schema(reader, key)
    engine.add("ours", schema.types, reader.batches(key))
    engine.add("wanted", schema.types, wanted.select(key).cast(schema).to_batches())
    batches = engine.rows(f"select position from ours semi join wanted on {_same_key(len(key), 'wanted')}")
    found = [np.empty(0, np.int64)]
    found += [batch.column(0).to_numpy() for batch in batches]
    return np.concatenate(found)


def _types(schema: pa.Schema) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in schema}


def _key_schema(reader: SnapshotReader, key: list[str]) -> pa.Schema:
    return pa.schema([(name, reader.schema.field(name).type) for name in key])


def _comparable_type(arrow_type: pa.DataType) -> pa.DataType:
    if pat.is_list(arrow_type):
        return pa.list_(_comparable_type(arrow_type.value_type))
    return _BITS.get(arrow_type, arrow_type)


def _comparable(values: pa.Array) -> pa.Array:
    """Return values of which DuckDB takes exactly those for equal that a model does: floats are their bits.

    To DuckDB, -0.0 equals 0.0, but a model may divide by it. All NaNs have the same bits.
    """
    if pat.is_list(values.type):
        buffers = values.buffers()[:2]
        elements = [_comparable(values.values)]
        list_type = _comparable_type(values.type)
        return pa.Array.from_buffers(list_type, len(values), buffers, offset=values.offset, children=elements)
    bits = _BITS.get(values.type)
    if bits is None:
        return values
    nan = pc.is_nan(values)
    if not pc.any(nan).as_py():
        return values.view(bits)
    return pc.if_else(nan, pa.scalar(np.nan, values.type), values).view(bits)
