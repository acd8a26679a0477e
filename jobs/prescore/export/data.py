"""Rows of a data set as the frame that an export is proven on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as pat

from prescore.draft.dataset import Dataset
from prescore.errors import Mistake
from prescore.export import columns

if TYPE_CHECKING:
    import pandas as pd

ROWS = 100_000
"""The most rows that are read; of a file, they are a random sample."""
_SEED = 42


def read(dataset: Dataset, names: Sequence[str]) -> pd.DataFrame:
    """Return rows of a data set with some of its columns, by default all of them; raise Mistake if one is absent."""
    given = dataset.schema.names
    wanted = columns.matching(names, given) if names else list(given)
    text = f"select * from {dataset.relation}"
    if dataset.is_file:
        text += f" using sample reservoir({ROWS} rows) repeatable ({_SEED})"
    batches: list[pa.RecordBatch] = []
    with dataset.source.open(text, ROWS, limit=ROWS) as stream:
        batches += [batch.rows for batch in stream.batches]
        table = pa.Table.from_batches(batches, stream.schema)
    if not table.num_rows:
        raise Mistake("The data has no rows. Give rows that the model was trained on, or rows to be predicted.")
    return _to_pandas(table.select(wanted))


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return a table as training code would have read it: numbers as floats where some are missing."""
    for position, field in enumerate(table.schema):
        column = table.column(position)
        if pat.is_decimal(field.type) or (pat.is_boolean(field.type) and column.null_count):
            number = column.cast(pa.int8()) if pat.is_boolean(field.type) else column
            table = table.set_column(position, field.name, number.cast(pa.float64()))
    frame: pd.DataFrame = table.to_pandas()
    return frame
