"""The rows that COPY delivers as CSV, read with Arrow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv

_BLOCK_BYTES = 4 << 20


class _CopyFile(io.RawIOBase):
    """The blocks that COPY delivers, as a file."""

    def __init__(self, blocks: Iterator[Any]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the current block reaches; return the number of bytes, 0 at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def read_batches(
    blocks: Iterable[Any], types: dict[str, pa.DataType], *, use_threads: bool = True
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a COPY in CSV format, with columns of these names and types; no batch without a row.

    Raises ArrowInvalid for a value that a type cannot hold.
    """
    buffered: Any = io.BufferedReader(_CopyFile(iter(blocks)), _BLOCK_BYTES)
    # Arrow raises an error for an empty file.
    if not buffered.peek(1):
        return
    yield from pyarrow.csv.open_csv(
        buffered,
        pyarrow.csv.ReadOptions(column_names=list(types), block_size=_BLOCK_BYTES, use_threads=use_threads),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=types,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
