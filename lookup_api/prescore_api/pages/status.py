"""The status page: every model on a card, as plain HTML that needs nothing from anywhere else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prescore.catalog.queries import query
from prescore_api.pages.cards import Card, card, moment
from prescore_api.pages.charts import Album, Known, Row, shown
from prescore_api.pages.distribution import Statistics
from prescore_api.tables.database import ReaderPool

MODELS = 100
_RUNS, _CHECKS = 5, 50
# Models in a line of the summary.
_NAMED = 8
_PARTS = 200
_KINDS = {
    "stale": "stale",
    "failed": "last run refused or failed",
    "held": "on hold",
    "unpublished": "not published",
}

_pages = Environment(
    loader=PackageLoader("prescore_api.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_album = Album()
_STYLE = _pages.get_template("status.css").render()
_pages.globals["style"] = Markup(_STYLE)  # noqa: S704 # our own
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What goes with the page: a browser runs nothing on it, loads nothing for it, and takes no style but its own."""


async def html(reader: ReaderPool, may_read: Callable[[str], bool]) -> str:
    """The page of the models that may be read; raises DatabaseUnavailable or DatabaseRefused."""
    known = [row for row in await reader.rows(query("page_models"), {}) if may_read(row["model"])]
    bounds = {"models": [row["model"] for row in known[:MODELS]], "runs": _RUNS, "checks": _CHECKS}
    rows = await reader.rows(query("page_cards"), bounds) if known else []
    return await _rendered(known, rows, await _cards(rows, await _statistics(reader, rows)))


def rendered(template: str, **told: Any) -> str:
    """Another page in the same dress."""
    return _pages.get_template(template).render(told)


async def _statistics(reader: ReaderPool, rows: Sequence[Row]) -> Known:
    missing = [at for output in _album.missing([o for row in rows for o in shown(row)]) for at in output.columns]
    named = {"tables": list({table for table, _ in missing}), "columns": list({column for _, column in missing})}
    found = await reader.rows(query("page_statistics"), named) if missing else []
    return {(row["table_name"], row["column_name"]): _known(row) for row in found}


def _known(row: Row) -> Statistics:
    return Statistics(tuple(row["common"]), tuple(row["shares"]), tuple(row["bounds"]), row["nulls"])


async def _cards(rows: Sequence[Row], known: Known) -> list[Card]:
    made = []
    for row in rows:
        made.append(card(row, known, _album))
        # Lookups are answered by the same thread.
        await asyncio.sleep(0)
    return made


async def _rendered(known: Sequence[Row], rows: Sequence[Row], cards: Sequence[Card]) -> str:
    now = rows[0]["now"].astimezone(UTC) if rows else datetime.now(UTC)
    told: dict[str, Any] = {"now": now, "cards": cards, "count": len(known), "summary": _summary(known)}
    parts: list[str] = []
    for part in _pages.get_template("status.html").generate(told, moment=moment):
        parts.append(part)
        if len(parts) % _PARTS == 0:
            await asyncio.sleep(0)
    return "".join(parts)


def _summary(known: Sequence[Row]) -> list[tuple[str, str, list[str], int]]:
    """What is the matter, with how many models, and the first of them; what is the matter with none is left out."""
    named = {kind: [row["model"] for row in known if row[kind]] for kind in _KINDS}
    return [(kind, _KINDS[kind], models[:_NAMED], len(models)) for kind, models in named.items() if models]
