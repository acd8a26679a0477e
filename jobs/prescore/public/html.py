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
    body = "".join(_row("td", row.values()) for row in rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def record(values: Mapping[str, object]) -> str:
    """Return a table with a line for each value, its name on the left."""
    lines = []
    for name, value in values.items():
        lines.append(f"<tr>{_cell('th', name, is_wrapped=False)}{_cell('td', value, is_aligned=False)}</tr>")
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


class Fragment(str):
    """HTML that this module made, and that `record` therefore does not escape again."""


def nested(rows: Sequence[Mapping[str, object]]) -> Fragment:
    """Return a table to be a value of `record`."""
    return Fragment(table(rows))


def _row(tag: str, values: Iterable[object]) -> str:
    return f"<tr>{''.join(_cell(tag, value) for value in values)}</tr>"


def _cell(tag: str, value: object, *, is_aligned: bool = True, is_wrapped: bool = True) -> str:
    """Return a cell. Notebooks align all cells to the right, which suits numbers below each other, but no text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    styles = [] if is_number and is_aligned else ["text-align: left"]
    if not is_wrapped:
        styles.append("white-space: nowrap")
    style = f' style="{"; ".join(styles)}"' if styles else ""
    text = value if isinstance(value, Fragment) else escape(format_value(value))
    return f"<{tag}{style}>{text}</{tag}>"
