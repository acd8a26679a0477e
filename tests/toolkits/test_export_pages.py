"""The export pages are true: their files train, export, validate and run, with the toolkits installed apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from doc_pages import ROOT, TOOLKIT_PAGES, Terminal, blocks, name
from prescore.catalog.database import Database

PYTHON = ROOT / ".venv-toolkits/bin/python"
LIVE = [page for page in TOOLKIT_PAGES if any(block.live for block in blocks(page))]


@pytest.fixture
def terminal(tmp_path: Path, database: Database) -> Iterator[Terminal]:
    """An empty folder, a database of this page's own, and the interpreter that has the toolkits."""
    assert PYTHON.exists(), "The toolkits are not installed; use make test-toolkits."
    opened = Terminal(tmp_path, database.url, PYTHON)
    yield opened
    opened.close()


def test_every_toolkit_has_a_page() -> None:
    assert {page.stem for page in LIVE} == {"scikit-learn", "lightgbm", "xgboost", "catboost", "pytorch", "keras"}


@pytest.mark.parametrize("page", LIVE, ids=name)
def test_commands_print_what_the_page_shows(page: Path, terminal: Terminal) -> None:
    for block in blocks(page):
        terminal.do(block)
