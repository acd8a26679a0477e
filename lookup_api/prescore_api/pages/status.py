"""The status page: a card for each model, as HTML that loads nothing else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prescore.catalog.queries import query
from prescore_api.pages.cards import Card, card, format_time
from prescore_api.pages.charts import ChartCache, Row, StatisticsByColumn, charted_outputs
from prescore_api.pages.distribution import Statistics
from prescore_api.tables.database import ReaderPool

MAX_MODELS = 100
_RUNS_PER_MODEL = 5
_CHECKS_PER_RUN = 50
# How many models the summary names for each condition.
_NAMED_MODELS = 8
# After so many pieces of rendered HTML, the event loop gets a turn.
_PIECES_PER_TURN = 200
_CONDITIONS = {
    "stale": "stale",
    "failed": "last run refused or failed",
    "held": "on hold",
    "unpublished": "not published",
}

_templates = Environment(
    loader=PackageLoader("prescore_api.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_chart_cache = ChartCache()
_STYLE = _templates.get_template("status.css").render()
_templates.globals["style"] = Markup(_STYLE)  # noqa: S704 - our own file
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Response headers of a page. They keep a browser from running scripts, loading anything, and applying other styles."""


class Summary(NamedTuple):
    """A condition, the names of the first models in it, and how many models are in it."""

    kind: str
    text: str
    models: list[str]
    total: int


async def html(reader: ReaderPool, may_read: Callable[[str], bool]) -> str:
    """Return the page with the models that may be read; raise DatabaseUnavailable or DatabaseRefused."""
    rows = await reader.rows(query("page_models"), {})
    models = [row for row in rows if may_read(row["model"])]
    card_rows = await _card_rows(reader, [row["model"] for row in models[:MAX_MODELS]])
    statistics = await _statistics(reader, card_rows)
    cards = await _cards(card_rows, statistics)
    now = card_rows[0]["now"] if card_rows else datetime.now(UTC)
    return await _render(
        {
            "now": now.astimezone(UTC),
            "cards": cards,
            "count": len(models),
            "summary": _summary(models),
        }
    )


def render(template: str, **values: Any) -> str:
    """Return another page in the same style."""
    return _templates.get_template(template).render(values)


async def _card_rows(reader: ReaderPool, models: list[str]) -> Sequence[Row]:
    if not models:
        return []
    parameters = {"models": models, "runs": _RUNS_PER_MODEL, "checks": _CHECKS_PER_RUN}
    return await reader.rows(query("page_cards"), parameters)


async def _statistics(reader: ReaderPool, card_rows: Sequence[Row]) -> StatisticsByColumn:
    """Read the statistics for the charts that are not in the cache."""
    outputs = []
    for row in card_rows:
        outputs += charted_outputs(row)
    tables: set[str] = set()
    columns: set[str] = set()
    for output in _chart_cache.missing(outputs):
        for table, column in output.columns:
            tables.add(table)
            columns.add(column)
    if not tables:
        return {}
    parameters = {"tables": list(tables), "columns": list(columns)}
    rows = await reader.rows(query("page_statistics"), parameters)
    return {(row["table_name"], row["column_name"]): _column_statistics(row) for row in rows}


def _column_statistics(row: Row) -> Statistics:
    return Statistics(
        common=tuple(row["common"]),
        shares=tuple(row["shares"]),
        bounds=tuple(row["bounds"]),
        nulls=row["nulls"],
    )


async def _cards(rows: Sequence[Row], statistics: StatisticsByColumn) -> list[Card]:
    cards = []
    for row in rows:
        cards.append(card(row, statistics, _chart_cache))
        # Lookups share this thread, and drawing charts takes time.
        await asyncio.sleep(0)
    return cards


async def _render(values: Mapping[str, Any]) -> str:
    pieces: list[str] = []
    template = _templates.get_template("status.html")
    for piece in template.generate(values, format_time=format_time):
        pieces.append(piece)
        if len(pieces) % _PIECES_PER_TURN == 0:
            await asyncio.sleep(0)
    return "".join(pieces)


def _summary(models: Sequence[Row]) -> list[Summary]:
    """Return the conditions that need attention. Conditions without a model are left out."""
    summary = []
    for kind, text in _CONDITIONS.items():
        names = [row["model"] for row in models if row[kind]]
        if names:
            summary.append(Summary(kind, text, names[:_NAMED_MODELS], len(names)))
    return summary
