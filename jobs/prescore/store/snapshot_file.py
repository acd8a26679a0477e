"""The file of a snapshot: Parquet, whose row groups are the chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from prescore.errors import NotFound


class SnapshotReader:
    """A snapshot, read chunk by chunk. Not safe to share between threads.

    Raises NotFound when the file is missing or damaged.
    """

    def __init__(self, source: Path | RawIOBase) -> None:
        # For a remote file this fetches the columns of a chunk in one request instead of one request each.
        pre_buffer = not isinstance(source, Path)
        self._source = source
        with self._translated_errors():
            self._file = pq.ParquetFile(source, pre_buffer=pre_buffer)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the snapshot."""
        return self._file.schema_arrow

    @property
    def rows(self) -> int:
        """How many rows the snapshot has."""
        return int(self._file.metadata.num_rows)

    def chunk(self, number: int) -> pa.RecordBatch:
        """Return a chunk as one batch."""
        return self._read(number).combine_chunks().to_batches()[0]

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield some columns of all rows, in the order of the file."""
        for number in range(self._file.num_row_groups):
            yield from self._read(number, columns).to_batches()

    def take(
        self,
        positions: npt.NDArray[np.int64],
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows at ascending positions in the file, by default with all columns, in the file's own types.

        Chunks without any of these rows are not read.
        """
        first_row = 0
        for number in range(self._file.num_row_groups):
            next_row = first_row + self._file.metadata.row_group(number).num_rows
            first, last = np.searchsorted(positions, [first_row, next_row])
            if first < last:
                rows = self._read(number, columns)
                yield from rows.take(positions[first:last] - first_row).to_batches()
            first_row = next_row

    def close(self) -> None:
        """Close the file. The reader cannot be used again."""
        self._file.close()
        # Otherwise an error of the store, which pyarrow keeps with the frames that it came through, keeps the reader.
        del self._file

    def _read(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        with self._translated_errors():
            rows = self._file.read_row_group(number, columns=columns, use_threads=False)
        # Parquet returns columns in the order of the file.
        return rows if columns is None else rows.select(columns)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise NotFound(
                f"The snapshot {self._source} cannot be read, so the run cannot continue: {error}. "
                "Start over with: prescore run --full"
            ) from error


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a new snapshot for writing. Each table that is written to it must be one row group."""
    texts = [field.name for field in schema if pat.is_string(field.type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression="lz4",
        use_dictionary=texts,
        write_statistics=False,
    )


def chunks(batches: Iterator[pa.RecordBatch], chunk_rows: int) -> Iterator[pa.Table]:
    """Yield batches of any size as tables of at most `chunk_rows` rows: large ones cut, small ones put together."""
    pending: list[pa.RecordBatch] = []
    pending_rows = 0
    for batch in batches:
        for start in range(0, batch.num_rows, chunk_rows):
            part = batch.slice(start, chunk_rows)
            if pending and pending_rows + part.num_rows > chunk_rows:
                yield pa.Table.from_batches(pending)
                pending = []
                pending_rows = 0
            pending.append(part)
            pending_rows += part.num_rows
    if pending:
        yield pa.Table.from_batches(pending)
