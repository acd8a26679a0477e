"""A real Jupyter kernel, which runs cells as a notebook does and keeps their outputs.

`python tests/fix_notebook.py` executes the notebooks in docs/ and stores their outputs in them.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs/notebooks").glob("*.ipynb"))
SECONDS = 120

# What differs from run to run → what is compared instead.
_VARIABLE = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( UTC|\+00:00)?", "TIME"),
    (r"datetime\.datetime\([^()]*\)", "TIME"),
    (r"('?(?:snapshot|score|stage|check|publish|total|waiting)'?:? )\d+\.\d+", r"\1SECONDS"),
    (r"(age_seconds=)\d+\.\d+", r"\1SECONDS"),
    (r"\d+ (?:s|min)\b", "AGE"),
    # Pages of HTML number their parts at random.
    (r"#?T_[0-9a-f]{5}|sk-[\w-]+-\d+", "ID"),
)


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


def execute(path: Path, folder: Path) -> Any:
    """Return a notebook as it is after its cells ran in a folder, in an environment that names no project."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", record_timing=False)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PRESCORE_")}
    client.execute(cwd=str(folder), env=environment)
    # The version of Python differs between machines.
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def comparable(notebook: Any) -> list[str]:
    """Return what a reader sees of the outputs of each cell, without what differs from run to run."""
    return [_comparable(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]


def _comparable(outputs: Any) -> str:
    text = json.dumps([_visible(output) for output in outputs], sort_keys=True)
    for pattern, name in _VARIABLE:
        text = re.sub(pattern, name, text)
    return text


def _visible(output: Any) -> Any:
    """Return an output's HTML, or without HTML its text."""
    data = output.get("data", output)
    return data.get("text/html") or data.get("text/plain") or data.get("text") or data


if __name__ == "__main__":
    for stored in NOTEBOOKS:
        # Postgres refuses a socket with a long path.
        with tempfile.TemporaryDirectory(prefix="prescore-", dir="/tmp") as empty:
            executed = execute(stored, Path(empty))
        nbformat.write(executed, stored)
