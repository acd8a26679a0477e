"""The endpoint that scores rows of features on request, or answers them from the table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from prescore import wording
from prescore.errors import RequestInvalid
from prescore_api.formats import json
from prescore_api.http import bulk_body, media_types
from prescore_api.http.request import Request
from prescore_api.http.response import JSON, NO_STORE, VARY, Response
from prescore_api.service.live import MAX_ROWS, ScoreRow, Source, aside, too_many_rows
from prescore_api.service.options import LookupOptions, refuse_unknown

_FORM = '{"rows": [{"features": {feature: value, …}, "key": {column: value, …}}, …]}'
_SOURCES: dict[str, Source] = {"table": "table", "live": "live"}


async def score(request: Request) -> Response:
    """Answer the rows in the body, all with one version: from its table by key, or by scoring their features."""
    (model,) = request.path_values
    request.model = model
    request.caller.require(model)
    options, others = LookupOptions.parse(request.parameters())
    prefer = _source(others.pop("prefer", "table"))
    refuse_unknown(others, "prefer")
    media_types.choose(request.headers.get(b"accept"), (media_types.JSON,))
    live = request.service.live
    bulk_body.require_json(request)
    body = await request.body()
    # A body has about as many rows as it has opening braces.
    rows = await aside(body.count(b"{"), partial(_rows, body))
    answers = await live.answer(model, rows, prefer, options)
    if answers:
        request.version = answers[0].table_version.version
    content = await aside(len(answers), partial(json.render_scores, answers))
    return Response(200, content, [JSON, VARY, NO_STORE])


def _source(text: str) -> Source:
    if text not in _SOURCES:
        raise RequestInvalid(f"prefer takes table or live, not {text[:60]!r}.")
    return _SOURCES[text]


def _rows(body: bytes) -> list[ScoreRow]:
    """Read the rows in a body; raises RequestInvalid or TooLarge."""
    content = bulk_body.json_list(body, "rows", _FORM)
    if len(content) > MAX_ROWS:
        raise too_many_rows(len(content))
    rows = [_row(number, row) for number, row in enumerate(content)]
    names = 1 + sum(map(len, content))
    names += sum(len(part) for row in rows for part in row if part is not None)
    if body.count(b":") != names:
        bulk_body.require_unique_names(body)
    return rows


def _row(number: int, row: Any) -> ScoreRow:
    if not isinstance(row, dict) or not row:
        raise RequestInvalid(f"rows[{number}] must be an object with features, a key, or both.")
    if unknown := sorted(set(row) - {"features", "key"}):
        raise RequestInvalid(f"rows[{number}] has {wording.names(unknown)}. A row has features and key.")
    features, key = row.get("features"), row.get("key")
    for name, part in (("features", features), ("key", key)):
        if part is not None and not isinstance(part, Mapping):
            raise RequestInvalid(f"rows[{number}].{name} must be an object of names and values.")
    if features is None and key is None:
        raise RequestInvalid(f"rows[{number}] must have features, a key, or both.")
    return ScoreRow(features, key)
