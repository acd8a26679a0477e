"""Score one chunk of a snapshot: keys, predictions and passed-through columns, as the version's table has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from prescore.contract.errors import Unknown
from prescore.scorer import Scorer


class Snapshot:
    """A frozen domain, read a chunk at a time; not to be shared between threads."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise Unknown(
                f"The snapshot {path} cannot be read, so the run cannot go on. Start anew: prescore run --full."
            ) from error

    def chunk(self, number: int) -> pa.RecordBatch:
        """One chunk as one batch."""
        table = self._file.read_row_group(number, use_threads=False)
        return table.combine_chunks().to_batches()[0]

    def chunk_rows(self) -> Iterator[int]:
        """How many rows each chunk has, without reading it."""
        return (self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def score(scorer: Scorer, chunk: pa.RecordBatch) -> pa.RecordBatch:
    """A chunk's rows for the table: key columns, outputs, passed-through columns, in the catalog's order."""
    spec = scorer.spec
    predictions = scorer.score(chunk)
    kept = {name: chunk.column(name) for name in (*spec.key, *spec.passthrough)}
    made = dict(zip(predictions.schema.names, predictions.columns, strict=True))
    return pa.record_batch({name: {**kept, **made}[name] for name in (*spec.key, *spec.outputs, *spec.passthrough)})
