"""The pages of the worked examples are true: their commands run in a copy of the example's folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from doc_pages import EXAMPLE_PAGES, Terminal, blocks, name
from prescore.catalog.database import Database


@pytest.fixture
def terminal(tmp_path: Path, database: Database) -> Iterator[Terminal]:
    """An empty folder, and a database of this page's own."""
    opened = Terminal(tmp_path, database.url)
    yield opened
    opened.close()


@pytest.mark.parametrize("page", EXAMPLE_PAGES, ids=name)
def test_commands_print_what_the_page_shows(page: Path, terminal: Terminal) -> None:
    # As the page says, without what was made in the folder itself.
    ignore = shutil.ignore_patterns("README.md", "data", "models", ".prescore", "__pycache__")
    shutil.copytree(page.parent, terminal.folder, ignore=ignore, dirs_exist_ok=True)
    for block in blocks(page):
        terminal.do(block)
