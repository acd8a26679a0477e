"""The notebooks in docs/ run in a real kernel, from an empty folder, and store what they print."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import nbformat
import pytest

from fix_notebook import NOTEBOOKS, comparable, execute


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_prints_what_it_stores(notebook: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="prescore-", dir="/tmp") as folder:
        executed = execute(notebook, Path(folder))
        assert not list(Path(folder).rglob("postmaster.pid")), "The notebook leaves its Postgres running."
    stored = nbformat.read(notebook, as_version=4)
    advice = "Store the outputs: python tests/fix_notebook.py"
    for number, (found, expected) in enumerate(zip(comparable(executed), comparable(stored), strict=True)):
        assert found == expected, f"{notebook.name}, code cell {number}. {advice}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebooks_links_lead_somewhere(notebook: Path) -> None:
    cells = nbformat.read(notebook, as_version=4).cells
    text = "".join(cell.source for cell in cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert links
    assert [link for link in links if not (notebook.parent / link).exists()] == []
