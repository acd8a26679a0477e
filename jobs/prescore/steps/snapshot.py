"""Take a snapshot of the domain for one run: a Parquet file whose row groups are the chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from prescore.catalog.catalog import CheckResult
from prescore.checks.results import sentence
from prescore.errors import Refused
from prescore.scoring.domain_conversion import DomainConverter
from prescore.scoring.rejects import Reject
from prescore.sources.source import Batch
from prescore.store import snapshot_file
from prescore.store.folder import hash_file


@dataclass(frozen=True)
class SnapshotSummary:
    """A written snapshot: rows and chunks, the file's SHA-256, and the newest time in the clock column."""

    rows: int
    chunks: int
    fingerprint: str
    data_as_of: datetime | None


def write(
    batches: Iterator[Batch],
    converter: DomainConverter,
    path: Path,
    chunk_rows: int,
    on_progress: Callable[[int], None],
    on_rejects: Callable[[list[Reject]], None],
    on_first_rows: Callable[[pa.RecordBatch], None],
) -> SnapshotSummary:
    """Convert batches of the domain and write the snapshot, one row group per chunk of at most `chunk_rows` rows.

    `on_progress` is called with the number of rows of every chunk, `on_rejects` with the rejects of a batch, and
    `on_first_rows` with the first batch, before the rest of the domain is read. Raises DomainInvalid.
    """
    rows = chunks = 0
    with snapshot_file.open_writer(path, converter.schema) as writer:
        converted = _converted(batches, converter, on_rejects, on_first_rows)
        for chunk in snapshot_file.chunks(converted, chunk_rows):
            writer.write_table(chunk, row_group_size=chunk.num_rows)
            rows += chunk.num_rows
            chunks += 1
            on_progress(chunk.num_rows)
    return SnapshotSummary(
        rows=rows,
        chunks=chunks,
        fingerprint=hash_file(path),
        data_as_of=converter.data_as_of() if rows else None,
    )


def _converted(
    batches: Iterator[Batch],
    converter: DomainConverter,
    on_rejects: Callable[[list[Reject]], None],
    on_first_rows: Callable[[pa.RecordBatch], None],
) -> Iterator[pa.RecordBatch]:
    has_rows = False
    for batch in batches:
        converted, rejected = converter.convert(batch)
        if rejected:
            on_rejects(rejected)
        if converted.num_rows and not has_rows:
            has_rows = True
            on_first_rows(converted)
        yield converted


def empty_domain_error(model: str, rejects_result: CheckResult | None = None) -> Refused:
    """Return the error for a domain without a row to score; `rejects_result` is given if all its rows were rejected.

    An empty version would replace every prediction with nothing.
    """
    if rejects_result is None:
        message = (
            f"The domain of {model} is empty, and publishing it would remove every prediction. "
            "Check that its source has been loaded."
        )
    else:
        message = (
            f"The domain of {model} has no row that can be scored, and publishing it would remove every prediction.\n"
            f"  {sentence(rejects_result)}\nFix these rows in the source or in the domain query."
        )
    rows: CheckResult = {
        "name": "rows",
        "passed": False,
        "observed": 0,
        "expected": "at least 1",
    }
    return Refused(message, [rows])
