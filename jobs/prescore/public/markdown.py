"""Tables as Markdown, for comments on pull requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prescore.public.formatting import format_value


def table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the lines of a table with a row for each mapping, at least one; the headings are the keys of the first."""
    headings = list(rows[0])
    lines = [_line(headings), "|" + "---|" * len(headings)]
    return lines + [_line(map(format_value, row.values())) for row in rows]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Return a text that neither ends its cell nor its line."""
    return " ".join(text.replace("|", "\\|").splitlines())
