"""Score one chunk of a snapshot: keys, predictions and passed-through columns, as the version's table has them."""

from __future__ import annotations

from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prescore.catalog.types import FLOATS
from prescore.errors import ModelFailed, NotFound
from prescore.project.spec import Spec
from prescore.scoring import conversion, rejects
from prescore.scoring.rejects import Reject, Scored
from prescore.scoring.scorer import Scorer


class SnapshotReader:
    """A frozen domain, read a chunk at a time; not to be shared between threads."""

    def __init__(self, source: Path | RawIOBase) -> None:
        try:
            # Of a file that is not on this machine a chunk's columns are fetched together: one request, not one each.
            self._file = pq.ParquetFile(source, pre_buffer=not isinstance(source, Path))
        except (OSError, pa.ArrowException) as error:
            raise NotFound(
                f"The snapshot {source} cannot be read, so the run cannot go on. Start anew: prescore run --full."
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


def score_chunk(scorer: Scorer, chunk: pa.RecordBatch, record_limit: int) -> Scored:
    """Score a chunk: key columns, outputs, passed-through columns, in the catalog's order.

    Rows on which the model fails, or whose predictions are not finite, are set aside, the first `record_limit` of them
    with their reasons. Raises ModelInvalid when the model fails on more than that.
    """
    rows, found = _answered(scorer, chunk, record_limit)
    rejected = len(found)
    for name in (n for n, output in scorer.spec.outputs.items() if output.type in FLOATS):
        finite = pc.is_finite(rows.column(name))
        if not pc.all(finite).as_py():
            odd = rows.filter(pc.invert(finite))
            rejected += odd.num_rows
            found += rejects.reject_rows(
                odd[: max(record_limit - len(found), 0)], scorer.spec.key, name, f"Prediction {name} is NaN or infinite"
            )
            rows = rows.filter(finite)
    return Scored(rows, rejected, found)


def _answered(scorer: Scorer, chunk: pa.RecordBatch, record_limit: int) -> tuple[pa.RecordBatch, list[Reject]]:
    """The rows that the model has an answer for, and those on which it fails."""
    done, failed = [_nothing(scorer.spec)], list[Reject]()
    for part, answer in _halving(scorer, chunk):
        if isinstance(answer, ModelFailed):
            failed += rejects.reject_rows(part, scorer.spec.key, None, str(answer))
            if len(failed) > record_limit:
                raise answer
        else:
            done.append(_ordered(scorer.spec, part, answer))
    return done[1] if len(done) == 2 else pa.concat_batches(done), failed


def _halving(scorer: Scorer, rows: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch | ModelFailed]]:
    """Predictions for as large a part at a time as the model manages; where it fails on one row alone, its error."""
    try:
        yield rows, scorer.score(rows)
    except ModelFailed as error:
        if rows.num_rows == 1:
            yield rows, error
            return
        half = rows.num_rows // 2
        yield from _halving(scorer, rows[:half])
        yield from _halving(scorer, rows[half:])


def _ordered(spec: Spec, rows: pa.RecordBatch, predictions: pa.RecordBatch) -> pa.RecordBatch:
    kept = {name: rows.column(name) for name in (*spec.key, *spec.passthrough)}
    made = dict(zip(predictions.schema.names, predictions.columns, strict=True))
    return pa.record_batch({name: {**kept, **made}[name] for name in (*spec.key, *spec.outputs, *spec.passthrough)})


def _nothing(spec: Spec) -> pa.RecordBatch:
    kinds = {**spec.key, **{name: output.type for name, output in spec.outputs.items()}, **spec.passthrough}
    return pa.record_batch({name: pa.array([], conversion.ARROW[kind]) for name, kind in kinds.items()})
