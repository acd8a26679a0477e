"""A real Jupyter kernel, which runs cells as a notebook does and keeps their outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

SECONDS = 120


class _Client(NotebookClient):
    """A client that also keeps each content that a cell showed before another one replaced it."""

    shown: list[str]

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in ("display_data", "update_display_data"):
            self.shown.append(msg["content"]["data"]["text/plain"])
        return super().process_message(msg, cell, cell_index)


@dataclass
class Kernel:
    """A running kernel."""

    client: _Client

    def run(self, source: str) -> list[Any]:
        """Run a cell, and return its outputs as the notebook's file has them; raise CellExecutionError."""
        self.client.shown = []
        cell = nbformat.v4.new_code_cell(source)
        self.client.nb.cells.append(cell)
        self.client.execute_cell(cell, len(self.client.nb.cells) - 1)
        outputs: list[Any] = cell.outputs
        return outputs

    @property
    def shown(self) -> list[str]:
        """The text of each content that the last cell showed in its displays."""
        return self.client.shown


@contextmanager
def kernel(folder: Path) -> Iterator[Kernel]:
    """Start a kernel in a folder, with the environment of this process."""
    client = _Client(nbformat.v4.new_notebook(), timeout=SECONDS, kernel_name="python3")
    with client.setup_kernel(cwd=str(folder)):
        yield Kernel(client)
