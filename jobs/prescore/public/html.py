"""HTML for notebooks. Every value is escaped: descriptions, reasons and keys are the users' own text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from prescore.public.formatting import format_value


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return a table with a row for each mapping; the headings are the keys of the first one."""
    if not rows:
        return "<p>none</p>"
    head = _row("th", rows[0])
    body = "".join(_row("td", map(format_value, row.values())) for row in rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def record(values: Mapping[str, object]) -> str:
    """Return a table with a line for each value, its name on the left."""
    lines = []
    for name, value in values.items():
        text = value if isinstance(value, Fragment) else escape(format_value(value))
        lines.append(f"<tr><th>{escape(name)}</th><td>{text}</td></tr>")
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


class Fragment(str):
    """HTML that this module made, and that `record` therefore does not escape again."""


def nested(rows: Sequence[Mapping[str, object]]) -> Fragment:
    """Return a table to be a value of `record`."""
    return Fragment(table(rows))


def _row(cell: str, texts: Iterable[str]) -> str:
    cells = "".join(f"<{cell}>{escape(text)}</{cell}>" for text in texts)
    return f"<tr>{cells}</tr>"
