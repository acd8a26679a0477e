"""Connections to an in-memory DuckDB, whose memory is limited."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prescore.project.project import make_folder


@contextmanager
def connect(memory_limit: str, spill: Path) -> Iterator[Any]:
    """Yield a connection to an empty DuckDB that uses at most `memory_limit`, such as "384MB".

    DuckDB spills what exceeds it to the folder `spill`, which is removed on exit.
    """
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "temp_directory": str(spill),
        # Otherwise a batch with more than 2 GiB of text is an error.
        "arrow_large_buffer_size": True,
    }
    make_folder(spill)
    try:
        with duckdb.connect(":memory:", config=settings) as connection:
            yield connection
    finally:
        shutil.rmtree(spill, ignore_errors=True)
