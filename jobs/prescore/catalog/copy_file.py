"""The rows that COPY delivers, as a file that Arrow's CSV reader can read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any


class CopyFile(io.RawIOBase):
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
