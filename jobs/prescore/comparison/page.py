"""A comparison as one HTML page with pictures, which needs no server, script or network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from prescore.comparison.differences import ColumnDifference, Comparison, LabelPair, Shift
from prescore.comparison.pictures import histogram
from prescore.wording import count, short

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --paper: #fff; --soft: #6b7785; --b: #2f6fb0; --a: #d9822b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --paper: #14181d; --soft: #9aa5b1; --b: #5b9bd5; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } p.soft, th { color: var(--soft); }
div.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .7rem 0; }
th, td { text-align: right; white-space: nowrap; padding: .15rem .75rem .15rem 0; }
th:last-child, td:last-child { padding-right: 0; }
th { font-weight: 500; } th:first-child, td:first-child { text-align: left; }
svg { width: 100%; } svg text { font-size: 11px; text-anchor: middle; fill: var(--soft); }
rect.b { fill: var(--b); } line.a { stroke: var(--a); stroke-width: 2.5; }
"""


def page(comparison: Comparison, title: str, versions: Sequence[Mapping[str, object]]) -> str:
    """Return a comparison as a whole HTML document. Names and values are escaped: they are the users' own text.

    `versions` is what the page says of each of the two versions: heading → value.
    """
    described = _table(versions[0], [version.values() for version in versions])
    parts = [f"<h1>{escape(title)}</h1>", described, *_keys(comparison)]
    for column in comparison.columns:
        parts += _column(column)
    if comparison.not_compared:
        parts += ["<h2>Not compared</h2>", _table(("column", "why"), comparison.not_compared.items())]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _keys(comparison: Comparison) -> Iterator[str]:
    keys = comparison.keys
    yield _table(
        ("keys", f"version {comparison.a}", f"version {comparison.b}", "added", "vanished", "common", "changed"),
        [("rows", keys.rows_a, keys.rows_b, keys.added, keys.vanished, keys.common, keys.changed)],
    )


def _column(column: ColumnDifference) -> Iterator[str]:
    yield f"<h2>{escape(column.column)}</h2>"
    yield f"<p>{escape(column.sentence())}</p>"
    if column.shift is not None:
        yield from _shift(column.column, column.shift)
    if column.labels:
        yield _confusion(column.labels)


def _shift(name: str, shift: Shift) -> Iterator[str]:
    if shift.buckets:
        yield histogram(shift.buckets, f"Distribution of {escape(name)}")
        yield (
            '<p class="soft">Bars: the share of rows of the second version between the deciles of the first. '
            "Lines: the share of the first. Below them, the smallest and the largest value.</p>"
        )
    yield _table(
        ("", "rows", "mean", "deviation", "minimum", "5 %", "25 %", "median", "75 %", "95 %", "maximum"),
        [
            ("first", shift.a.count, shift.a.mean, shift.a.deviation, *(shift.a.quantiles or ())),
            ("second", shift.b.count, shift.b.mean, shift.b.deviation, *(shift.b.quantiles or ())),
        ],
    )
    if shift.movers:
        movers = [(", ".join(map(str, mover.key)), mover.a, mover.b) for mover in shift.movers]
        yield _table(("rows that moved most", "from", "to"), movers)


def _confusion(labels: Sequence[LabelPair]) -> str:
    """Return the confusion table: a row for each value in the first version, a column for each in the second."""
    values = sorted({pair.a for pair in labels} | {pair.b for pair in labels}, key=str)
    rows = {(pair.a, pair.b): pair.rows for pair in labels}
    body = [(short(a), *(rows.get((a, b), 0) for b in values)) for a in values]
    caption = f"from ↓ to →, {count(sum(rows.values()), 'row')}"
    return _table((caption, *map(short, values)), body)


def _table(heading: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heading)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: object) -> str:
    text = "" if value is None else short(value)
    return f"<td>{escape(text)}</td>"
